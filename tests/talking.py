"""A face that can be dubbed, scikit-image's photo moved a little, and an editor that paints; both in seconds."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

from model.nets.editor import Editor
from model.training.checkpoint import State, save_checkpoint
from model.training.config import TrainConfig
from model.training.editor_task import build_editor
from model.training.task import DataFacts
from stages.core.settings import as_dict, load_as
from stages.core.weights import WeightStore
from stages.features import FeaturesConfig, WhisperEncoder

FPS = Fraction(25)
NUM_FRAMES = 24
NUM_BLANK = 6
"""Frames without a face at the end."""


def moving_photo(num_frames: int) -> list[np.ndarray]:
    """(420, 420, 3) uint8 RGB each."""
    from skimage.data import astronaut

    photo = cv2.resize(astronaut()[:300, 70:370], (420, 420), interpolation=cv2.INTER_CUBIC)
    return [np.roll(photo, (i // 4, i // 3), axis=(0, 1)) for i in range(num_frames)]


def untrained_editor(
    weights: WeightStore, encoder: WhisperEncoder | None = None
) -> tuple[Editor, TrainConfig, DataFacts]:
    """The tiny preset without training, but for a last layer that is not zero."""
    encoder = encoder or WhisperEncoder(FeaturesConfig(), weights)
    torch.manual_seed(0)
    config = load_as(TrainConfig, [Path("model/configs/tiny.yaml")])
    facts = DataFacts(encoder.name, encoder.dim, "cc0", 52)
    editor = build_editor(config, facts, weights).eval().requires_grad_(False)
    editor.vae.from_latent.weight.normal_(0, 0.5)
    return editor, config, facts


def save_run(folder: Path, trained: tuple[Editor, TrainConfig, DataFacts]) -> Path:
    """A folder as `python -m model.train` leaves it."""
    editor, config, facts = trained
    save_checkpoint(folder, State(phase=2, finished=True), as_dict(config), vars(facts), editor.state_dict(), {}, None)
    return folder
