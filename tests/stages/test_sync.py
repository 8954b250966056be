"""Lips driven by the sound they make, with known delays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from pipeline.records import STAGE_COLUMNS
from stages.sync import SyncConfig, correlation_curve, find_offset, measure_sync
from tests.spoken import mandarin, noise, pcm16, silence

CONFIG = SyncConfig()


def talking_face(audio: np.ndarray, num_frames: int, seed: int = 0) -> np.ndarray:
    """float16 (T, 1434): a face in crop pixels whose lips and jaw follow the loudness, with landmark noise."""
    rng = np.random.default_rng(seed)
    loudness = np.sqrt(np.square(audio[: num_frames * 640]).reshape(num_frames, 640).mean(axis=1))
    opening = 12.0 * gaussian_filter1d(loudness, 0.8) / loudness.max()
    points = np.zeros((num_frames, 478, 3))
    rest = {10: (128, 20), 1: (128, 130), 61: (100, 180), 291: (156, 180)}
    for idx, xy in rest.items():
        points[:, idx, :2] = xy
    for idx, y, share in ((13, 178, 0.0), (14, 182, 1.0), (82, 178, 0.0), (87, 182, 1.0), (312, 178, 0.0)):
        points[:, idx, :2] = np.stack([np.full(num_frames, 128.0), y + share * opening], axis=1)
    for idx, y in ((317, 182), (17, 192), (152, 236)):
        points[:, idx, :2] = np.stack([np.full(num_frames, 128.0), y + opening], axis=1)
    points[:, 0, :2] = (128, 170)
    return (points + rng.normal(0, 0.3, points.shape)).astype(np.float16).reshape(num_frames, -1)


def delayed(audio: np.ndarray, delay_ms: int) -> np.ndarray:
    """The same length, heard later by so much."""
    samples = delay_ms * 16
    padded = np.concatenate([silence(1.0), audio, silence(1.0)])
    return padded[16_000 - samples : 16_000 - samples + len(audio)]


@pytest.mark.parametrize("delay_ms", [0, 120, -200, 400, -400])
def test_a_delay_is_found_with_its_sign(delay_ms: int) -> None:
    audio = mandarin(8.0)
    row = {"landmarks": talking_face(audio, 200), "audio_pcm16": pcm16(delayed(audio, delay_ms))}
    out = measure_sync(row, CONFIG)
    assert out["av_offset_ms"] == pytest.approx(delay_ms, abs=60)
    assert out["sync_conf"] > 4.0
    assert out.keys() - row.keys() == set(STAGE_COLUMNS["sync"].names)


def test_three_seconds_suffice_for_clear_lips() -> None:
    audio = mandarin(8.0)[8000:56_000]
    row = {"landmarks": talking_face(audio, 75), "audio_pcm16": pcm16(delayed(audio, 400))}
    assert measure_sync(row, CONFIG)["av_offset_ms"] == pytest.approx(400, abs=60)


@pytest.mark.parametrize("seed", range(4))
def test_unrelated_sound_gives_no_confidence(seed: int) -> None:
    row = {"landmarks": talking_face(mandarin(8.0), 200, seed), "audio_pcm16": pcm16(noise(8.0, seed=seed))}
    assert measure_sync(row, CONFIG)["sync_conf"] < 4.0


def test_a_still_face_and_silence_give_none_at_all() -> None:
    still = np.repeat(talking_face(mandarin(8.0), 200)[:1], 200, axis=0)
    assert measure_sync({"landmarks": still, "audio_pcm16": pcm16(mandarin(8.0))}, CONFIG)["sync_conf"] == 0.0
    moving = {"landmarks": talking_face(mandarin(8.0), 200), "audio_pcm16": pcm16(silence(8.0))}
    assert measure_sync(moving, CONFIG)["sync_conf"] == 0.0


def test_correlation_curve_peaks_at_the_delay_of_the_second() -> None:
    series = np.random.default_rng(0).normal(size=300)
    curve = correlation_curve(series[20:220], series[13:213], 50)
    assert curve.argmax() - 50 == 7
    assert curve.max() == pytest.approx(1.0)
    assert not correlation_curve(np.zeros(200), series[:200], 50).any()


def test_offset_is_searched_only_within_reach() -> None:
    lags_ms = np.arange(-1000, 1001, 10)
    curve = np.exp(-(((lags_ms - 100) / 50.0) ** 2)) + 2 * np.exp(-(((lags_ms - 900) / 50.0) ** 2))
    curve += np.random.default_rng(0).normal(0, 0.01, len(curve))
    offset_ms, confidence = find_offset(curve, CONFIG)
    assert offset_ms == pytest.approx(100, abs=10)
    assert confidence < find_offset(np.where(lags_ms > 500, 0.0, curve), CONFIG)[1]
