"""Real resolution of a face, which is below its pixels if it was enlarged, blurred or badly coded.

The sharpest of a face's strong edges (lids, nostrils, lips, hair) are as sharp as the picture. Further blurring weakens
a wide edge less, which gives its width. The width of an edge in an enlarged picture is inverse to the size that it was
enlarged from.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

NUM_LOOKS = 8
"""Number of crops that are measured in a clip: single ones differ by a tenth."""
BLURS_PX = (1.0, 1.5)
"""Standard deviations of the two blurs; the first also removes noise of codec and sensor."""
STRONG = 0.3
"""Least contrast of a strong edge, as a share of the highest: more than that of noise and coding blocks."""
SHARP_SHARE = 0.2
"""Share of the strong edges, the sharpest, that are measured: others are shadows and round surfaces."""
PIXEL_WIDTH = 0.4
"""Standard deviation of a sharp edge's blur, in pixels of the small picture that it is enlarged from.

Measured on real faces that were shrunk to 32 to 160 px and enlarged again.
"""
DIFFERENCE_VARIANCE = 1 / 3
"""Variance of the blur by the difference of a pixel's two neighbours, that of a box of 2 px."""
_RIM_SHARE = 12
"""Fraction of a side left out at each rim, as its denominator; padding may have edges there."""


def looks(num_frames: int) -> np.ndarray:
    """Indices of the frames to look at, spread over a clip."""
    return np.unique(np.linspace(0, num_frames - 1, NUM_LOOKS).round().astype(int))


def measure_detail(crops: Sequence[UInt8[np.ndarray, "h w 3"]]) -> float:
    """Least pixels across a crop that hold its detail.

    Args:
        crops: RGB, square, all of one size.
    Returns:
        At most the crop's own size, which is also the result without any edge.
    """
    side = len(crops[0])
    widths_px = [_sharp_width_px(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)) for crop in crops]
    return side * min(1.0, PIXEL_WIDTH / max(float(np.median(widths_px)), 1e-6))


def _sharp_width_px(gray: Float[np.ndarray, "h w"]) -> float:
    """Width of the blur at the sharper of the strong edges.

    An edge blurred by `s` has a gradient of 1 / s; blurred by `a` on top of it, of 1 / sqrt(s^2 + a^2).
    """
    near, far = (_gradient(cv2.GaussianBlur(gray, (0, 0), blur)) for blur in BLURS_PX)
    ridge = near >= 0.98 * cv2.dilate(near, np.ones((5, 5), np.uint8))
    rim = len(gray) // _RIM_SHARE
    inside = np.s_[rim:-rim, rim:-rim]
    near, far, ridge = near[inside], far[inside], ridge[inside]
    strong = ridge & (near >= STRONG * np.quantile(near[ridge], 0.99)) & (far > 0)
    if not strong.any():
        return 0.0
    less, more = BLURS_PX
    weaker = np.clip(near[strong] / far[strong], 1.0005, more / less - 1e-6)
    variance = (more**2 - (weaker * less) ** 2) / (weaker**2 - 1) - DIFFERENCE_VARIANCE
    return float(np.quantile(np.sqrt(np.maximum(variance, 0)), SHARP_SHARE))


def _gradient(gray: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    return np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
