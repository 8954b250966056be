"""The same sound or motion under two names is found, whatever was done to the file; unlike ones are not."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from pipeline.dataset import dedup
from pipeline.dataset.dedup import MAX_BUCKET, choose_copies, find_overlaps, group_overlaps, share_a_word
from pipeline.rules.config import FinalizeConfig
from stages.audio.fingerprint import fingerprint
from stages.face.motion_print import SIDE_BITS

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


def _clip(name: str, sound: np.ndarray, face_seed: int = 0, face_px: float = 200.0, **more: object) -> dict:
    face = np.random.default_rng(face_seed).normal(size=512)
    return {
        "row_id": name,
        "audio_fingerprint": fingerprint(sound),
        "face_embedding": (face / np.linalg.norm(face)).astype(np.float16),
        "num_frames": len(sound) * 25 // RATE,
        "face_px": face_px,
        **more,
    }


def _copies(rows: list[dict], **more: float) -> dict[int, int]:
    config = replace(FinalizeConfig(), **more)
    return {idx: copy.of for idx, copy in choose_copies(rows, find_overlaps(rows, config), config).items()}


def test_a_noisier_and_quieter_copy_is_found_and_the_larger_face_stays():
    sound = _voice(1)
    copy = 0.5 * sound + np.random.default_rng(0).normal(0, 0.01, len(sound)).astype(np.float32)
    rows = [_clip("a", copy, face_px=120), _clip("b", sound, face_px=240), _clip("c", _voice(2))]
    assert _copies(rows) == {0: 1}


def test_the_copy_with_more_detail_stays_whatever_its_size():
    sound = _voice(1)
    rows = [_clip("a", sound, crop_bytes=9e3), _clip("b", sound, face_px=300.0, crop_bytes=8e3)]
    assert _copies(rows) == {1: 0}


def test_overlaps_are_told_in_the_time_of_each_clip():
    sound = _voice(3, 7.0)
    rows = [_clip("a", sound[: 6 * RATE]), _clip("b", sound[RATE : 7 * RATE])]
    (overlap,) = find_overlaps(rows, FinalizeConfig())
    assert (overlap.a, overlap.b, overlap.what) == (0, 1, "sound")
    assert overlap[2:5] == pytest.approx((1.0, 0.0, 5.0), abs=0.1)
    assert group_overlaps([overlap]) == [{0, 1}]


def test_an_extract_goes_and_the_whole_stays():
    sound = _voice(4, 8.0)
    rows = [_clip("a", sound[2 * RATE : 6 * RATE]), _clip("b", sound)]
    assert _copies(rows) == {0: 1}


def test_a_small_overlap_is_found_but_costs_no_clip_unless_asked():
    sound = _voice(4, 14.0)
    rows = [_clip("a", sound[: 8 * RATE]), _clip("b", sound[5 * RATE : 13 * RATE])]
    assert len(find_overlaps(rows, FinalizeConfig())) == 1
    assert _copies(rows) == {}
    assert _copies(rows, duplicate_min_overlap=0.3) == {0: 1}


def test_a_video_cut_at_other_places_costs_no_second_of_the_first():
    """Each of b's clips overlaps two of a's by half: joined to groups, all would be one, and one clip would stay."""
    sound = _voice(5, 28.0)
    first = [_clip(f"a{k}", sound[k * 7 * RATE : (k + 1) * 7 * RATE], face_px=300.0) for k in range(4)]
    second = [_clip(f"b{k}", sound[int((k + 0.5) * 7 * RATE) : int((k + 1.5) * 7 * RATE)]) for k in range(3)]
    copies = _copies([*first, *second])
    assert copies.keys() == {4, 5, 6}
    assert all(of < 4 for of in copies.values())


def test_one_sound_on_two_faces_is_no_duplicate():
    sound = _voice(5)
    assert _copies([_clip("a", sound, 0), _clip("b", sound, 1)]) == {}


def _motion(seed: int, num_words: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, num_words, dtype=np.uint32)


@pytest.mark.parametrize("mirrors", [0, SIDE_BITS])
def test_pictures_with_other_sound_are_found_also_in_a_mirror(mirrors):
    moved, flips = _motion(1), np.packbits(np.random.default_rng(9).random((80, 32)) < 0.1, axis=1).view(np.uint32)
    rows = [
        _clip("a", _voice(1), motion_fingerprint=moved),
        _clip("b", _voice(2), motion_fingerprint=moved[10:] ^ flips[10:, 0] ^ mirrors, face_px=100.0),
        _clip("c", _voice(3), motion_fingerprint=_motion(2)),
    ]
    (overlap,) = find_overlaps(rows, FinalizeConfig())
    assert (overlap.a, overlap.b, overlap.what) == (0, 1, "pictures")
    assert overlap.start_a_s == pytest.approx(0.8) and overlap.start_b_s == 0
    assert _copies(rows) == {1: 0}


def test_a_copy_of_sound_and_pictures_says_so():
    rows = [_clip(name, _voice(1), motion_fingerprint=_motion(1)) for name in "ab"]
    (copy,) = choose_copies(rows, find_overlaps(rows, FinalizeConfig()), FinalizeConfig()).values()
    assert copy.what == "sound and pictures" and copy.share == 1.0


@pytest.mark.parametrize("num_clips", [0, 1])
def test_few_clips(num_clips):
    assert _copies([_clip("a", _voice(6))] * num_clips) == {}


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
