"""Which pixels a dubbed mouth replaces, and that its colours meet those around it."""

from __future__ import annotations

import numpy as np
import pytest

from model.dubbing.compose import Composer, blend_mask, colour_shift


def test_blend_mask_covers_the_lips_and_fades(track):
    mask = blend_mask(track.points[0])
    lips = track.points[0][[0, 17, 61, 291], :2].astype(int)
    assert all(mask[y, x] > 0.98 for x, y in lips)
    assert not mask[:128].any() and max(mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()) < 0.05
    assert np.abs(np.diff(mask, axis=1)).max() < 0.15


def test_colours_meet_at_the_rim_and_do_not_flicker(frames, track):
    """The painted crop is darker by 5, and by 2 more or less in turn: the first goes, the second is not followed."""
    crop, points = np.full((256, 256, 3), 120, np.uint8), track.points[0]
    mask, composer, frame = blend_mask(points), Composer(), np.full_like(frames[0], 120)
    shifts = []
    for number in range(40):
        edited = np.full_like(crop, 115 + 2 * (-1) ** number)
        assert colour_shift(edited, crop, mask)[0] == pytest.approx(5 - 2 * (-1) ** number)
        composer(frame, crop, edited, track.boxes[0], points)
        assert composer.shift is not None
        shifts.append(composer.shift[0])
    assert np.mean(shifts[20:]) == pytest.approx(5, abs=0.3) and np.std(shifts[20:]) < 0.25
    composer(frame, crop, np.full_like(crop, 130), track.boxes[0], points)
    assert composer.shift is not None and composer.shift[0] == pytest.approx(-10)  # another scene
