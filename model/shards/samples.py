"""Training samples straight from Parquet shards: any sample by its number, the same whatever the workers and ranks.

Sample n of a run is a pure function of (seed, n): which clip, which frame, which reference, which augmentation. So the
loader's position in a checkpoint is one integer, and a resumed run sees exactly what an uninterrupted one would have.
Clips are read one row at a time and kept for a while; the samples of `pool_clips` of them are shuffled together.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import count

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from model.shards.clips import EDITOR_COLUMNS, MOTION_COLUMNS, Clip, ClipTable, LoaderConfig, token_width
from model.shards.views import (
    WHISPER_STEPS_PER_FRAME,
    AugmentConfig,
    Views,
    apply_change,
    draw_change,
    reference_frame,
    widened,
)

HEARD_CLIPS = 1024
"""Clips whose sound audio-to-motion keeps as the lip-sound expert hears it, about 50 kB each."""
MOUTH_MARGIN_PX = 8
"""How far the mouth's pixels reach beyond the lips: the skin that moves with them."""


class Plan:
    """Sample number -> (clip, draw): shuffled visits to clips, long clips visited more often.

    Args:
        num_frames: of every clip.
        draws: samples of one visit.
        pool: visits whose samples are shuffled together.
    """

    def __init__(self, num_frames: list[int], draws: int, pool: int, seed: int) -> None:
        visits = [max(1, round(n / draws)) for n in num_frames]
        self._visits = np.repeat(np.arange(len(num_frames)), visits)
        self._draws, self._pool, self._seed = draws, pool, seed
        self._epoch: tuple[int, np.ndarray] = (-1, self._visits)
        self._order: tuple[tuple[int, int], np.ndarray] = ((-1, -1), self._visits)

    @property
    def samples_per_epoch(self) -> int:
        return len(self._visits) * self._draws

    def clip_of(self, sample: int) -> int:
        """The clip that sample `sample` is drawn from."""
        epoch, place = divmod(sample, self.samples_per_epoch)
        pool, place = divmod(place, self._pool * self._draws)
        if self._epoch[0] != epoch:
            random = np.random.default_rng([self._seed, epoch])
            self._epoch = (epoch, random.permutation(self._visits))
        visits = self._epoch[1][pool * self._pool : (pool + 1) * self._pool]
        if self._order[0] != (epoch, pool):
            random = np.random.default_rng([self._seed, epoch, pool])
            self._order = ((epoch, pool), random.permutation(len(visits) * self._draws))
        return int(visits[self._order[1][place] // self._draws])


def is_dropped(sample: int, share: float) -> bool:
    """Whether sample `sample` is one of this share: evenly spread, so that every batch of a run has as many."""
    exact = Fraction(share).limit_denominator(1000)
    return (sample + 1) * exact // 1 > sample * exact // 1


def editor_batch(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Samples of the editor as a batch: `depth` uint8 (k, 1, 256, 256) is of the samples `depth_of` int64 (k,)."""
    names = [name for name in samples[0] if name != "depth"]
    batch = {name: torch.stack([sample[name] for sample in samples]) for name in names}
    drawn = [i for i, sample in enumerate(samples) if "depth" in sample]
    if not drawn:
        return batch
    return {**batch, "depth": torch.stack([samples[i]["depth"] for i in drawn]), "depth_of": torch.tensor(drawn)}


class EditorDataset(Dataset[dict[str, Tensor]]):
    """Samples of the editor.

    A sample is `target`, `reference` uint8 (3, 256, 256), `mouth` uint8 0/1 (1, 256, 256), `audio` float32 (steps *
    layers, dim), its `clip` and `frame`, and, unless it goes without, `depth` uint8 (1, 256, 256) of the mouth.
    """

    def __init__(self, root: str, split: str, config: LoaderConfig, augmentation: AugmentConfig, seed: int) -> None:
        self.config, self.augmentation, self.seed = config, augmentation, seed
        nearest = 2 * config.min_reference_frames  # the middle frame of a shorter clip has no reference
        self.table = ClipTable(root, split, EDITOR_COLUMNS, nearest, config.cache_clips, config.face_model)
        token_width(config, self.table.whisper_model, self.table.whisper_dim)  # before the first sample
        self.plan = Plan([c.num_frames for c in self.table.clips], config.draws_per_visit, config.pool_clips, seed)

    def __getitem__(self, sample: int) -> dict[str, Tensor]:
        random = np.random.default_rng([self.seed, sample, 1])
        clip_idx = self.plan.clip_of(sample)
        clip = self.table.clip(clip_idx)
        target = int(random.integers(clip.num_frames))
        reference = int(reference_frame(clip.num_frames, target, self.config.min_reference_frames, random))
        change = draw_change(self.augmentation, random)
        without_depth = is_dropped(sample, self.augmentation.depth_drop_prob)
        lips = clip.lips(target)
        depth = None if without_depth else clip.depth(target, lips)
        views = Views(clip.face(target), clip.face(reference), depth, widened(lips, MOUTH_MARGIN_PX))
        views = apply_change(views, change)
        return {**self.tensors(views, clip, target), "clip": torch.tensor(clip_idx), "frame": torch.tensor(target)}

    def tensors(self, views: Views, clip: Clip, frame: int) -> dict[str, Tensor]:
        """A sample's tensors from its pictures."""
        audio = clip.heard(frame, self.config.audio_steps, self.config.audio_layers)
        return {
            "target": _chw(views.target),
            "reference": _chw(views.reference),
            "mouth": torch.from_numpy(views.mouth)[None],
            "audio": torch.from_numpy(audio),
            **({} if views.depth is None else {"depth": torch.from_numpy(views.depth)[None]}),
        }

    collate = staticmethod(editor_batch)


def _chw(rgb: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))


class MotionDataset(Dataset[dict[str, Tensor]]):
    """Samples of audio-to-motion, of W frames in a row.

    `whisper` float32 (2 W, dim), `exp` float32 (W, E), and `sound` float32 (W, F): what the lip-sound expert hears.
    """

    def __init__(self, root: str, split: str, config: LoaderConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.table = ClipTable(root, split, MOTION_COLUMNS, config.window_frames, config.cache_clips)
        self._heard: dict[int, np.ndarray] = {}
        draws = max(1, config.draws_per_visit // 4)
        self.plan = Plan([c.num_frames for c in self.table.clips], draws, config.pool_clips, seed)

    def __getitem__(self, sample: int) -> dict[str, Tensor]:
        random = np.random.default_rng([self.seed, sample, 2])
        idx = self.plan.clip_of(sample)
        clip = self.table.clip(idx)
        width = self.config.window_frames
        start = int(random.integers(clip.num_frames - width + 1))
        steps = np.arange(start * WHISPER_STEPS_PER_FRAME, (start + width) * WHISPER_STEPS_PER_FRAME)
        return {
            "whisper": torch.from_numpy(clip.whisper(steps)),
            "exp": torch.from_numpy(clip.exp_coeff[start : start + width].copy()),
            "sound": torch.from_numpy(self._sound(idx)[start : start + width].copy()),
        }

    def _sound(self, idx: int) -> np.ndarray:
        """`Clip.sound`, which takes longer than all else, of the clips heard lately."""
        if idx not in self._heard:
            if len(self._heard) == HEARD_CLIPS:
                self._heard.clear()
            self._heard[idx] = self.table.clip(idx).sound
        return self._heard[idx]

    def whole(self, idx: int) -> tuple[np.ndarray, np.ndarray]:
        """Features (2 T, dim) and coefficients (T, E) of clip `idx`."""
        clip = self.table.clip(idx)
        steps = np.arange(clip.num_frames * WHISPER_STEPS_PER_FRAME)
        return clip.whisper(steps), clip.exp_coeff


def parts_of(number: int, most: int | None) -> list[int]:
    """Sizes of the fewest parts of at most `most` that `number` samples can be taken in, as equal as can be."""
    parts = -(-number // most) if most else 1
    return [number // parts + (i < number % parts) for i in range(parts)]


class _Numbers(Sampler[list[int]]):
    """Sample numbers of one rank, part by part: batch b is samples [b B, (b + 1) B), of which each rank has a slice."""

    def __init__(self, first_batch: int, batch_size: int, micro_batch: int | None, rank: int, num_ranks: int) -> None:
        self._first, self._size = first_batch, batch_size
        self._offset = rank * (batch_size // num_ranks)
        self._parts = parts_of(batch_size // num_ranks, micro_batch)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in count(self._first):
            start = batch * self._size + self._offset
            for number in self._parts:
                yield list(range(start, start + number))
                start += number


def endless_loader(
    dataset: Dataset[dict[str, Tensor]],
    batch_size: int,
    first_batch: int,
    num_workers: int,
    micro_batch: int | None = None,
    rank: int = 0,
    num_ranks: int = 1,
) -> Iterator[dict[str, Tensor]]:
    """Batches of one rank without end, from batch number `first_batch` on.

    Args:
        batch_size: of all ranks together, who share it alike.
        micro_batch: a rank's share comes in parts of at most so many samples (`parts_of`).
    """
    loader = DataLoader(
        dataset,
        batch_sampler=_Numbers(first_batch, batch_size, micro_batch, rank, num_ranks),
        collate_fn=getattr(dataset, "collate", None),
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_one_thread,
        # A forked copy of OpenCV's and Arrow's thread pools hangs.
        multiprocessing_context="forkserver" if num_workers else None,
        prefetch_factor=2 if num_workers else None,
    )
    return iter(loader)


def _one_thread(_worker: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
