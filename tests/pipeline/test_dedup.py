"""The same sound under two names is found, whatever was done to the file; unlike sounds and unlike faces are not."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from pipeline import dedup
from pipeline.config import FinalizeConfig
from pipeline.dedup import MAX_BUCKET, find_duplicates, share_a_word
from stages.audio.fingerprint import fingerprint

RATE = 16_000


def _voice(seed: int, seconds: float = 6.0) -> np.ndarray:
    """A drifting harmonic sound with pauses: as rich as speech, different for each seed."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * RATE)) / RATE
    knots = np.arange(0, seconds + 0.1, 0.1)
    pitch_hz = np.interp(time_s, knots, rng.uniform(90, 260, len(knots)))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE
    sound = sum(np.interp(time_s, knots, rng.uniform(0, 1, len(knots))) * np.sin(k * phase) for k in range(1, 16))
    return (0.1 * sound).astype(np.float32)


def _clip(name: str, sound: np.ndarray, face_seed: int = 0, face_px: float = 200.0) -> dict:
    face = np.random.default_rng(face_seed).normal(size=512)
    return {
        "row_id": name,
        "audio_fingerprint": fingerprint(sound),
        "face_embedding": (face / np.linalg.norm(face)).astype(np.float16),
        "num_frames": len(sound) * 25 // RATE,
        "face_px": face_px,
    }


def test_a_noisier_and_quieter_copy_is_found_and_the_larger_face_stays():
    sound = _voice(1)
    copy = 0.5 * sound + np.random.default_rng(0).normal(0, 0.01, len(sound)).astype(np.float32)
    rows = [_clip("a", copy, face_px=120), _clip("b", sound, face_px=240), _clip("c", _voice(2))]
    assert find_duplicates(rows, FinalizeConfig()) == {0: 1}


def test_a_cut_shifted_a_little_is_found():
    sound = _voice(3, 7.0)
    rows = [_clip("a", sound[: 6 * RATE]), _clip("b", sound[RATE // 2 : 6 * RATE + RATE // 2])]
    assert len(find_duplicates(rows, FinalizeConfig())) == 1


def test_a_short_extract_stays():
    sound = _voice(4, 8.0)
    rows = [_clip("a", sound), _clip("b", sound[: 4 * RATE])]
    assert find_duplicates(rows, FinalizeConfig()) == {}


def test_one_sound_on_two_faces_is_no_duplicate():
    sound = _voice(5)
    assert find_duplicates([_clip("a", sound, 0), _clip("b", sound, 1)], FinalizeConfig()) == {}


@pytest.mark.parametrize("num_clips", [0, 1])
def test_few_clips(num_clips):
    assert find_duplicates([_clip("a", _voice(6))] * num_clips, FinalizeConfig()) == {}


@pytest.mark.parametrize("slice_words", [20, 200, 200_000])
@pytest.mark.parametrize("seed", range(3))
def test_pairs_share_a_neighbour_that_is_not_too_common_however_the_words_are_sliced(monkeypatch, slice_words, seed):
    monkeypatch.setattr(dedup, "SLICE_WORDS", slice_words)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 2**32, (MAX_BUCKET + 30, 12), dtype=np.uint32)
    drawn[:, :3] = rng.choice(drawn[:8, 5], (len(drawn), 3)) ^ np.uint32(1) << rng.integers(
        0, 32, (len(drawn), 3)
    ).astype(np.uint32)
    drawn[: MAX_BUCKET + 1, 4] = 2**32 - 1  # in more clips than may share a word, and in all slices' reach
    clips = [row[: rng.integers(0, 13)] for row in drawn]
    holders: dict[int, set[int]] = {}
    for idx, words in enumerate(clips):
        for word in words:
            for near in (int(word), *(int(word) ^ 1 << bit for bit in range(32))):
                holders.setdefault(near, set()).add(idx)
    expected = {p for held in holders.values() if len(held) <= MAX_BUCKET for p in combinations(sorted(held), 2)}
    found = {tuple(pair) for pairs in share_a_word(clips) for pair in pairs.tolist()}
    assert found == expected and len(found) > 100
