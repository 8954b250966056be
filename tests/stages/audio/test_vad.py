from __future__ import annotations

import numpy as np
import pytest

from stages.audio.vad import FRAME_S, SileroVad, VadConfig, join_spans, speech_spans, webrtc_voiced_ratio
from tests.spoken import mandarin, noise, silence


@pytest.fixture(scope="module")
def vad() -> SileroVad:
    return SileroVad(VadConfig())


def test_hysteresis_keeps_a_dip_and_pads_both_sides() -> None:
    probs = np.array([0.0] * 10 + [0.9] * 10 + [0.4] * 5 + [0.9] * 5 + [0.1] * 10)
    spans = speech_spans(probs, VadConfig())
    np.testing.assert_allclose(spans, [[10 * FRAME_S - 0.03, 30 * FRAME_S + 0.03]])


def test_short_bursts_are_no_speech_and_short_pauses_no_end() -> None:
    config = VadConfig(pad_s=0.0)
    assert speech_spans(np.array([0.0, 0.9, 0.9, 0.0]), config).shape == (0, 2)
    joined = speech_spans(np.array([0.9] * 10 + [0.0] * 3 + [0.9] * 10), config)
    apart = speech_spans(np.array([0.9] * 10 + [0.0] * 6 + [0.9] * 10), config)
    np.testing.assert_allclose(joined, [[0.0, 23 * FRAME_S]])
    np.testing.assert_allclose(apart, [[0.0, 10 * FRAME_S], [16 * FRAME_S, 26 * FRAME_S]])


def test_spans_that_the_padding_joins_become_one() -> None:
    spans = speech_spans(np.array([0.9] * 10 + [0.0] * 6 + [0.9] * 10), VadConfig(pad_s=0.1))
    np.testing.assert_allclose(spans, [[0.0, 26 * FRAME_S]])


def test_join_spans_cuts_the_right_samples() -> None:
    audio = np.arange(16_000, dtype=np.float32)
    joined = join_spans(audio, np.array([[0.0, 0.001], [0.5, 0.501]]))
    np.testing.assert_array_equal(joined, np.r_[audio[:16], audio[8000:8016]])
    assert len(join_spans(audio, np.array([[0.0, 1.0]]), max_s=0.25)) == 4000
    assert len(join_spans(audio, np.zeros((0, 2)))) == 0


def test_speech_is_found_where_it_is(vad: SileroVad) -> None:
    audio = np.concatenate([silence(2.0), mandarin(4.0), silence(2.0)])
    spans = vad(audio)
    assert spans[0, 0] == pytest.approx(2.25, abs=0.2)  # the voice begins after 0.25 s
    assert spans[-1, 1] < 6.3
    assert (spans[:, 1] - spans[:, 0]).sum() > 2.0


def test_noise_and_silence_are_no_speech(vad: SileroVad) -> None:
    assert len(vad(noise(5.0))) == 0
    assert len(vad(silence(5.0))) == 0
    assert len(vad(silence(0.0))) == 0


def test_blocks_do_not_change_the_answer(vad: SileroVad) -> None:
    small = SileroVad(VadConfig(block_frames=7))
    np.testing.assert_allclose(small.probabilities(mandarin(4.0)), vad.probabilities(mandarin(4.0)), atol=1e-4)


def test_webrtc_hears_voice_and_forgets_between_clips() -> None:
    assert webrtc_voiced_ratio(silence(1.0)) == 0.0
    assert webrtc_voiced_ratio(silence(0.01)) == 0.0
    first = webrtc_voiced_ratio(mandarin(4.0))
    webrtc_voiced_ratio(noise(3.0))
    assert first > 0.5
    assert webrtc_voiced_ratio(mandarin(4.0)) == first
