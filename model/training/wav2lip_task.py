"""Training of Wav2Lip on the editor's shards: first its sync expert, then its generator, in one command."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from model.nets.editor import to_bytes
from model.nets.wav2lip import ExpertLoss, GeneratorLoss, Wav2Lip
from model.shards.clips import SOUND_COLUMNS, ClipTable, LoaderConfig
from model.shards.samples import Plan
from model.shards.views import reference_frame
from model.training.config import TrainConfig
from model.training.grids import editor_grid
from model.training.task import DataFacts, Phase, audio_shape
from stages.core.records import CROP_PX

COLUMNS = ("row_id", "num_frames", "face_jpeg", *SOUND_COLUMNS)


class Wav2lipDataset(Dataset[dict[str, Tensor]]):
    """Samples of a few consecutive frames.

    `target` and `reference` uint8 (T, 3, size, size), `audio` float32 (T, tokens, dim) of each frame, and `other_audio`
    (tokens, dim) of another moment of the clip.
    """

    def __init__(self, root: str, split: str, config: LoaderConfig, size_px: int, num_frames: int, seed: int) -> None:
        self.config, self.size_px, self.num_frames, self.seed = config, size_px, num_frames, seed
        nearest = 2 * (config.min_reference_frames + num_frames)
        self.table = ClipTable(root, split, COLUMNS, nearest, config.cache_clips)
        self.plan = Plan([c.num_frames for c in self.table.clips], config.draws_per_visit, config.pool_clips, seed)

    def __getitem__(self, sample: int) -> dict[str, Tensor]:
        random, config = np.random.default_rng([self.seed, sample, 3]), self.config
        clip = self.table.clip(self.plan.clip_of(sample))
        start = int(random.integers(clip.num_frames - self.num_frames + 1))
        frames = range(start, start + self.num_frames)
        middle = start + self.num_frames // 2
        away = config.min_reference_frames + self.num_frames // 2
        reference, other = (int(reference_frame(clip.num_frames, middle, away, random)) for _ in range(2))
        first = min(reference, clip.num_frames - self.num_frames)
        audio = [clip.heard(i, config.audio_steps, config.audio_layers) for i in (*frames, other)]
        return {
            "target": torch.stack([self._small(clip.face(i)) for i in frames]),
            "reference": torch.stack([self._small(clip.face(i)) for i in range(first, first + self.num_frames)]),
            "audio": torch.from_numpy(np.stack(audio[:-1])),
            "other_audio": torch.from_numpy(audio[-1]),
        }

    def _small(self, rgb: np.ndarray) -> Tensor:
        small = cv2.resize(rgb, (self.size_px, self.size_px), interpolation=cv2.INTER_AREA)
        return torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))


def build_wav2lip(config: TrainConfig, facts: DataFacts) -> Wav2Lip:
    """The networks of a configuration.

    Raises:
        DataError: the configuration does not fit the shards' features.
    """
    return Wav2Lip(config.wav2lip, *audio_shape(config.loader, facts))


class Wav2lipTask:
    """Training in phases: `expert`, then `generator`."""

    def __init__(self, config: TrainConfig) -> None:
        settings = config.wav2lip
        self._config = config
        self.dataset = Wav2lipDataset(
            config.data, "train", config.loader, settings.size_px, settings.num_frames, config.seed
        )
        self.facts = DataFacts.of(self.dataset.table)
        self.module = build_wav2lip(config, self.facts)
        learn, make = ExpertLoss(self.module.expert), GeneratorLoss(self.module)
        self.phases = [
            Phase("expert", config.expert_optim, self.module.expert, learn),
            Phase("generator", config.optim, self.module.generator, make),
        ]

    def start(self) -> None:
        """Does nothing; the weights start at random."""

    def saved(self) -> dict[str, Tensor]:
        return self.module.state_dict()

    def preview(self, _phase: Phase, path: Path) -> None:
        """Draw a grid like the editor's as PNG; the depth column is black."""
        step = max(1, self.dataset.plan.samples_per_epoch // self._config.grid_samples)
        samples = [self.dataset[i * step] for i in range(self._config.grid_samples)]
        device = next(self.module.parameters()).device
        middle = self._config.wav2lip.num_frames // 2
        batch = {n: torch.stack([s[n][middle] for s in samples]).to(device) for n in ("target", "reference", "audio")}
        for name in ("target", "reference"):
            batch[name] = torch.nn.functional.interpolate(batch[name], (CROP_PX, CROP_PX))
        with torch.no_grad():
            output = self.module(batch).image
        editor_grid(path, batch, to_bytes(output))
