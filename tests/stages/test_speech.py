from __future__ import annotations

import numpy as np
import pytest

from stages.audio.diarize import DiarizeConfig
from stages.core.reasons import Dropped, DropReason
from stages.core.records import STAGE_COLUMNS
from stages.core.rows import rows_from_table, table_from_rows
from stages.core.weights import WeightStore
from stages.speech import SpeechAnalyser, SpeechConfig, crest_db, level_difference_db
from tests.spoken import english, mandarin, noise, pcm16, silence

CONFIG = SpeechConfig(device="cpu")


@pytest.fixture(scope="module")
def analyse(weights: WeightStore) -> SpeechAnalyser:
    return SpeechAnalyser(CONFIG, weights)


def test_level_difference_is_that_of_speech_and_pause() -> None:
    audio = np.concatenate([noise(1.0, 0.1), noise(1.0, 0.01)])
    assert level_difference_db(audio, np.array([[0.0, 1.0]]), CONFIG) == pytest.approx(20.0, abs=0.5)


def test_without_a_pause_the_quietest_moments_are_the_background() -> None:
    audio = np.concatenate([noise(1.7, 0.1), noise(0.3, 0.01)])
    assert level_difference_db(audio, np.array([[0.0, 2.0]]), CONFIG) == pytest.approx(19.3, abs=1.0)


def test_a_word_that_the_clip_cuts_off_is_no_pause() -> None:
    audio = np.concatenate([noise(2.0, 0.1), noise(0.4, 0.01), noise(0.2, 0.1)])
    assert level_difference_db(audio, np.array([[0.0, 2.0]]), CONFIG) == pytest.approx(20.0, abs=1.0)


def test_level_difference_is_bounded() -> None:
    audio = np.concatenate([noise(1.0, 0.1), silence(1.0)])
    assert level_difference_db(audio, np.array([[0.0, 1.0]]), CONFIG) == 60.0
    assert level_difference_db(silence(2.0), np.array([[0.0, 1.0]]), CONFIG) == 0.0
    assert level_difference_db(noise(2.0), np.array([[0.0, 1.0]]), CONFIG) < 1.0


def test_crest_is_that_of_the_wave() -> None:
    sine = np.sin(np.arange(32_000) / 5).astype(np.float32)
    assert crest_db(sine) == pytest.approx(3.0, abs=0.1)
    assert crest_db(np.sign(sine)) == pytest.approx(0.0, abs=0.1)
    assert crest_db(noise(4.0)) == pytest.approx(11.8, abs=0.3)
    assert crest_db(silence(1.0)) == 0.0


def test_speech_that_is_clipped_has_no_peaks(analyse: SpeechAnalyser) -> None:
    loud = np.clip(mandarin() / np.abs(mandarin()).max() * 16, -1, 1)
    assert analyse({"audio_pcm16": pcm16(0.8 * loud)})["crest_db"] < 7.0


def test_a_clean_mandarin_clip(analyse: SpeechAnalyser) -> None:
    row = {"source_id": "a", "audio_pcm16": pcm16(mandarin())}
    out = analyse(row)
    assert out.keys() - row.keys() == set(STAGE_COLUMNS["speech"].names)
    assert out["language"] == "zh"
    assert out["num_speakers"] == 1
    assert out["second_speaker_ratio"] == 0.0
    assert out["speech_ratio"] > 0.5
    assert out["dnsmos_bak"] > 3.0
    assert out["snr_db"] > 14.0
    assert out["crest_db"] > 10.0
    [back] = rows_from_table(table_from_rows([out]))
    assert np.linalg.norm(back["voice_embedding"].astype(np.float32)) == pytest.approx(1.0, abs=1e-2)


def test_a_second_voice_is_counted(analyse: SpeechAnalyser) -> None:
    both = np.concatenate([mandarin()[:80_000], english()[:60_000]])
    out = analyse({"audio_pcm16": pcm16(both)})
    assert out["num_speakers"] == 2
    assert out["second_speaker_ratio"] > 0.2
    alone = analyse({"audio_pcm16": pcm16(mandarin()[:80_000])})["voice_embedding"].astype(np.float32)
    assert alone @ out["voice_embedding"].astype(np.float32) > 0.8


def test_when_two_voices_are_one_is_a_setting(weights: WeightStore) -> None:
    both = np.concatenate([mandarin()[:80_000], english()[:60_000]])
    config = SpeechConfig(device="cpu", diarize=DiarizeConfig(min_same_voice_sim=-1.0))
    assert SpeechAnalyser(config, weights)({"audio_pcm16": pcm16(both)})["num_speakers"] == 1


def test_noise_lowers_what_noise_should_lower(analyse: SpeechAnalyser) -> None:
    out = analyse({"audio_pcm16": pcm16(mandarin() + noise(8.0, float(mandarin().std()) / 2))})
    assert out["dnsmos_bak"] < 2.2
    assert out["snr_db"] < 12.0


def test_a_clip_without_speech_is_dropped(analyse: SpeechAnalyser) -> None:
    with pytest.raises(Dropped, match=r"no speech in 4\.0 s") as dropped:
        analyse({"audio_pcm16": pcm16(noise(4.0))})
    assert dropped.value.reason is DropReason.SPEECH
