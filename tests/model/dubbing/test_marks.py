"""The mark that is seen on what was dubbed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.dubbing.credentials import read_credentials
from model.dubbing.dub import InferConfig
from model.dubbing.marks import MARK, VisibleMark, read_comment
from stages.media import decode_video, write_video
from tests.talking import FPS


def test_the_mark_is_seen_by_default_and_in_its_corner_alone(dubbed: Path):
    assert InferConfig().visible_mark
    marked, bare = (list(decode_video(dubbed / f"{name}.mp4")) for name in ("marked", "bare"))
    for ours, theirs in zip(marked, bare, strict=True):
        changed = np.abs(ours.rgb.astype(int) - theirs.rgb).max(axis=2) > 40
        rows, columns = np.nonzero(changed)
        assert changed.sum() > 100
        assert rows.min() > 370 and columns.max() < 210


@pytest.mark.parametrize("size", [(64, 48), (1080, 1920), (16, 16)])
def test_the_mark_fits_any_picture(size: tuple[int, int]):
    grey = np.full((*size, 3), 90, np.uint8)
    out = VisibleMark(*size)(grey)
    assert out.shape == grey.shape and (out > 150).any() and (grey == 90).all()


def test_coding_it_anew_leaves_the_mark_that_is_seen(dubbed: Path, tmp_path: Path):
    write_video(tmp_path / "anew.mp4", (frame.rgb for frame in decode_video(dubbed / "marked.mp4")), FPS)
    assert read_comment(tmp_path / "anew.mp4") is None and read_credentials(tmp_path / "anew.mp4") is None
    first, again = (next(decode_video(path)).rgb.astype(int) for path in (dubbed / "marked.mp4", tmp_path / "anew.mp4"))
    assert np.abs(first - again)[370:, :210].mean() < 4
    assert MARK.isprintable()
