"""Clips of a known face: coefficients and poses that move smoothly, and the landmarks a perfect detector would see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from stages.face3d.camera import crop_focal_px, project, synthesize
from stages.face3d.model import FaceModel


@dataclass(frozen=True)
class KnownClip:
    id_coeff: np.ndarray
    exp_coeff: np.ndarray
    pose: np.ndarray
    boxes: np.ndarray
    landmarks: np.ndarray


def known_clip(model: FaceModel, num_frames: int, seed: int, aspect: float = 1.1) -> KnownClip:
    """A talking, nodding head; `landmarks` is (T, 478, 3) in crop pixels, z in the scale of x as MediaPipe has it."""
    rng = np.random.default_rng(seed)

    def smooth(width: int, sigma: float) -> np.ndarray:
        values = gaussian_filter1d(rng.normal(size=(num_frames, width)), sigma, axis=0, mode="nearest")
        return values * np.sqrt(2 * np.sqrt(np.pi) * sigma)

    id_coeff = rng.normal(size=len(model.identity))
    active = rng.random(len(model.expression)) < 0.5
    exp_coeff = np.clip(smooth(len(model.expression), 2.5) * 0.25, 0, 1) * active
    pose = np.concatenate([smooth(3, 10) * [0.1, 0.2, 0.06], smooth(3, 10) * [6, 6, 20] + [0, -15, 950]], axis=1)
    boxes = np.tile([100.0, 50, 350, 50 + 250 * aspect], (num_frames, 1))
    return KnownClip(id_coeff, exp_coeff, pose, boxes, see(model, id_coeff, exp_coeff, pose, boxes))


def see(
    model: FaceModel, id_coeff: np.ndarray, exp_coeff: np.ndarray, pose: np.ndarray, boxes: np.ndarray
) -> np.ndarray:
    points = project(model.at_landmarks(synthesize(model, id_coeff, exp_coeff, pose)), crop_focal_px(boxes))
    points[..., 2] = (points[..., 2] - points[..., 2].mean(1, keepdims=True)) * 1160 / 950
    irises = np.repeat(points[:, 33:34], 10, axis=1)
    return np.concatenate([points, irises], axis=1)
