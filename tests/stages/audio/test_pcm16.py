"""Sound as whole numbers: back and forth, and what is too loud."""

from __future__ import annotations

import numpy as np

from stages.audio.pcm16 import FULL_SCALE, from_pcm16, to_pcm16


def test_sound_comes_back_to_within_a_step():
    audio = np.linspace(-1, 1, 10_001, dtype=np.float32)
    back = from_pcm16(to_pcm16(audio))
    assert back.dtype == np.float32
    assert np.abs(back - audio).max() < 1.6 / FULL_SCALE


def test_whole_numbers_come_back_but_for_the_two_scales():
    pcm16 = np.arange(-32767, 32768, dtype=np.int16)
    assert np.abs(to_pcm16(from_pcm16(pcm16)).astype(int) - pcm16).max() <= 1


def test_what_is_too_loud_is_cut_off_and_lists_are_taken():
    assert to_pcm16(np.array([2.0, -2.0])).tolist() == [FULL_SCALE, -FULL_SCALE]
    assert from_pcm16([0, -32768]).tolist() == [0.0, -1.0]
