"""A video shown to and fro."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.dubbing.playback import play, to_and_fro
from stages.media import write_video
from tests.talking import FPS


def test_to_and_fro():
    assert [to_and_fro(i, 4) for i in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert [to_and_fro(i, 1) for i in range(3)] == [0, 0, 0]


def test_play_shows_what_to_and_fro_says(tmp_path: Path):
    levels = [20 + 30 * i for i in range(7)]
    write_video(tmp_path / "v.mp4", [np.full((64, 64, 3), level, np.uint8) for level in levels], FPS)
    shown = [float(rgb.mean()) for rgb in play(tmp_path / "v.mp4", FPS, 7, 20)]
    assert shown == pytest.approx([levels[to_and_fro(i, 7)] for i in range(20)], abs=4)
