"""Detail that is in the picture, however many pixels carry it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stages.core.records import CROP_PX
from stages.face.detail import looks, measure_detail


def _picture(seed: int) -> np.ndarray:
    """Discs over each other, as far apart as a face's features are; drawn larger, so that their rims are smooth."""
    random, scale = np.random.default_rng(seed), 4
    gray = np.full((CROP_PX * scale, CROP_PX * scale), 150, np.uint8)
    for _ in range(30):
        x, y = (int(v) for v in random.integers(0, len(gray), 2))
        cv2.circle(gray, (x, y), scale * int(random.integers(12, 40)), int(random.integers(30, 220)), -1)
    small = cv2.resize(gray, (CROP_PX, CROP_PX), interpolation=cv2.INTER_AREA)
    return np.repeat(small[..., None], 3, axis=2)


def _coded(rgb: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def _enlarged(crop: np.ndarray, side: int, quality: int = 92) -> np.ndarray:
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    return _coded(cv2.resize(small, (CROP_PX, CROP_PX), interpolation=cv2.INTER_CUBIC), quality)


@pytest.mark.parametrize("quality", [92, 50])
@pytest.mark.parametrize("side", [48, 64, 96, 128])
def test_an_enlarged_picture_has_the_detail_it_had(side: int, quality: int) -> None:
    crops = [_enlarged(_picture(seed), side, quality) for seed in range(4)]
    assert 0.85 * side <= measure_detail(crops) <= 1.3 * side


def test_a_sharp_picture_has_all_of_it() -> None:
    assert measure_detail([_picture(seed) for seed in range(4)]) > 0.9 * CROP_PX


def test_a_blurred_picture_has_less() -> None:
    found = [measure_detail([cv2.GaussianBlur(_picture(0), (0, 0), sigma)]) for sigma in (0.5, 1.0, 2.0, 4.0)]
    assert found == sorted(found, reverse=True) and found[-1] < 60


def test_noise_is_no_detail() -> None:
    noise = np.random.default_rng(0).normal(0, 4, (4, CROP_PX, CROP_PX, 3))
    crops = [_enlarged(_picture(seed), 64) for seed in range(4)]
    noisy = [np.clip(crop + more, 0, 255).astype(np.uint8) for crop, more in zip(crops, noise, strict=True)]
    assert measure_detail(noisy) == pytest.approx(measure_detail(crops), rel=0.15)


def test_a_blank_picture_is_not_judged() -> None:
    assert measure_detail([np.full((CROP_PX, CROP_PX, 3), 90, np.uint8)]) == CROP_PX


def test_looks_are_spread_over_the_clip() -> None:
    assert looks(100).tolist() == [0, 14, 28, 42, 57, 71, 85, 99]
    assert looks(3).tolist() == [0, 1, 2]
