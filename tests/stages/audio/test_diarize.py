from __future__ import annotations

import numpy as np
import pytest

from stages.audio.campplus import VoiceEmbedder
from stages.audio.diarize import (
    DiarizeConfig,
    Diarizer,
    Turns,
    activity_on_grid,
    cluster_voices,
    samples_of,
    two_groups,
)
from stages.core.weights import WeightStore
from tests.spoken import english, mandarin, silence


@pytest.fixture(scope="module")
def voices(weights: WeightStore) -> VoiceEmbedder:
    return VoiceEmbedder(weights, device="cpu")


@pytest.fixture(scope="module")
def diarizer(weights: WeightStore, voices: VoiceEmbedder) -> Diarizer:
    return Diarizer(DiarizeConfig(), weights, voices, device="cpu")


def test_one_voice_is_nearer_to_itself_than_to_another(voices: VoiceEmbedder) -> None:
    first, second, other = voices(mandarin(8.0)[:64_000]), voices(mandarin(8.0)[64_000:]), voices(english(6.0))
    assert first.shape == (192,)
    assert np.linalg.norm(first) == pytest.approx(1.0, abs=1e-5)
    assert first @ second > 0.6
    assert first @ other < 0.5
    with pytest.raises(ValueError, match="too few"):
        voices(silence(0.05))


def test_clusters_join_by_mean_likeness() -> None:
    def at(degrees: float) -> list[float]:
        return [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]

    embeddings = np.array([at(90), at(0), at(10), at(95)])
    assert cluster_voices(embeddings, 0.5).tolist() == [0, 1, 1, 0]
    assert cluster_voices(embeddings[:1], 0.5).tolist() == [0]


def test_activity_moves_to_the_grid() -> None:
    frames = np.array([[True, False], [False, True]])
    grid = activity_on_grid(frames, first_s=0.02, step_s=0.04, num_cells=4)
    np.testing.assert_array_equal(grid, [[True, False], [True, False], [False, True], [False, True]])


def test_shares_of_turns() -> None:
    turns = Turns(np.array([[1, 0], [1, 1], [0, 1], [1, 0], [0, 0]], bool))
    assert turns.num_speakers == 2
    assert turns.second_speaker_ratio == 0.5
    assert turns.overlap_ratio == 0.25
    np.testing.assert_array_equal(turns.main_alone, [True, False, False, True, False])
    nobody = Turns(np.zeros((5, 0), bool))
    assert (nobody.num_speakers, nobody.second_speaker_ratio, nobody.overlap_ratio) == (0, 0.0, 0.0)
    assert not nobody.main_alone.any()


def test_samples_of_takes_marked_cells() -> None:
    audio = np.arange(700, dtype=np.float32)
    np.testing.assert_array_equal(samples_of(audio, np.array([False, True, True])), audio[320:])


def test_one_speaker(diarizer: Diarizer) -> None:
    turns = diarizer(mandarin(8.0))
    assert turns.num_speakers == 1
    assert len(turns.activity) == 400


def test_two_speakers_one_after_the_other(diarizer: Diarizer) -> None:
    turns = diarizer(np.concatenate([mandarin(8.0)[:80_000], english(8.0)[:48_000]]))
    assert turns.num_speakers == 2
    assert 0.2 < turns.second_speaker_ratio < 0.5
    assert turns.activity[:240, 0].mean() > 0.5 > turns.activity[260:, 0].mean()


def test_voices_that_follow_each_other_without_a_pause(diarizer: Diarizer) -> None:
    turn = 24_000
    audio = np.concatenate([(mandarin, english)[n % 2](9.0)[n * turn : (n + 1) * turn] for n in range(6)])
    turns = diarizer(audio)
    assert turns.num_speakers == 2
    assert 0.3 < turns.second_speaker_ratio < 0.6
    middles = [turns.activity[75 * n + 25 : 75 * n + 50].mean(axis=0).argmax() for n in range(6)]
    assert middles[::2] == 3 * [middles[0]] and middles[1::2] == 3 * [1 - middles[0]]


def test_pieces_are_heard_as_if_alone(voices: VoiceEmbedder) -> None:
    speech = mandarin(8.0)
    pieces = voices.pieces(speech, 1.0, 0.5)
    assert pieces.shape == (15, 192)
    np.testing.assert_allclose(pieces[3], voices(speech[24_000:40_000]), atol=1e-4)


def test_two_groups_are_those_that_lie_together() -> None:
    at = np.radians([0, 90, 5, 95, 3])
    found = two_groups(np.stack([np.cos(at), np.sin(at)], axis=1))
    assert found.tolist() in ([False, True, False, True, False], [True, False, True, False, True])


def test_a_voice_is_the_same_across_windows(diarizer: Diarizer) -> None:
    turns = diarizer(np.concatenate([mandarin(8.0), english(8.0), mandarin(8.0)]))
    assert turns.num_speakers == 2
    assert turns.activity[:400, 0].mean() > 0.5
    assert turns.activity[800:, 0].mean() > 0.5
    assert turns.activity[400:800, 0].mean() < 0.2


def test_silence_has_no_speaker(diarizer: Diarizer) -> None:
    assert diarizer(silence(3.0)).num_speakers == 0
