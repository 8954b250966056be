"""Detail that is in the picture, however many pixels carry it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.records import CROP_PX
from stages.detail import looks, measure_detail


def _picture(seed: int) -> np.ndarray:
    """Noise whose power falls with the square of frequency, as that of photographs does."""
    random = np.random.default_rng(seed)
    cycles = np.hypot(np.fft.fftfreq(CROP_PX)[:, None], np.fft.rfftfreq(CROP_PX)[None]) * CROP_PX
    spectrum = np.fft.rfft2(random.normal(size=(CROP_PX, CROP_PX))) / np.maximum(cycles, 1)
    gray = np.fft.irfft2(spectrum, (CROP_PX, CROP_PX))
    gray = 128 + 45 * gray / gray.std()
    return np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _enlarged(crop: np.ndarray, side: int) -> np.ndarray:
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (CROP_PX, CROP_PX), interpolation=cv2.INTER_CUBIC)
    return cv2.imdecode(cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 92])[1], cv2.IMREAD_COLOR)


@pytest.mark.parametrize("side", [32, 64, 128])
def test_an_enlarged_picture_has_the_detail_it_had(side: int) -> None:
    """Noise has most of it along the diagonals, where squares of pixels carry more than along their sides."""
    crops = [_enlarged(_picture(seed), side) for seed in range(4)]
    assert side <= measure_detail(crops) <= 1.5 * side


def test_a_sharp_picture_has_all_of_it() -> None:
    assert measure_detail([_picture(seed) for seed in range(4)]) == CROP_PX


def test_a_blurred_picture_has_less() -> None:
    found = [measure_detail([cv2.GaussianBlur(_picture(0), (0, 0), sigma)]) for sigma in (0.5, 1.0, 2.0, 4.0)]
    assert found == sorted(found, reverse=True) and found[-1] < 60


def test_looks_are_spread_over_the_clip() -> None:
    assert looks(100).tolist() == [0, 14, 28, 42, 57, 71, 85, 99]
    assert looks(3).tolist() == [0, 1, 2]
