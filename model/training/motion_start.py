"""What audio-to-motion starts from: principal components of what is heard, and a ridge regression on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from model.nets.a2m import A2mConfig, MotionStart
from model.shards.views import WHISPER_STEPS_PER_FRAME

PCA_STEPS = 8192
"""Steps, evenly spread, that the principal components are found from."""

Heard = tuple[Float[np.ndarray, "steps d"], Float[np.ndarray, "t e"]]
"""Whisper features of a clip at 50 Hz, and its expression coefficients at 25 fps."""


def motion_start(clips: Callable[[], Iterable[Heard]], config: A2mConfig) -> MotionStart:
    """Fit basis and regression.

    Args:
        clips: gives the training clips, each time it is called.
    """
    motion = np.concatenate([expression for _, expression in clips()]).astype(np.float64)
    mean, deviation = motion.mean(axis=0), motion.std(axis=0) + 1e-6
    stride = max(1, len(motion) * WHISPER_STEPS_PER_FRAME // PCA_STEPS)
    basis, centre = _components(torch.cat([_normalized(w)[::stride] for w, _ in clips()]), config.components)
    size = (2 * config.linear_frames + 1) * basis.shape[1]
    left, right = np.zeros((size, size)), np.zeros((size, len(mean)))
    for whisper, expression in clips():
        seen = (_normalized(whisper) @ basis - centre).numpy()
        of_clip = moments(seen, expression - mean, config.linear_frames)
        left += of_clip[0]
        right += of_clip[1]
    linear = solve(left, right, config.ridge * len(motion))
    linear = linear.reshape(-1, basis.shape[1], len(mean)).transpose(2, 1, 0)
    return MotionStart(basis, centre, *(torch.from_numpy(v.copy()).float() for v in (linear, mean, deviation)))


def moments(
    seen: Float[np.ndarray, "steps p"], motion: Float[np.ndarray, "t e"], reach: int
) -> tuple[Float[np.ndarray, "kp kp"], Float[np.ndarray, "kp e"]]:
    """What a regression needs of a clip: products of the features around each frame with themselves and the motion.

    Args:
        seen: components at 50 Hz, 2 t steps. reach: frames to either side.
    """
    frames = seen.reshape(-1, WHISPER_STEPS_PER_FRAME, seen.shape[1]).mean(axis=1).astype(np.float64)
    wide = np.pad(frames, ((reach, reach), (0, 0)))
    around = np.concatenate([wide[tap : tap + len(frames)] for tap in range(2 * reach + 1)], axis=1)
    return around.T @ around, around.T @ motion


def solve(left: Float[np.ndarray, "kp kp"], right: Float[np.ndarray, "kp e"], ridge: float) -> np.ndarray:
    """Weights (kp, e) of the regression."""
    return np.linalg.solve(left + ridge * np.eye(len(left)), right)


def _normalized(whisper: np.ndarray) -> Tensor:
    steps = torch.from_numpy(np.asarray(whisper, np.float32))
    return F.layer_norm(steps, steps.shape[1:])


def _components(steps: Float[Tensor, "n d"], number: int) -> tuple[Float[Tensor, "d p"], Float[Tensor, " p"]]:
    """Directions of most variance, scaled to unit variance on the average, and the mean along them."""
    mean, number = steps.mean(dim=0), min(number, steps.shape[1])
    _, _, vectors = torch.pca_lowrank(steps - mean, q=min(number + 32, *steps.shape), center=False)
    vectors = vectors[:, :number]
    basis = vectors / ((steps - mean) @ vectors).square().mean().sqrt().clamp_min(1e-6)
    basis = F.pad(basis, (0, number - basis.shape[1]))  # fewer steps than components
    return basis, mean @ basis
