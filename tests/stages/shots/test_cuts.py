"""Hard cuts, dissolves and what looks like them, on made-up pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks.known.media_files import steady
from stages.shots.cuts import MIXED, CutConfig, CutFinder, mixing, ramp_span


def texture(seed: int, height: int = 48, width: int = 80) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 10, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def found_cuts(pictures: list[np.ndarray], times_s: list[float]) -> list[float]:
    finder = CutFinder(CutConfig())
    cuts = [cut for time_s, picture in zip(times_s, pictures, strict=True) for cut in finder.push(time_s, picture)]
    return cuts + finder.finish()


@pytest.mark.parametrize("at", [1, 2, 3, 10, 17, 18, 19])
def test_a_cut_is_found_wherever_it_is(at: int) -> None:
    times_s = [0.3 + k / 25 for k in range(20)]
    assert found_cuts([texture(0)] * at + [texture(1)] * (20 - at), times_s) == [times_s[at]]


def test_short_shots_are_shots() -> None:
    pictures = [texture(0)] * 10 + [texture(1)] * 4 + [texture(2)] * 10
    assert found_cuts(pictures, steady(24)) == [10 / 25, 14 / 25]


def test_cuts_follow_the_time_stamps_of_a_variable_rate() -> None:
    times_s = [0.0, 0.1, 0.5, 0.6, 2.0, 2.1, 7.0, 7.1]
    assert found_cuts([texture(0)] * 4 + [texture(1)] * 4, times_s) == [2.0]


def _lit(seed: int, gain: float, level: float = 0.0) -> np.ndarray:
    return np.clip(texture(seed) * gain + level, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("length", [1, 3, 6])
def test_a_flash_is_no_cut(length: int) -> None:
    pictures = [_lit(0, 0.5)] * 15 + [_lit(0, 0.9, 40)] * length + [_lit(0, 0.5)] * 20
    assert found_cuts(pictures, steady(len(pictures))) == []


def test_a_lamp_is_no_cut() -> None:
    assert found_cuts([_lit(0, 0.4)] * 15 + [_lit(0, 0.9)] * 20, steady(35)) == []


def test_a_cut_beside_a_flash_is_a_cut() -> None:
    pictures = [_lit(0, 0.5)] * 15 + [_lit(0, 0.9, 40)] * 2 + [_lit(1, 0.5)] * 20
    assert found_cuts(pictures, steady(len(pictures)))[-1] == pytest.approx(17 / 25)


def test_a_pan_is_no_cut() -> None:
    wide = texture(3, 48, 200)
    assert found_cuts([wide[:, 3 * k : 3 * k + 80] for k in range(40)], steady(40)) == []


def test_no_frames_no_cuts() -> None:
    assert found_cuts([], []) == []


def moving(seed: int, number: int) -> np.ndarray:
    """A texture behind a camera that is not quite still, with the noise of a sensor."""
    rng = np.random.default_rng([seed, number])
    shift = round(2 * np.sin(number / 6))
    picture = np.roll(texture(seed), shift, axis=1).astype(float) + rng.normal(0, 4, (48, 80, 1))
    return picture.clip(0, 255).astype(np.uint8)


def dissolved(length: int, before: int = 40, after: int = 40) -> list[np.ndarray]:
    """`length` mixtures between two moving textures."""
    share = np.clip((np.arange(before + length + after) - before + 1) / (length + 1), 0, 1)
    mixed = [(1 - a) * moving(0, k) + a * moving(1, k) for k, a in enumerate(share)]
    return [picture.astype(np.uint8) for picture in mixed]


@pytest.mark.parametrize("length", [2, 5, 12, 25, 50])
def test_the_mixtures_of_a_dissolve_are_a_shot_of_their_own(length: int) -> None:
    pictures = dissolved(length)
    start_s, end_s = found_cuts(pictures, steady(len(pictures)))
    lost = max(1, length // 8)  # of the frames beside it; of the mixtures themselves only the faintest may stay
    assert 40 - lost <= start_s * 25 <= 40 + length // 20
    assert 40 + length - length // 20 <= end_s * 25 <= 40 + length + lost


@pytest.mark.parametrize("fps", [15, 50, 120])
def test_a_dissolve_at_other_rates(fps: int) -> None:
    pictures = dissolved(fps // 2, fps, fps)
    start_s, end_s = found_cuts(pictures, [k / fps for k in range(len(pictures))])
    assert (start_s, end_s) == pytest.approx((1.0, 1.5), abs=0.1)


def test_a_dissolve_between_cuts() -> None:
    pictures = [moving(2, k) for k in range(20)] + dissolved(10, 20, 20) + [moving(3, k) for k in range(30)]
    cuts = [cut * 25 for cut in found_cuts(pictures, steady(len(pictures)))]
    assert cuts == pytest.approx([20, 40, 50, 70], abs=1)


def test_a_fade_from_black_ends_with_a_cut() -> None:
    pictures = [(min(1.0, k / 20) * moving(0, k)).astype(np.uint8) for k in range(80)]
    cuts = found_cuts(pictures, steady(80))
    assert 18 <= cuts[-1] * 25 <= 22


def test_one_blended_frame_of_a_converted_rate_is_one_cut() -> None:
    pictures = dissolved(1)
    (cut_s,) = found_cuts(pictures, steady(len(pictures)))
    assert 40 <= cut_s * 25 <= 41


def test_a_slow_wipe_and_a_zoom_are_no_dissolves() -> None:
    wide = cv2.resize(texture(4), (400, 240))
    zoomed = [cv2.resize(wide[3 * k : 240 - 3 * k, 5 * k : 400 - 5 * k], (80, 48)) for k in range(30)]
    assert found_cuts(zoomed, steady(30)) == []
    wiped = [np.concatenate([texture(1)[:, : 2 * k], texture(0)[:, 2 * k :]], axis=1) for k in range(41)]
    assert found_cuts([texture(0)] * 30 + wiped + [texture(1)] * 30, steady(101)) == []


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(0, 20), st.integers(0, 20))
def test_every_ramp_has_a_span_between_its_ends(middle: list[float], before: int, after: int) -> None:
    share = np.array([0.0] * (before + 1) + sorted(middle) + [1.0] * (after + 1))
    assume(((share > MIXED[0]) & (share < MIXED[1])).any())
    start_s, end_s = ramp_span(np.arange(len(share)) / 25, share)
    assert 0 < start_s < end_s <= (len(share) - 1) / 25


@pytest.mark.parametrize("step", [1, 3, 7, 23, 60])
@pytest.mark.parametrize("every", [1, 2, 5, 12])
def test_brightness_that_goes_in_steps_is_searched_for_cuts(step: int, every: int) -> None:
    pictures = [np.full((48, 80, 3), k // every * step % 255, np.uint8) for k in range(150)]
    cuts = found_cuts(pictures, steady(150))
    assert cuts == sorted(set(cuts))
    assert all(0 < cut_s < 150 / 25 for cut_s in cuts)


def test_only_what_rises_from_the_first_to_the_last_is_a_mixture() -> None:
    first, last = np.zeros(3), np.array([10.0, 0, 0])
    np.testing.assert_array_equal(np.asarray(mixing(np.stack([first, last / 2, last]), 0.1)), [0, 0.5, 1])
    assert mixing(np.stack([first, last / 2, last / 4, last]), 0.1) is None
    assert mixing(np.stack([first, last / 2 + [0, 5, 0], last]), 0.1) is None
