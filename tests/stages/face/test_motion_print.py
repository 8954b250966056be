"""A fingerprint of motion knows its copies: noisy, shifted, scaled, moved, mirrored; and no others."""

from __future__ import annotations

import numpy as np
import pytest

from stages.audio.fingerprint import match_fingerprints
from stages.core.records import CROP_PX, NUM_LANDMARKS
from stages.face.motion_print import SIDE_BITS, motion_fingerprint, unsided

BOX = np.array([200.0, 100.0, 456.0, 356.0])


def _talk(seed: int, num_frames: int = 200) -> np.ndarray:
    """(T, 478, 2) crop pixels of a face whose points wander on their own, as slowly as heads and lips do."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(num_frames // 8 + 2, NUM_LANDMARKS, 2))
    at = np.arange(num_frames) / 8
    low = at.astype(int)
    moves = steps[low] + (at - low)[:, None, None] * (steps[low + 1] - steps[low])
    return np.random.default_rng(0).uniform(60, 200, (NUM_LANDMARKS, 2)) + 4 * moves


def _words(points: np.ndarray, box: np.ndarray = BOX, noise_px: float = 0.0) -> np.ndarray:
    noisy = points + np.random.default_rng(1).normal(0, noise_px or 1e-9, points.shape)
    flat = np.concatenate([noisy, np.zeros((*noisy.shape[:2], 1))], axis=2).reshape(len(points), -1)
    return motion_fingerprint(flat.astype(np.float16), np.tile(box, (len(points), 1)))


def _mirrored(points: np.ndarray) -> np.ndarray:
    """As a detector would see the mirror image: left is right, also in the names of the points it is asked for."""
    flipped = points * (-1, 1) + (CROP_PX, 0)
    for one, other in ((33, 263), (133, 362), (61, 291), (159, 386), (145, 374)):
        flipped[:, [one, other]] = flipped[:, [other, one]]
    return flipped


def test_there_is_a_word_every_two_frames_that_a_window_fits():
    assert _words(_talk(0, 31)).shape == (0,)
    assert len(_words(_talk(0, 32))) == 1
    words = _words(_talk(0, 200))
    assert len(words) == 85 and words.dtype == np.uint32


@pytest.mark.parametrize("box", [BOX, BOX / 3, BOX + np.array([50, -30, 50, -30])])
def test_a_noisy_late_smaller_and_moved_copy_is_found(box):
    points = _talk(1)
    match = match_fingerprints(_words(points), _words(points[21:], box, noise_px=0.5))
    assert match.bit_error_rate < 0.15
    assert match.offset_words in (-10, -11)


def test_a_mirror_flips_what_goes_sideways():
    words, mirrored = _words(_talk(2)), _words(_mirrored(_talk(2)))
    assert match_fingerprints(words, mirrored ^ SIDE_BITS).bit_error_rate < 0.01
    assert match_fingerprints(words, mirrored).bit_error_rate > 0.3
    assert (unsided(words) == unsided(mirrored)).mean() > 0.9
    assert (unsided(words) & 1 == 0).all()


def test_another_motion_of_the_same_face_differs():
    assert match_fingerprints(_words(_talk(3)), _words(_talk(4))).bit_error_rate > 0.3
