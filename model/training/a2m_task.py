"""Training of audio to motion."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from model.nets.a2m import A2m
from model.shards.mouth_depth import fitted_model
from model.shards.samples import MotionDataset
from model.training.config import TrainConfig
from model.training.grids import motion_chart
from model.training.lip_loss import A2mLoss, LipModes, needs_face
from model.training.motion_start import motion_start
from model.training.task import DataFacts, Phase
from stages.lipsync.lip_sound import LipSound

START_CLIPS = 256
"""Number of clips that audio-to-motion's regression is fitted to: half an hour of speech."""


class A2mTask:
    """One phase, `motion`."""

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self.dataset = MotionDataset(config.data, "train", config.loader, config.seed)
        self.facts = DataFacts.of(self.dataset.table)
        self.module = A2m(config.a2m, self.facts.whisper_dim, self.facts.exp_dim)
        face = None
        if needs_face(config.a2m):
            face = LipModes.of(fitted_model(config.loader.face_model, self.facts.geometry_model))
        loss = A2mLoss(self.module, face, LipSound.load())
        self.phases = [Phase("motion", config.optim, self.module, loss)]

    def start(self) -> None:
        number = min(len(self.dataset.table), START_CLIPS)
        clips = lambda: map(self.dataset.whole, range(number))  # noqa: E731 - read several times
        self.module.start_from(motion_start(clips, self._config.a2m))

    def saved(self) -> dict[str, Tensor]:
        return self.module.state_dict()

    def preview(self, _phase: Phase, path: Path) -> None:
        """Draw the coefficients of one sequence that vary most, predicted and true, as one PNG."""
        sample = self.dataset[0]
        device = next(self.module.parameters()).device
        with torch.no_grad():
            predicted = self.module(sample["whisper"][None].to(device))[0].cpu().numpy()
        motion_chart(path, predicted, sample["exp"].numpy())
