"""A still picture of a face with its landmarks: what the animation starts from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.weights import WeightStore
from stages.face.landmarks import CHIN, FOREHEAD, LIPS_OUTER, LandmarkDetector

NUM_MESH_POINTS = 468


class NoFaceInPortrait(Exception):
    """MediaPipe finds no face in a picture that should be one."""


@dataclass(frozen=True)
class Portrait:
    """One speaker's picture.

    Args:
        rgb: uint8 (H, W, 3).
        points: float32 (468, 3), MediaPipe's mesh: x, y in pixels, z in the same unit, smaller is nearer.
    """

    rgb: np.ndarray
    points: np.ndarray

    @property
    def face_height_px(self) -> float:
        return float(np.linalg.norm(self.points[CHIN, :2] - self.points[FOREHEAD, :2]))

    @property
    def mouth_px(self) -> np.ndarray:
        """(2,) centre of the lips."""
        return self.points[list(LIPS_OUTER), :2].mean(0)


def find_points(rgb: np.ndarray, weights: WeightStore) -> np.ndarray:
    """MediaPipe's mesh (468, 3) of the face in a picture.

    Raises:
        NoFaceInPortrait: there is none.
    """
    with LandmarkDetector(weights) as detector:
        face = detector(rgb, 0.0)
    if face is None:
        raise NoFaceInPortrait(f"no face in a picture of {rgb.shape[1]}x{rgb.shape[0]} px")
    return face.points[:NUM_MESH_POINTS].copy()


def astronaut(weights: WeightStore) -> Portrait:
    """NASA's portrait that ships with scikit-image (public domain), head and shoulders, enlarged."""
    from skimage import data

    rgb = data.astronaut()[:288, 84:372]
    large = cv2.resize(rgb, None, fx=2.5, fy=2.5, interpolation=cv2.INTER_LANCZOS4)
    soft = cv2.GaussianBlur(large, (0, 0), 2.0)
    sharp = cv2.addWeighted(large, 1.5, soft, -0.5, 0)
    return Portrait(sharp, find_points(sharp, weights))
