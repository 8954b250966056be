"""Training samples straight from Parquet shards: any sample by its number, the same whatever the workers and ranks.

Sample n of a run is a pure function of (seed, n): which clip, which frame, which reference, which augmentation. So the
loader's position in a checkpoint is one integer, and a resumed run sees exactly what an uninterrupted one would have.
Clips are read one row at a time and kept for a while; the samples of `pool_clips` of them are shuffled together.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from model.shards.clip_cache import ClipCache
from model.shards.mouth_depth import MouthDepth, fitted_model
from model.shards.views import (
    STEPS_PER_FRAME,
    Views,
    apply_change,
    audio_window,
    draw_change,
    lip_mask,
    reference_frame,
    widened,
)
from model.training.config import AugmentConfig, LoaderConfig
from stages.core.records import NUM_LANDMARKS
from stages.core.storage import StorageError, UnknownStorage, as_path, list_files, open_parquet
from stages.face3d.camera import crop_focal_px
from stages.face3d.model import FaceModel
from stages.lipsync import lip_sound

SOUND_COLUMNS = ("whisper", "whisper_step")
FIT_COLUMNS = ("id_coeff", "exp_coeff", "pose", "crop_box_xyxy_px")
EDITOR_COLUMNS = ("row_id", "num_frames", "face_jpeg", "landmarks", *FIT_COLUMNS, *SOUND_COLUMNS)
MOTION_COLUMNS = ("row_id", "num_frames", "exp_coeff", "audio_pcm16", *SOUND_COLUMNS)
OPEN_CLIPS = 128
"""Clips that a process holds open: what is mapped from the cache is shared, and takes no memory of its own."""
HEARD_CLIPS = 1024
"""Clips whose sound audio-to-motion keeps as the lip-sound expert hears it, about 50 kB each."""
MOUTH_MARGIN_PX = 8
"""How far the mouth's pixels reach beyond the lips: the skin that moves with them."""


class DataError(Exception):
    """Shards that cannot be trained on; the message says which and why."""


@dataclass(frozen=True)
class ClipRef:
    """Where a clip lies."""

    file_idx: int
    row_group: int
    row: int
    num_frames: int
    row_id: str


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """(T, width) of the one row of a list<fixed_size_list> column."""
    inner = column[0].values
    return inner.flatten().to_numpy(zero_copy_only=False).reshape(len(inner), -1)


class Clip:
    """One row, decoded frame by frame as needed.

    Args:
        face: gives the model that it was fitted with, which only its depth needs.
    """

    def __init__(self, table: pa.Table, face: Callable[[], FaceModel]) -> None:
        self._table, self._face = table, face

    def matrix(self, column: str) -> np.ndarray:
        """(T, width) of any list-of-lists column that was read."""
        return _matrix(self._table[column])

    def array(self, column: str) -> np.ndarray:
        """(T,) of any numeric list column that was read."""
        return self._table[column][0].values.to_numpy(zero_copy_only=False)

    @cached_property
    def num_frames(self) -> int:
        return self._table["num_frames"][0].as_py()

    def whisper(self, steps: np.ndarray) -> np.ndarray:
        """(S, layers * dim) float32 at these steps of 20 ms; beyond the end the last one."""
        states = self._states[np.minimum(steps, len(self._states) - 1)].astype(np.float32)
        return states if self._step is None else states * self._step

    def heard(self, frame: int, steps: int, layers: int) -> np.ndarray:
        """(steps * layers, dim) float32, the frame's `audio_window`."""
        window = audio_window(self._states, frame, steps, layers)
        return window if self._step is None else window * np.tile(self._step.reshape(layers, -1), (steps, 1))

    @cached_property
    def _states(self) -> np.ndarray:
        """As stored: float16, or int8 in units of `_step`."""
        steps = self._table["whisper"][0].values
        if not pa.types.is_binary(steps.type):
            return _matrix(self._table["whisper"])
        _, offsets, levels = steps.buffers()
        first, *_, end = np.frombuffer(offsets, np.int32)[steps.offset : steps.offset + len(steps) + 1]
        return np.frombuffer(levels, np.int8)[first:end].reshape(len(steps), -1)

    @cached_property
    def _step(self) -> np.ndarray | None:
        return self.array("whisper_step") if "whisper_step" in self._table.column_names else None

    @cached_property
    def landmarks(self) -> np.ndarray:
        """(T, 478, 3) in crop pixels."""
        return _matrix(self._table["landmarks"]).reshape(-1, NUM_LANDMARKS, 3)

    @cached_property
    def exp_coeff(self) -> np.ndarray:
        return _matrix(self._table["exp_coeff"])

    @cached_property
    def sound(self) -> np.ndarray:
        """(T, F) float32 what the lip-sound expert hears in the middle of every frame."""
        heard = lip_sound.sound_features(self.array("audio_pcm16").astype(np.float32) / 32768)
        middle = np.arange(self.num_frames) * lip_sound.STEPS_PER_FRAME + lip_sound.STEPS_PER_FRAME // 2
        return heard[np.minimum(middle, len(heard) - 1)].astype(np.float32)

    @cached_property
    def pose(self) -> np.ndarray:
        return _matrix(self._table["pose"])

    def face_jpeg(self, frame: int) -> pa.Buffer:
        return self._jpegs[frame].as_buffer()

    def pictures(self, column: str) -> pa.BinaryArray:
        """(T,) of any column of encoded pictures that was read."""
        return self._table[column][0].values

    @cached_property
    def _jpegs(self) -> pa.BinaryArray:
        return self.pictures("face_jpeg")

    @cached_property
    def _mouth(self) -> MouthDepth:
        return MouthDepth(self._face(), self.array("id_coeff"))

    @cached_property
    def _focal_px(self) -> np.ndarray:
        return crop_focal_px(self.matrix("crop_box_xyxy_px").astype(np.float64))

    def face(self, frame: int) -> np.ndarray:
        """(256, 256, 3) uint8 RGB."""
        rgb = cv2.imdecode(np.frombuffer(self.face_jpeg(frame), np.uint8), cv2.IMREAD_COLOR_RGB)
        if rgb is None:
            raise DataError(f"frame {frame} of {self._table['row_id'][0]} is not a JPEG picture")
        return rgb

    def lips(self, frame: int) -> np.ndarray:
        """(256, 256) bool."""
        return lip_mask(self.landmarks[frame])

    def depth(self, frame: int, lips: np.ndarray) -> np.ndarray:
        """The depth picture of the mouth, (256, 256) uint8, drawn from the fit within `lips`."""
        return self._mouth(self.exp_coeff[frame], self.pose[frame], self._focal_px[frame], lips)


