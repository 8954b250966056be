"""How much detail a face really shows: enlarged, blurred and badly coded ones have fewer pixels' worth than pixels.

The sharpest of a face's strong edges (lids, nostrils, lips, hair) are as sharp as the picture is. Blurring an edge a
bit more weakens it the less, the wider it is, which tells its width; and a picture enlarged from N pixels has edges
that are as wide as N is small.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

NUM_LOOKS = 8
"""Crops of a clip that are looked at: single ones differ by a tenth."""
BLURS_PX = (1.0, 1.5)
"""Standard deviations of the two blurs; the first takes a coder's and a sensor's noise out as well."""
STRONG = 0.3
"""Of the highest contrast, what an edge has at least: more than noise and a coder's blocks have."""
SHARP_SHARE = 0.2
"""Of the strong edges, the sharpest: others are shadows and round surfaces."""
PIXEL_WIDTH = 0.4
"""Width (standard deviation) of a sharp edge's blur, in pixels of the small picture that it is enlarged from: of real
faces that were shrunk to 32 to 160 px and enlarged again."""
DIFFERENCE_VARIANCE = 1 / 3
"""Of the difference of a pixel's two neighbours, which blurs as a box of 2 px does."""
_RIM_SHARE = 12
"""The part of a side that is left out at each rim, where padding may have edges."""


def looks(num_frames: int) -> np.ndarray:
    """Indices of the frames to look at, spread over a clip."""
    return np.unique(np.linspace(0, num_frames - 1, NUM_LOOKS).round().astype(int))


def measure_detail(crops: Sequence[UInt8[np.ndarray, "h w 3"]]) -> float:
    """Pixels across a crop from which it could be drawn as sharp as it is.

    Args:
        crops: RGB, square, all of one size.
    Returns:
        At most the crop's own size, which is also the answer where there are no edges at all.
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
