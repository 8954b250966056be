"""How much detail a face really shows: enlarged, blurred and badly coded ones have fewer pixels' worth than pixels.

Pictures of faces lose power with the square of frequency; one that was enlarged from N pixels, or was never sharp, has
next to nothing beyond N / 2 cycles. Where that happens tells N.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

NUM_LOOKS = 8
"""Crops of a clip that are looked at: single ones differ by a tenth."""
LOSS_DB = 15.0
"""Under what the rule leads one to expect: real crops that were shrunk to 32, 64, 96 and 128 px, enlarged and coded
again read 43 to 46, 54 to 80, 72 to 100 and 82 to 130."""
COARSE_CYCLES = slice(6, 16)
"""Across the crop: eyes, nose and mouth. Any face that can be used has them."""
_SMOOTHING_CYCLES = 5


def looks(num_frames: int) -> np.ndarray:
    """Indices of the frames to look at, spread over a clip."""
    return np.unique(np.linspace(0, num_frames - 1, NUM_LOOKS).round().astype(int))


def measure_detail(crops: Sequence[np.ndarray]) -> float:
    """Pixels across a crop from which it could be drawn as sharp as it is.

    Args:
        crops: (H, H, 3) uint8 RGB, all of one size.
    Returns:
        Twice the cycles at which the mean power first is `LOSS_DB` under the rule; H where it never is.
    """
    power = np.mean([_power(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)) for crop in crops], axis=0)
    cycles = np.arange(len(power))
    expected = np.convolve(power * cycles**2, np.full(_SMOOTHING_CYCLES, 1 / _SMOOTHING_CYCLES), mode="same")
    floor = expected[COARSE_CYCLES].mean() * 10 ** (-LOSS_DB / 10)
    lost = np.flatnonzero(expected[COARSE_CYCLES.stop : -_SMOOTHING_CYCLES] < floor)
    return float(2 * (COARSE_CYCLES.stop + lost[0]) if len(lost) else 2 * (len(power) - 1))


def _power(gray: np.ndarray) -> np.ndarray:
    """Mean power at 0, 1, ... H / 2 cycles in any direction (H / 2 + 1,)."""
    window, ring, size = _window(len(gray))
    centred = (gray - np.average(gray, weights=window)) * window
    power = np.abs(np.fft.rfft2(centred.astype(np.float32))) ** 2
    return (np.bincount(ring, power.ravel()) / size)[: len(gray) // 2 + 1]


@lru_cache(maxsize=1)
def _window(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A window that fades to the rim, and of every coefficient its ring and that ring's size."""
    fade = np.hanning(side)
    ring = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * side
    ring = ring.astype(int).ravel()
    return np.outer(fade, fade), ring, np.bincount(ring)
