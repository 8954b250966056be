"""The sound of a frame, of any length and any frame rate."""

from __future__ import annotations

import numpy as np

from model.dubbing.sound import BLOCK_STEPS, Sound


class CountingEncoder:
    """Features that name their own sample, so that blocks can be checked without hearing."""

    dim = 1

    def encode(self, audio: np.ndarray) -> np.ndarray:
        return audio[::320, None].astype(np.float16)


def test_long_sound_is_heard_in_blocks_without_seams():
    num_steps = 2 * BLOCK_STEPS + 37
    sound = Sound((np.arange(num_steps * 320) // 320).astype(np.float32), CountingEncoder())
    steps = np.array([-3, 0, 1, 999, 1000, 1001, 2036, 2037, 5000])
    assert sound.features(steps)[:, 0].tolist() == [0, 0, 1, 999, 1000, 1001, 2036, 2036, 2036]
    window = sound.window(10.0, 10, 1)  # 10 s is frame 250, over steps 500 and 501
    assert window[:, 0].tolist() == list(range(496, 506))
