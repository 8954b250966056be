"""Lips driven by the sound they make, with known delays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from benchmarks.known.media_files import write_media
from stages.core.records import STAGE_COLUMNS, Row
from stages.core.weights import WeightStore
from stages.lipsync.curves import best_delay
from stages.lipsync.lip_sound import MAX_STEPS, LipSound, agreement, lip_features
from stages.media import decode_audio
from stages.sync import SyncConfig, SyncMeasurer
from tests.spoken import english, mandarin, noise, pcm16, silence

NUM_FRAMES = 200
LENGTH_S = NUM_FRAMES / 25


@pytest.fixture(scope="module")
def measurer(tmp_path_factory) -> SyncMeasurer:
    """The embedded expert needs no weights."""
    return SyncMeasurer(SyncConfig(), WeightStore(tmp_path_factory.mktemp("none"), fetch=False))


def talking_face(audio: np.ndarray, num_frames: int = NUM_FRAMES, seed: int = 0) -> np.ndarray:
    """float16 (T, 1434): a face in crop pixels whose lips and jaw follow the loudness, with landmark noise."""
    rng = np.random.default_rng(seed)
    loudness = np.sqrt(np.square(audio[: num_frames * 640]).reshape(num_frames, 640).mean(axis=1))
    opening = 12.0 * gaussian_filter1d(loudness, 0.8) / loudness.max()
    points = np.zeros((num_frames, 478, 3))
    rest = {10: (128, 20), 1: (128, 130), 2: (128, 145), 61: (100, 180), 291: (156, 180), 78: (105, 180)}
    rest |= {308: (151, 180), 33: (80, 100), 263: (176, 100)}
    for idx, xy in rest.items():
        points[:, idx, :2] = xy
    upper = {13: 178, 82: 178, 312: 178, 81: 179, 311: 179, 0: 170}
    lower = {14: 182, 87: 182, 317: 182, 178: 181, 402: 181, 17: 192, 152: 236}
    for idx, y in (upper | lower).items():
        points[:, idx, 0] = 128.0
        points[:, idx, 1] = y + (opening if idx in lower else 0.0)
    return (points + rng.normal(0, 0.3, points.shape)).astype(np.float16).reshape(num_frames, -1)


def delayed(audio: np.ndarray, delay_ms: int) -> np.ndarray:
    """The same length, heard later by so much."""
    samples = delay_ms * 16
    padded = np.concatenate([silence(1.0), audio, silence(1.0)])
    return padded[16_000 - samples : 16_000 - samples + len(audio)]


def clip(face: np.ndarray, audio: np.ndarray, speech_ratio: float = 0.9) -> Row:
    return {"landmarks": face, "audio_pcm16": pcm16(audio), "speech_ratio": speech_ratio}


@pytest.mark.parametrize("delay_ms", [0, 120, -200, 400, -400])
def test_a_delay_is_found_with_its_sign(measurer: SyncMeasurer, delay_ms: int) -> None:
    audio = mandarin(LENGTH_S)
    found = measurer.measure(clip(talking_face(audio), delayed(audio, delay_ms)))
    assert found["av_offset_ms"] == pytest.approx(delay_ms, abs=60)
    assert found["av_offset_frames"] == round(found["av_offset_ms"] / 40)
    assert found["sync_conf"] > 4.0
    assert abs(found["av_drift_ms"]) <= 80
    assert {*found, "av_shift_ms"} == set(STAGE_COLUMNS["sync"].names)


def test_too_short_a_clip_has_no_halves(measurer: SyncMeasurer) -> None:
    audio = mandarin(LENGTH_S)[8000:56_000]
    assert "av_drift_ms" not in measurer.measure(clip(talking_face(audio, 75), audio))


def test_a_delay_that_moves_is_told(measurer: SyncMeasurer) -> None:
    audio = mandarin(LENGTH_S)
    moving = np.concatenate([audio[:64_000], delayed(audio, 200)[64_000:]])
    found = measurer.measure(clip(talking_face(audio), moving))
    assert found["av_drift_ms"] == pytest.approx(200, abs=60)


@pytest.mark.parametrize("seed", range(4))
def test_unrelated_sound_is_known(measurer: SyncMeasurer, seed: int) -> None:
    face = talking_face(mandarin(LENGTH_S), seed=seed)
    for sound in (noise(LENGTH_S, seed=seed), english(LENGTH_S)):
        assert measurer.measure(clip(face, sound))["sync_conf"] < 2.6


def test_a_still_face_and_silence_agree_with_nothing(measurer: SyncMeasurer) -> None:
    still = np.repeat(talking_face(mandarin(LENGTH_S))[:1], NUM_FRAMES, axis=0)
    assert measurer.measure(clip(still, mandarin(LENGTH_S)))["sync_conf"] == 0.0
    assert measurer.measure(clip(talking_face(mandarin(LENGTH_S)), silence(LENGTH_S)))["sync_conf"] == 0.0


def test_the_less_is_said_the_less_is_certain(measurer: SyncMeasurer) -> None:
    audio = mandarin(LENGTH_S)
    much, little = (measurer.measure(clip(talking_face(audio), audio, ratio)) for ratio in (1.0, 0.25))
    assert little["sync_conf"] == pytest.approx(much["sync_conf"] / 2)
    assert little["sync_dist"] == much["sync_dist"]


def test_a_small_constant_delay_is_taken_out_with_sound_from_the_file(measurer: SyncMeasurer, tmp_path: Path) -> None:
    audio = mandarin(LENGTH_S + 2)
    late = delayed(audio, 160)
    times_s = np.arange(len(late) / 640) / 25
    path = write_media(tmp_path / "late.mkv", times_s, sound=late, sound_rate_hz=16_000, audio_codec="pcm_s16le")
    start_s = 1.0
    face = talking_face(audio[16_000:])
    row = clip(face, late[16_000 : 16_000 + NUM_FRAMES * 640])
    row |= {"media_path": str(path), "start_s": start_s, "end_s": start_s + LENGTH_S}
    out = measurer(row)
    assert out["av_shift_ms"] == out["av_offset_ms"] == pytest.approx(160, abs=60)
    expected = decode_audio(path, start_s + out["av_shift_ms"] / 1000, start_s + LENGTH_S + out["av_shift_ms"] / 1000)
    np.testing.assert_array_equal(out["audio_pcm16"], pcm16(expected))
    again = measurer.measure(out)
    assert abs(again["av_offset_ms"]) <= 10


@pytest.mark.parametrize(("delay_ms", "why"), [(20, "too small"), (400, "too large")])
def test_other_delays_are_left_alone(measurer: SyncMeasurer, delay_ms: int, why: str) -> None:
    audio = mandarin(LENGTH_S)
    row = clip(talking_face(audio), delayed(audio, delay_ms))
    out = measurer(row)
    assert out["av_shift_ms"] == 0.0, why
    np.testing.assert_array_equal(out["audio_pcm16"], row["audio_pcm16"])


def test_agreement_peaks_at_the_delay_of_the_sound() -> None:
    sound = gaussian_filter1d(np.random.default_rng(0).normal(size=(800, 2)), 6, axis=0)
    lips = sound[2::4][:180]
    curve = agreement(lips, np.concatenate([np.zeros((7, 2)), sound]))
    assert curve.argmax() - MAX_STEPS == 7
    assert curve.max() == pytest.approx(1.0)
    assert not agreement(np.zeros((180, 2)), sound).any()


def test_head_and_scale_do_not_change_what_is_seen() -> None:
    points = talking_face(mandarin(LENGTH_S)).reshape(-1, 478, 3).astype(np.float64)
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    np.testing.assert_allclose(lip_features(3 * points @ turn.T + 50), lip_features(points), atol=1e-9)


def test_the_embedded_expert_is_small_and_says_how_it_was_made(tmp_path: Path) -> None:
    expert = LipSound.load()
    assert expert.made["num_people"] >= 10 and expert.lips.nbytes + expert.sound.nbytes < 2_000_000
    expert.save(tmp_path / "copy.npz")
    assert LipSound.load(tmp_path / "copy.npz").name == expert.name
    assert replace(expert, lips=-expert.lips).name != expert.name


def test_the_best_delay_is_searched_only_within_reach() -> None:
    delays_ms = np.arange(-1000.0, 1001, 10)
    curve = np.exp(-(((delays_ms - 100) / 50.0) ** 2)) + 2 * np.exp(-(((delays_ms - 900) / 50.0) ** 2))
    assert delays_ms[best_delay(curve, delays_ms, 600)] == 100
