"""How a head moves: what of it is the crop's own motion, and how smooth the rest is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stages.core.records import CROP_PX
from stages.face3d.camera import FOCAL_PX

if TYPE_CHECKING:
    from stages.fit.config import GeometryConfig

MOTION_STEPS_FRAMES = (4, 6)
"""Over which motion is told from noise; shaking at four a second, the same again after six frames, shows over four."""


def carried_pose(boxes: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """How a head that stands still in the source moves in the crops' cameras (T, 6), because the boxes (T, 4) move.

    Only differences between frames mean anything. `pose` (T, 6), about right, tells how large the head is.
    """
    side = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    place = np.column_stack([-centre * CROP_PX / FOCAL_PX, side]) * np.median(pose[:, 5] / side)
    return np.concatenate([np.zeros_like(place), place], axis=1)


def pose_accel_sigma(pose: np.ndarray, config: GeometryConfig) -> np.ndarray:
    """(6,) how much a head's turning and moving may change in a frame: as first poses (T, 6) do, at most.

    The detector's noise is white: its second differences are as large over several frames as over one. What is larger
    over several is motion, or as much as noise may hide. A still head is so held still, and a lively one is not slowed.
    """
    most = np.array(
        [config.rotation_accel_sigma_rad] * 3
        + [config.translation_accel_sigma_mm] * 2
        + [config.distance_accel_sigma_mm]
    )
    if len(pose) <= 2 * max(MOTION_STEPS_FRAMES):
        return most

    def power(step: int) -> np.ndarray:
        return ((pose[2 * step :] - 2 * pose[step:-step] + pose[: -2 * step]) ** 2).mean(axis=0)

    noise = power(1)
    in_doubt = 4 / np.sqrt(len(pose)) * noise  # two deviations of the power that so many frames of noise have
    motion = [np.sqrt(np.maximum(power(step) - noise - in_doubt, 0)) / step**2 for step in MOTION_STEPS_FRAMES]
    hidden = np.sqrt(in_doubt) / max(MOTION_STEPS_FRAMES) ** 2
    return np.clip(config.burst * np.max([*motion, hidden], axis=0), 1e-6 * most, most)
