"""Whisper states in 8 bits, as shards hold them: whole steps, of a size of its own for each number of a state.

They stand there as one byte string a state. Parquet has no 8-bit numbers: as such they would take half as much again.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float16, Float32, Int8

STEPS_A_DEVIATION = 6
"""Rounding errs by .048 of one. Another start of Whisper's window changes the states of real speech by .4 of one."""
MOST = 127


def to_levels(states: Float16[np.ndarray, "t n"]) -> tuple[Int8[np.ndarray, "t n"], Float32[np.ndarray, " n"]]:
    """Levels, and the step of each number: `states` are about `levels * step`.

    A step is a sixth of the number's standard deviation over the clip, or as much more as its largest value needs.
    """
    values = states.astype(np.float32)
    step = np.maximum(values.std(axis=0) / STEPS_A_DEVIATION, np.abs(values).max(axis=0) / MOST)
    step[step == 0] = 1
    return np.rint(values / step).clip(-MOST, MOST).astype(np.int8), step
