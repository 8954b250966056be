"""Gaps in a track, and how much of its motion is noise."""

from __future__ import annotations

import numpy as np
import pytest

from stages.core.reasons import Dropped, DropReason
from stages.face.clip_frames import Region, SeenFrame, crop_clip, fill_gaps, measure_jitter
from stages.face.landmarks import RIGID, FaceLandmarks


def test_gaps_are_filled_linearly_and_ends_stand_still() -> None:
    points = np.array([[9.0], [1.0], [9.0], [9.0], [4.0], [9.0]])
    found = np.array([False, True, False, False, True, False])
    assert fill_gaps(points, found, 2)[:, 0].tolist() == [1, 1, 2, 3, 4, 4]


@pytest.mark.parametrize(("found", "begins"), [([0, 0, 0, 1, 1], 0), ([1, 0, 0, 0, 1], 1), ([1, 1, 0, 0, 0], 2)])
def test_a_long_gap_loses_the_face(found: list[int], begins: int) -> None:
    with pytest.raises(Dropped) as dropped:
        fill_gaps(np.zeros((5, 1)), np.array(found, bool), 2)
    assert dropped.value.reason is DropReason.FACE_LOST
    assert dropped.value.detail == f"no face in 3 frames in a row, from frame {begins} of the clip"


def test_frames_with_landmarks_of_their_own_are_told_from_the_others() -> None:
    points = np.random.default_rng(0).uniform(10, 90, (478, 3)).astype(np.float32)
    face = FaceLandmarks(points, np.zeros(52, np.float32), np.eye(4, dtype=np.float32))
    region = Region(np.zeros((100, 100, 3), np.uint8), np.zeros(2, int), np.ones(2, int))
    frames = [SeenFrame(i / 25, seen, region, False, None) for i, seen in enumerate((face, None, face))]
    assert crop_clip(frames, 2, 90)["face_found"].tolist() == [True, False, True]


def _head(x: np.ndarray) -> np.ndarray:
    points = np.zeros((len(x), 478, 3), np.float32)
    points[:, 0, 0], points[:, 1, 0] = -50, 50
    points[:, list(RIGID), 0] = x[:, None]
    return points


def test_jitter_of_even_motion_is_none_whatever_the_rate() -> None:
    shown = np.floor(np.arange(60) * 30 / 25 + 1e-9)  # 30 frames a second, picked at 25
    assert measure_jitter(_head(shown), shown / 30) == pytest.approx(0, abs=1e-4)
    held = np.arange(60) // 2  # 12.5 frames a second: each is shown twice
    assert measure_jitter(_head(held), held / 12.5) == pytest.approx(0, abs=1e-4)


def test_jitter_is_acceleration_in_face_widths() -> None:
    shaking = np.where(np.arange(60) % 2, 1.0, -1.0)
    assert measure_jitter(_head(shaking), np.arange(60) / 25) == pytest.approx(4 / 100, rel=1e-4)
    assert measure_jitter(_head(shaking[:2]), np.arange(2) / 25) == 0
