"""A clip's voice is held against its face's other clips, and against the other faces of its source."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.dataset.voices import measure_voices, voices_elsewhere
from pipeline.rules.config import FinalizeConfig

CONFIG = FinalizeConfig()


def _unit(size: int, seed: int, noise: float, clip: int) -> np.ndarray:
    own = np.random.default_rng(seed).normal(size=size)
    vector = own + noise * np.random.default_rng(1000 * seed + clip).normal(size=size)
    return (vector / np.linalg.norm(vector)).astype(np.float16)


def _clip(face: int, voice: int | None, number: int, source: str = "s", seconds: float = 6.0) -> dict:
    """Two clips of one voice have a cosine of about .8, of different ones about 0."""
    row = {"source_id": source, "num_frames": round(25 * seconds), "face_embedding": _unit(512, face, 0.3, number)}
    return row if voice is None else row | {"voice_embedding": _unit(192, voice, 0.5, number)}


def _clips(*pairs: tuple[int, int | None], source: str = "s") -> tuple[list[dict], list[str]]:
    rows = [_clip(face, voice, number, source) for number, (face, voice) in enumerate(pairs)]
    return rows, [f"id-{face}" for face, _ in pairs]


def test_a_voice_unlike_that_of_the_faces_other_clips_stands_out():
    rows, people = _clips((1, 1), (1, 1), (1, 2), (1, 1), (2, 3), (2, 3), (2, 3))
    sims = measure_voices(rows, people, CONFIG)
    assert sims[2] < 0.2
    assert (np.delete(sims, 2) > 0.6).all()


def test_what_is_measured_leaves_the_clip_itself_out():
    rows, people = _clips((1, 1), (1, 1), (1, 1))
    voices = np.stack([row["voice_embedding"] for row in rows]).astype(np.float32)
    expected = [np.delete(voices @ voices[k], k).mean() for k in range(3)]
    np.testing.assert_allclose(measure_voices(rows, people, CONFIG), expected, atol=1e-3)


@pytest.mark.parametrize(
    "pairs",
    [
        ((1, 1), (1, 2)),  # which is the wrong one?
        ((1, 1), (1, 1), (1, 2), (1, 2)),  # likewise
        ((1, 1), (1, None), (1, 2)),
        (),
    ],
)
def test_too_few_clips_say_nothing(pairs):
    assert np.isnan(measure_voices(*_clips(*pairs), CONFIG)).all()


def test_length_counts_and_not_the_number_of_clips():
    rows, people = _clips((1, 1), (1, 1), (1, 2), (1, 2), (1, 2))
    rows[0]["num_frames"] = rows[1]["num_frames"] = 1000
    sims = measure_voices(rows, people, CONFIG)
    assert (sims[:2] > 0.6).all() and (sims[2:] < 0.2).all()


def test_many_clips_of_one_face_are_judged_by_some(monkeypatch):
    monkeypatch.setattr("pipeline.dataset.voices.MAX_COMPARED", 5)
    rows, people = _clips(*((1, 2 if number == 7 else 1) for number in range(30)))
    assert np.flatnonzero(measure_voices(rows, people, CONFIG) < CONFIG.min_voice_sim).tolist() == [7]


def test_a_voice_over_another_face_goes_and_stays_where_it_is_mostly_heard():
    rows, people = _clips((1, 1), (1, 1), (2, 1), (2, 2))
    assert voices_elsewhere(rows, people, CONFIG) == {2: "id-1"}


def test_a_narrator_over_many_faces_is_nobodys():
    rows, people = _clips((1, 9), (2, 9), (3, 9), (4, 4))
    assert voices_elsewhere(rows, people, CONFIG) == {0: "", 1: "", 2: ""}


def test_one_voice_in_two_sources_or_on_one_face_under_two_names_is_left_alone():
    rows = [_clip(1, 1, 0, "a"), _clip(2, 1, 1, "b")]
    assert voices_elsewhere(rows, ["id-1", "id-2"], CONFIG) == {}
    rows, _ = _clips((1, 1), (1, 1), (1, 1))
    assert voices_elsewhere(rows, ["id-1", "id-1", "id-other"], CONFIG) == {}
