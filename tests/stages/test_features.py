from __future__ import annotations

import itertools

import numpy as np
import pytest

from stages.core.records import NUM_LANDMARKS
from stages.core.weights import WeightStore
from stages.features import FeaturesConfig, WhisperEncoder, WhisperFeatures, window_starts
from tests.spoken import mandarin, pcm16


@pytest.fixture(scope="module")
def encoder(weights: WeightStore) -> WhisperEncoder:
    return WhisperEncoder(FeaturesConfig(device="cpu"), weights)


def test_windows_cover_everything_and_end_with_the_audio() -> None:
    assert window_starts(500, 500, 100) == [0]
    assert window_starts(501, 500, 100) == [0, 1]
    assert window_starts(1000, 500, 100) == [0, 400, 500]
    for num_steps in (501, 899, 900, 901, 2345):
        starts = window_starts(num_steps, 500, 100)
        assert starts[-1] + 500 == num_steps
        assert max(b - a for a, b in itertools.pairwise(starts)) <= 400


def test_one_step_every_20_ms(encoder: WhisperEncoder) -> None:
    for num_samples in (1, 320, 321, 48_000):
        features = encoder.encode(mandarin(8.0)[:num_samples])
        assert features.shape == (-(-num_samples // 320), encoder.dim)
        assert features.dtype == np.float16
    assert encoder.dim == 5 * 512
    assert encoder.name == "whisper-base/2,3,4,5,6/max20"
    with pytest.raises(ValueError, match="no audio"):
        encoder.encode(np.zeros(0, np.float32))


def test_no_step_carries_a_huge_value(encoder: WhisperEncoder) -> None:
    assert np.abs(encoder.encode(mandarin(8.0))).max() <= 20.0


def test_long_audio_is_the_windows_put_together(encoder: WhisperEncoder) -> None:
    audio = np.concatenate([mandarin(8.0)] * 2)
    features = encoder.encode(audio)
    assert features.shape == (800, encoder.dim)
    first, last = encoder.encode(audio[:160_000]), encoder.encode(audio[300 * 320 :])
    np.testing.assert_array_equal(features[:350], first[:350])
    np.testing.assert_array_equal(features[350:], last[50:])


def test_layers_can_be_chosen(weights: WeightStore, encoder: WhisperEncoder) -> None:
    single = WhisperEncoder(FeaturesConfig(layers=("6",), device="cpu"), weights)
    assert single.dim == 512
    audio = mandarin(8.0)[:32_000]
    np.testing.assert_array_equal(single.encode(audio), encoder.encode(audio)[:, -512:])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (FeaturesConfig(model="huge"), "features.model is 'huge'"),
        (FeaturesConfig(layers=("7",)), "numbers from 0 to 6"),
        (FeaturesConfig(window_s=31.0), "window_s <= 30"),
        (FeaturesConfig(overlap_s=10.0), "overlap_s < window_s"),
    ],
)
def test_impossible_configurations_are_refused(weights: WeightStore, config: FeaturesConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WhisperEncoder(config, weights)


def test_the_stage_adds_its_columns(weights: WeightStore) -> None:
    pictures = {
        "landmarks": np.full((100, NUM_LANDMARKS * 3), 128.0),
        "crop_box_xyxy_px": np.full((100, 4), [0, 0, 9, 9]),
    }
    row = {"source_id": "a", "audio_pcm16": pcm16(mandarin(8.0)[:64_000]), **pictures}
    out = WhisperFeatures(FeaturesConfig(device="cpu"), weights)(row)
    assert out.keys() - row.keys() == {"whisper", "whisper_model", "audio_fingerprint", "motion_fingerprint"}
    assert row.keys() == {"source_id", "audio_pcm16", *pictures}
    assert out["whisper"].shape == (200, 2560)
    assert out["audio_fingerprint"].dtype == np.uint32
