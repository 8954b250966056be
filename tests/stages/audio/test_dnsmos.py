from __future__ import annotations

import numpy as np
import pytest

from stages.audio.dnsmos import WINDOW_SAMPLES, Dnsmos, quality_windows, tile
from stages.core.weights import WeightStore
from tests.spoken import mandarin, noise


@pytest.fixture(scope="module")
def dnsmos(weights: WeightStore) -> Dnsmos:
    return Dnsmos(weights)


def test_short_audio_is_repeated() -> None:
    audio = np.arange(50_000, dtype=np.float32)
    tiled = tile(audio)
    assert len(tiled) == WINDOW_SAMPLES
    np.testing.assert_array_equal(tiled[50_000:100_000], audio)
    with pytest.raises(ValueError, match="no audio"):
        tile(audio[:0])


def test_windows_cover_long_audio_and_leave_the_rest_out() -> None:
    assert quality_windows(np.zeros(160_000, np.float32), 1.0).shape == (1, WINDOW_SAMPLES)
    assert quality_windows(np.zeros(20 * 16_000, np.float32), 9.01).shape == (2, WINDOW_SAMPLES)
    assert quality_windows(np.zeros(16_000, np.float32), 9.01).shape == (1, WINDOW_SAMPLES)


def test_noise_lowers_background_more_than_speech(dnsmos: Dnsmos) -> None:
    clean = dnsmos(mandarin())
    noisy = dnsmos(mandarin() + noise(8.0, level=float(mandarin().std()) / 2))
    assert clean.bak > 3.0
    assert noisy.bak < 2.2
    assert noisy.ovr < clean.ovr
    assert noisy.sig > noisy.bak


def test_noise_alone_is_bad_in_everything(dnsmos: Dnsmos) -> None:
    quality = dnsmos(noise(9.1))
    assert max(quality.sig, quality.bak, quality.ovr) < 1.5