class ClipTable:
    """The clips of one split, addressable one by one.

    Args:
        root: folder of `{split}-*.parquet` files, local or in a bucket (`s3://bucket/shards`).
        min_frames: shorter clips are left out, and counted in `num_too_short`.
        cache_clips: how many to keep decompressed for all processes that share this table.
        face_model: path of the face model that the clips were fitted with; None: the embedded one that they name.
    Raises:
        DataError: no such shards, or none of their clips is long enough.
    """

    def __init__(
        self,
        root: str,
        split: str,
        columns: tuple[str, ...],
        min_frames: int,
        cache_clips: int = 0,
        face_model: str | None = None,
    ) -> None:
        self.root, self.columns = root, list(columns)
        self._shared = ClipCache(cache_clips) if cache_clips else None
        self.files = _list_shards(root, split)
        self._open: dict[int, pq.ParquetFile] = {}
        self._cache: OrderedDict[int, Clip] = OrderedDict()
        if not self.files:
            raise DataError(f"no {split}-*.parquet in {root}: give the shards folder of a finished pipeline run")
        every = [ref for file_idx in range(len(self.files)) for ref in self._refs(file_idx)]
        self.clips = [ref for ref in every if ref.num_frames >= min_frames]
        self.num_too_short = len(every) - len(self.clips)
        if not self.clips:
            raise DataError(f"none of the {len(every)} {split} clips in {root} has {min_frames} frames")
        schema = self._file(0).schema_arrow
        self.exp_dim = schema.field("exp_coeff").type.value_type.list_size
        first = self._file(0).read_row_group(0, ["whisper_model", "geometry_model", "whisper_step"])
        states = schema.field("whisper").type.value_type
        self.whisper_dim: int = len(first["whisper_step"][0]) if pa.types.is_binary(states) else states.list_size
        self.whisper_model: str = first["whisper_model"][0].as_py()
        self.geometry_model: str = first["geometry_model"][0].as_py()
        self.face = partial(fitted_model, face_model, self.geometry_model)
        self._forget_handles()

    def __len__(self) -> int:
        return len(self.clips)

    def clip(self, idx: int) -> Clip:
        """Clip `idx`, from memory if it was read lately."""
        if idx in self._cache:
            self._cache.move_to_end(idx)
            return self._cache[idx]
        read = partial(self._read, self.clips[idx])
        clip = Clip(self._shared.get(idx, read) if self._shared else read(), self.face)
        self._cache[idx] = clip
        while len(self._cache) > OPEN_CLIPS:
            self._cache.popitem(last=False)
        return clip

    def _read(self, ref: ClipRef) -> pa.Table:
        table = self._file(ref.file_idx).read_row_group(ref.row_group, self.columns, use_threads=False)
        if table.num_rows > 1:  # a slice alone would keep the whole group in memory
            table = table.take([ref.row])
        return table.combine_chunks()

    def _refs(self, file_idx: int) -> Iterator[ClipRef]:
        file = self._file(file_idx)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, ["num_frames", "row_id"])
            pairs = zip(table["num_frames"].to_pylist(), table["row_id"].to_pylist(), strict=True)
            for row, (num_frames, row_id) in enumerate(pairs):
                yield ClipRef(file_idx, group, row, num_frames, row_id)

    def _file(self, idx: int) -> pq.ParquetFile:
        if idx not in self._open:
            self._open[idx] = open_parquet(self.files[idx])
        return self._open[idx]

    def _forget_handles(self) -> None:
        """Workers open files of their own."""
        self._open.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}, "_cache": OrderedDict()}


def _list_shards(root: str, split: str) -> list[Path]:
    try:
        return list_files(as_path(root).expanduser(), f"{split}-*.parquet")
    except (StorageError, UnknownStorage) as error:
        raise DataError(str(error)) from error


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
        if self.table.whisper_dim % config.audio_layers:
            raise DataError(
                f"{self.table.whisper_model} gives {self.table.whisper_dim} numbers a step, not a multiple of "
                f"loader.audio_layers={config.audio_layers}"
            )
        self.audio_dim = self.table.whisper_dim // config.audio_layers
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
        steps = np.arange(start * STEPS_PER_FRAME, (start + width) * STEPS_PER_FRAME)
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
        steps = np.arange(clip.num_frames * STEPS_PER_FRAME)
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
