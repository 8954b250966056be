"""Faces without shading: coded into blocks, painted, or drawn.

Skin that a camera saw changes its brightness everywhere, if ever so little: by the light, by its own colours, by noise.
Coarse coding leaves blocks of one value, and drawing areas of one colour.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from stages.face.landmarks import NUM_FACE_POINTS

BLUR_PX = 0.8
"""Standard deviation; takes out single pixels."""
FLAT_SHARE = 0.0012
"""Of the face's mean brightness a pixel: a change of less is none. Dark faces change by less than bright ones."""


def measure_flatness(
    crops: Iterable[UInt8[np.ndarray, "h w 3"]], landmarks: Iterable[Float[np.ndarray, "p xyz"]]
) -> float:
    """Share of the face in which nothing changes from pixel to pixel, 0-1.

    Args:
        crops: RGB.
        landmarks: of each, in its pixels.
    """
    pairs = zip(crops, landmarks, strict=True)
    return float(np.median([_flat_ratio(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), points) for crop, points in pairs]))


def _flat_ratio(gray: UInt8[np.ndarray, "h w"], points: Float[np.ndarray, "p xyz"]) -> float:
    hull = cv2.convexHull(np.rint(points[:NUM_FACE_POINTS, :2]).astype(np.int32))
    face = cv2.fillConvexPoly(np.zeros_like(gray), hull, (1,)) > 0
    if not face.any():
        return 0.0
    smooth = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), BLUR_PX)
    change = np.hypot(*(cv2.Sobel(smooth, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1))))
    return float((change[face] < FLAT_SHARE * gray[face].mean()).mean())
