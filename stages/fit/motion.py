"""Motion of a head: the share that the moving crop makes, and the smoothness of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stages.core.records import CROP_PX
from stages.face3d.camera import FOCAL_PX

if TYPE_CHECKING:
    from stages.fit.config import GeometryConfig

MOTION_STEPS_FRAMES = (4, 6)
"""Frame steps over which motion is distinguished from noise.

Shaking at 4 Hz repeats after six frames, but shows over four.
"""


def carried_pose(boxes: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Motion (T, 6) in the crops' cameras of a head that is still in the source, because the boxes (T, 4) move.

    Only differences between frames are meaningful. An approximate `pose` (T, 6) gives the size of the head.
    """
    side = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    place = np.column_stack([-centre * CROP_PX / FOCAL_PX, side]) * np.median(pose[:, 5] / side)
    return np.concatenate([np.zeros_like(place), place], axis=1)


def pose_accel_sigma(pose: np.ndarray, config: GeometryConfig) -> np.ndarray:
    """(6,) upper bound on the change of pose velocity per frame, estimated from a first fit (T, 6).

    The detector's noise is white: its second differences are as large over several frames as over one. An excess over
    several frames is motion; the bound is at least the motion that noise may hide. So a still head is held still, and a
    lively one is not slowed.
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
    in_doubt = 4 / np.sqrt(len(pose)) * noise  # two standard deviations of the noise's power over so many frames
    motion = [np.sqrt(np.maximum(power(step) - noise - in_doubt, 0)) / step**2 for step in MOTION_STEPS_FRAMES]
    hidden = np.sqrt(in_doubt) / max(MOTION_STEPS_FRAMES) ** 2
    return np.clip(config.burst * np.max([*motion, hidden], axis=0), 1e-6 * most, most)
