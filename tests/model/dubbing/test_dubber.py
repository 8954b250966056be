"""Frames edited on a photo of a real face that scikit-image carries, moved a little so that it is a video."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from torch import nn

from model.dubbing.dubber import Dubber, sound_time_s
from model.dubbing.head_motion import FaceMotion
from model.dubbing.sound import Sound
from stages.face.crop import to_source
from stages.face.landmarks import LIPS_OUTER
from tests.talking import FPS, NUM_BLANK, NUM_FRAMES


def test_only_the_mouth_changes(frames, track, encoder, trained, voice):
    assert track.found.tolist() == [True] * (NUM_FRAMES - NUM_BLANK) + [False] * NUM_BLANK
    sound = Sound(voice, encoder)
    out = list(Dubber(trained[0], trained[1], sound, track, None).run(frames, FPS, batch=5))
    assert len(out) == NUM_FRAMES
    for i, (before, after) in enumerate(zip(frames, out, strict=True)):
        changed = (before != after).any(axis=2)
        if i >= NUM_FRAMES - NUM_BLANK:
            assert not changed.any()
            continue
        x0, y0, x1, y1 = track.boxes[i]
        rows, columns = np.nonzero(changed)
        assert changed.mean() > 0.01
        assert rows.min() >= (y0 + y1) / 2 - 1 and rows.max() <= y1 + 1
        assert columns.min() >= x0 - 1 and columns.max() <= x1 + 1


class Watched(nn.Module):
    """An editor that keeps the depths it was given."""

    def __init__(self, editor: nn.Module) -> None:
        super().__init__()
        self.editor, self.depths = editor, []

    def forward(self, batch: dict) -> object:
        self.depths.extend(batch["depth"][:, 0].numpy())
        return self.editor(batch)


def test_depth_of_the_videos_own_mouth(frames, track, encoder, trained, voice):
    """The editor is given the depth that belongs to each frame, and paints another mouth by it, and nothing else."""
    motion, sound, editor = FaceMotion(track, "cc0"), Sound(voice, encoder), Watched(trained[0])
    with_depth = list(Dubber(editor, trained[1], sound, track, motion, predicted=False).run(frames[:6], FPS, 6))
    without = list(Dubber(trained[0], trained[1], sound, track, None).run(frames[:6], FPS, 6))
    own = np.stack([motion.depth(i, motion.expression(i)) for i in range(6)])
    assert (own > 0).mean(axis=(1, 2)).min() > 0.005
    np.testing.assert_array_equal(editor.depths, own)
    assert len({depth.tobytes() for depth in own}) == 6
    for i, pair in enumerate(zip(with_depth, without, strict=True)):
        change = np.abs(pair[0].astype(int) - pair[1]).max(axis=2)
        lips = to_source(track.points[i : i + 1], track.boxes[i : i + 1])[0, LIPS_OUTER, :2]
        (x0, y0), (x1, y1) = np.rint([lips.min(axis=0), lips.max(axis=0)]).astype(int)
        assert change[y0:y1, x0:x1].mean() > 10 and (change[y0:y1, x0:x1] > 0).mean() > 0.95
        _, top, _, bottom = track.boxes[i]
        rows, _ = np.nonzero(change)
        assert rows.min() >= (top + bottom) / 2 - 1 and rows.max() <= bottom + 1


def test_a_frame_of_any_rate_has_the_sound_of_its_middle():
    assert [sound_time_s(k, FPS) for k in (0, 1, 250)] == pytest.approx([0.0, 0.04, 10.0])
    # 40 ms of 25 fps are two frames of 50: their middles lie 10 ms before and behind the one of 40 ms.
    assert [sound_time_s(k, 2 * FPS) for k in (500, 501)] == pytest.approx([9.99, 10.01])
    assert sound_time_s(0, Fraction(15)) == pytest.approx(1 / 30 - 0.02)
