"""Sound as whole numbers of 16 bits, the form that it is stored in."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

FULL_SCALE = 32767
_STEPS = 32768


def to_pcm16(audio: np.ndarray) -> np.ndarray:
    """Float32 in [-1, 1] to int16 of the same shape; what is louder is cut off."""
    return np.rint(np.clip(audio, -1, 1) * FULL_SCALE).astype(np.int16)


def from_pcm16(pcm16: ArrayLike) -> np.ndarray:
    """Int16, as an array or a list, to float32 in [-1, 1)."""
    return np.asarray(pcm16, np.float32) / _STEPS
