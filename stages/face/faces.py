"""Face detection by YuNet."""

from __future__ import annotations

import cv2
import numpy as np

from stages.core.weights import WeightStore
from stages.face.quiet import quiet_loading

MIN_SIDE_PX = 160
"""Least side of the pictures that are searched: below it the largest faces are missed."""


class FaceFinder:
    """Finds faces from a thirtieth of the picture's longer side up to all of it.

    Args:
        weights: where the `yunet` file is found.
        max_side_px: longer side to which pictures are shrunk. In 4K a face of 90 px scores .38 at 320, .74 at 480 and
            .79 at 640; one that fills the frame scores .94, .88 and .79. 480 takes 14-25 CPU-ms.
        min_score: least score of a face, 0-1. Real faces had .69 and more, false ones .58 and less.
    """

    def __init__(self, weights: WeightStore, max_side_px: int = 480, min_score: float = 0.6) -> None:
        self.max_side_px = max_side_px
        with quiet_loading():
            self._detector = cv2.FaceDetectorYN.create(
                str(weights.path("yunet")), "", (max_side_px, max_side_px), min_score
            )

    def __call__(self, rgb: np.ndarray, side_px: int | None = None) -> np.ndarray:
        """Boxes of faces.

        Args:
            rgb: (H, W, 3) uint8.
            side_px: longer side to search at, if less than the finder's own is enough.
        Returns:
            (N, 4) float32 x0, y0, x1, y1 in pixels of `rgb`, the largest first; may leave the picture.
        """
        small = shrink(rgb, min(self.max_side_px, max(MIN_SIDE_PX, side_px or self.max_side_px)))
        self._detector.setInputSize(small.shape[1::-1])
        faces = self._detector.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
        if faces is None:
            return np.zeros((0, 4), np.float32)
        scale = np.array(rgb.shape[1::-1]) / small.shape[1::-1]
        low, size = faces[:, :2] * scale, faces[:, 2:4] * scale
        boxes = np.concatenate([low, low + size], axis=1)[np.argsort(-size.prod(axis=1), kind="stable")]
        return boxes.astype(np.float32)


def shorter_sides(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) xyxy to (N,) px."""
    return np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])


def shrink(rgb: np.ndarray, max_side_px: int) -> np.ndarray:
    """The picture averaged down to at most this longer side."""
    height, width = rgb.shape[:2]
    scale = max_side_px / max(height, width)
    if scale >= 1:
        return rgb
    return cv2.resize(rgb, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
