"""Jumps within a scene, and what moves fast or unevenly without one, on a drawn head before a drawn wall."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from stages.shots.jumps import JumpConfig, JumpFinder

pytestmark = pytest.mark.slow  # a film is drawn for each

SIZE_PX = (240, 320)
HEAD_PX = 80
NUM_FRAMES = 60


def _texture(seed: int, width: int, height: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(40, 216, (height // 16, width // 16, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


WALL, PERSON = _texture(0, *SIZE_PX[::-1]), _texture(1, 2 * HEAD_PX, 3 * HEAD_PX)
OUTLINE = np.ones(PERSON.shape[:2], np.uint8)
OUTLINE[:HEAD_PX, : HEAD_PX // 2] = OUTLINE[:HEAD_PX, -HEAD_PX // 2 :] = 0  # shoulders are twice as wide as the head
FEATURES = np.random.default_rng(2).uniform((HEAD_PX / 2, 0), (HEAD_PX * 3 / 2, HEAD_PX), (478, 2))
Frame = tuple[float, np.ndarray, np.ndarray | None]


def drawn(time_s: float, offset_px: float = 0.0) -> Frame:
    """Someone who sways a little all the time, and noise of a sensor."""
    place = np.array([80 + 6 * np.sin(2 * np.pi * 0.7 * time_s) + offset_px, 70 + 3 * np.sin(2 * np.pi * 1.1 * time_s)])
    matrix = np.column_stack([np.eye(2), place])
    laid, outline = (cv2.warpAffine(picture, matrix, SIZE_PX[::-1]) for picture in (PERSON, OUTLINE))
    noise = np.random.default_rng(round(time_s * 1000)).normal(0, 2, (*SIZE_PX, 1))
    rgb = np.where(outline[..., None] > 0, laid, WALL) + noise
    points = np.column_stack([FEATURES + place, np.zeros(len(FEATURES))]).astype(np.float32)
    return time_s, np.clip(rgb, 0, 255).astype(np.uint8), points


def steady(offset_px: Callable[[int], float] = lambda _: 0.0) -> list[Frame]:
    return [drawn(k / 25, offset_px(k)) for k in range(NUM_FRAMES)]


def jumps_of(frames: list[Frame]) -> list[int]:
    finder, told = JumpFinder(JumpConfig()), list[bool]()
    for number, frame in enumerate(frames):
        told += finder.push(*frame)
        assert len(told) <= number + 1
    told += finder.finish()
    assert len(told) == len(frames)
    return [number for number, jump in enumerate(told) if jump]


@pytest.mark.parametrize("at", [10, 30, 55])
def test_a_missing_piece_is_found_where_it_is(at: int) -> None:
    assert jumps_of(steady(lambda k: 8.0 * (k >= at))) == [at]


def test_two_missing_pieces_half_a_second_apart() -> None:
    assert jumps_of(steady(lambda k: 8.0 * (k >= 20) - 9.0 * (k >= 32))) == [20, 32]


@pytest.mark.parametrize("frames", [4, 8])
def test_a_quick_move_takes_some_frames_and_is_none(frames: int) -> None:
    assert jumps_of(steady(lambda k: 15 * (1 - np.cos(np.pi * np.clip((k - 25) / frames, 0, 1))) / 2)) == []


def test_frames_that_are_left_out_are_no_jumps() -> None:
    """Thirty frames a second shown at 25: the clock is even, each fifth step twice as long."""
    shown = [drawn(k * 6 // 5 / 30) for k in range(NUM_FRAMES)]
    assert jumps_of([(k / 25, rgb, points) for k, (_, rgb, points) in enumerate(shown)]) == []


def test_a_film_that_hangs_and_goes_on_is_no_jump() -> None:
    frames = steady()
    for k in range(26, 30):
        frames[k] = (k / 25, *frames[25][1:])
    assert jumps_of(frames) == []


@pytest.mark.parametrize("times", [2, 3])
def test_in_repeated_frames_a_jump_is_one_all_the_same(times: int) -> None:
    def repeated(jump_px: float) -> list[Frame]:
        frames = [drawn(k // times * times / 25, jump_px * (k >= 30)) for k in range(NUM_FRAMES)]
        return [(k / 25, rgb, points) for k, (_, rgb, points) in enumerate(frames)]

    assert jumps_of(repeated(0.0)) == []
    assert jumps_of(repeated(12.0)) == [30]


def test_light_and_letters_are_no_jumps() -> None:
    frames = steady()
    lit = [
        (t, np.clip(rgb * (1.5 if k >= 30 else 1.0), 0, 255).astype(np.uint8), p)
        for k, (t, rgb, p) in enumerate(frames)
    ]
    assert jumps_of(lit) == []
    for k in range(30, NUM_FRAMES):
        cv2.putText(frames[k][1], "SUBTITLE", (60, 170), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 3)
    assert jumps_of(frames) == []


def test_without_a_face_nothing_is_told() -> None:
    assert jumps_of([(t, rgb, None) for t, rgb, _ in steady(lambda k: 8.0 * (k >= 30))]) == []


def test_a_picture_that_stands_still_is_not_waited_for() -> None:
    finder, still = JumpFinder(JumpConfig()), drawn(0.0)
    told = [len(finder.push(k / 25, *still[1:])) for k in range(NUM_FRAMES)]
    assert NUM_FRAMES - sum(told) < 20
