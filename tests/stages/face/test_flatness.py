"""Faces that a camera saw, and faces that were coded into blocks or drawn."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stages.core.records import CROP_PX, NUM_LANDMARKS
from stages.face.flatness import measure_flatness


def _lit(level: float = 150.0) -> np.ndarray:
    """A ball in the light, with a camera's noise, before a black wall."""
    y, x = (np.indices((CROP_PX, CROP_PX)) - CROP_PX / 2) / 110
    inside = x**2 + y**2 < 1
    shade = level * (0.4 + 0.6 * np.clip(np.sqrt(np.maximum(1 - x**2 - y**2, 0)) - 0.4 * x, 0, 1))
    noisy = shade + np.random.default_rng(0).normal(0, 0.01 * level, shade.shape)
    return np.repeat(np.where(inside, noisy, 0).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _points() -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, NUM_LANDMARKS)
    return np.stack([128 + 100 * np.cos(angle), 128 + 100 * np.sin(angle), 0 * angle], axis=1)


def _flat(*crops: np.ndarray) -> float:
    return measure_flatness(crops, [_points()] * len(crops))


@pytest.mark.parametrize("level", [250.0, 150.0, 50.0])
def test_a_face_in_the_light_is_not_flat_whatever_its_brightness(level: float) -> None:
    assert _flat(_lit(level)) < 0.05


def test_blocks_are_flat_and_a_soft_face_is_not() -> None:
    small = cv2.resize(_lit(), (32, 32), interpolation=cv2.INTER_AREA)
    blocks, soft = (
        _flat(cv2.resize(small, (CROP_PX, CROP_PX), interpolation=how)) for how in (cv2.INTER_NEAREST, cv2.INTER_CUBIC)
    )
    assert blocks > 0.3 > 2 * soft


def test_areas_of_one_colour_are_flat() -> None:
    assert _flat(cv2.medianBlur(_lit(), 9) // 32 * 32) > 0.4


def test_single_looks_do_not_decide() -> None:
    blank = np.full((CROP_PX, CROP_PX, 3), 90, np.uint8)
    assert _flat(_lit(), blank, _lit()) == _flat(_lit())
    assert measure_flatness([blank], [_points() - 1000]) == 0.0
