"""A clip's sound: how much speech, how many voices, which language, how clean."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stages.audio.diarize import DiarizeConfig, Diarizer, Turns, samples_of
from stages.audio.pcm16 import from_pcm16
from stages.audio.vad import VadConfig, join_spans
from stages.core.ranges import one_of, ranged
from stages.core.reasons import Dropped, DropReason
from stages.core.records import AUDIO_RATE_HZ, Row
from stages.core.weights import WeightStore

LEVEL_FRAME_S = 0.02
PEAK_PERCENTILE = 99.99
"""Of speech: single clicks stand above it, and a codec's ripple on a clipped wave hardly moves it."""


@dataclass(frozen=True)
class SpeechConfig:
    """How a clip's sound is measured; the parts keep their own configs."""

    # between DNSMOS windows of 9 s, as published; a clip, repeated to fill one, has one
    quality_hop_s: float = ranged(1.0, above=0)
    min_pause_s: float = 0.3  # with less between the speech, its quietest moments stand for the background
    quietest_share: float = ranged(0.1, above=0, high=1)  # of the frames, where there is no pause
    max_snr_db: float = 60.0  # digital silence is no better than a quiet room
    min_voice_s: float = 0.5  # of the main speaker alone; with less, the voice is taken from all speech
    device: str = one_of("auto", "cpu", "cuda")  # of language, segmentation and voice: cpu, cuda or auto
    num_threads: int = 1  # of the ONNX and CTranslate2 models
    vad: VadConfig = field(default_factory=VadConfig)
    diarize: DiarizeConfig = field(default_factory=DiarizeConfig)


def level_difference_db(audio: np.ndarray, spans: np.ndarray, config: SpeechConfig) -> float:
    """Level of the speech over the level between it.

    The background is the median over the pauses: breaths and word ends that the VAD left there are louder than it. What
    the clip's ends cut off from a word is too short for the VAD: so close to them there is no pause.

    Args:
        audio: float32 (N,) mono 16 kHz.
        spans: (S, 2) speech in seconds, at least one.
    Returns:
        dB, in [0, max_snr_db]: 0 where the pauses are as loud as the speech.
    """
    frame = round(LEVEL_FRAME_S * AUDIO_RATE_HZ)
    num_frames = max(1, len(audio) // frame)
    power = np.square(audio[: num_frames * frame].astype(np.float64)).reshape(num_frames, -1).mean(axis=1)
    middles_s = (np.arange(num_frames) + 0.5) * LEVEL_FRAME_S
    inside = ((middles_s[:, None] >= spans[:, 0]) & (middles_s[:, None] < spans[:, 1])).any(axis=1)
    speech = power[inside].mean() if inside.any() else power.mean()
    edge_s = config.vad.min_speech_s
    whole = (middles_s > edge_s) & (middles_s < len(audio) / AUDIO_RATE_HZ - edge_s)
    pause = power[~inside & whole]
    if len(pause) * LEVEL_FRAME_S < config.min_pause_s:
        pause = np.sort(power)[: max(1, round(config.quietest_share * num_frames))]
    if speech <= 0.0:
        return 0.0
    floor = speech * 10 ** (-config.max_snr_db / 10)
    return float(np.clip(10 * np.log10(speech / max(np.median(pause), floor)), 0.0, config.max_snr_db))


def crest_db(speech: np.ndarray) -> float:
    """How far the peaks of speech stand above its level: little where it was recorded too loud, and its peaks cut off.

    Args:
        speech: float32 (N,) without the pauses.
    Returns:
        dB: 3 for a sine, 12 for noise; 0 of silence.
    """
    power = np.square(speech.astype(np.float64))
    level = power.mean()
    return float(10 * np.log10(np.percentile(power, PEAK_PERCENTILE) / level)) if level > 0 else 0.0


class SpeechAnalyser:
    """Adds the measurements of the clip's sound.

    Raises, when called:
        Dropped: SPEECH where the VAD finds none at all, so that there is nothing to measure.
    """

    def __init__(self, config: SpeechConfig, weights: WeightStore) -> None:
        from stages.audio.campplus import VoiceEmbedder
        from stages.audio.dnsmos import Dnsmos
        from stages.audio.vad import SileroVad
        from stages.audio.whisper_language import WhisperLanguage

        self.config = config
        self._vad = SileroVad(config.vad, config.num_threads)
        self._quality = Dnsmos(weights, config.num_threads)
        self._language = WhisperLanguage(weights, config.device, config.num_threads)
        self._voice = VoiceEmbedder(weights, config.device)
        self._diarize = Diarizer(config.diarize, weights, self._voice, config.device)

    def __call__(self, row: Row) -> Row:
        from stages.audio.whisper_language import best_guess

        audio = from_pcm16(row["audio_pcm16"])
        spans = self._vad(audio)
        if len(spans) == 0:
            raise Dropped(DropReason.SPEECH, f"no speech in {len(audio) / AUDIO_RATE_HZ:.1f} s")
        speech = join_spans(audio, spans)
        turns = self._diarize(audio)
        quality = self._quality(audio, self.config.quality_hop_s)
        language = best_guess([self._language(speech)])
        return {
            **row,
            "speech_ratio": float((spans[:, 1] - spans[:, 0]).sum() * AUDIO_RATE_HZ / len(audio)),
            "num_speakers": turns.num_speakers,
            "second_speaker_ratio": turns.second_speaker_ratio,
            "overlap_ratio": turns.overlap_ratio,
            "language": language.language,
            "language_prob": language.prob,
            "language_margin": language.margin,
            "dnsmos_sig": quality.sig,
            "dnsmos_bak": quality.bak,
            "dnsmos_ovr": quality.ovr,
            "snr_db": level_difference_db(audio, spans, self.config),
            "crest_db": crest_db(speech),
            "voice_embedding": self._main_voice(audio, turns, speech),
        }

    def _main_voice(self, audio: np.ndarray, turns: Turns, speech: np.ndarray) -> np.ndarray:
        """The main speaker's embedding, float16 (192,), from where nobody else speaks, if that is long enough."""
        alone = samples_of(audio, turns.main_alone)
        long_enough = len(alone) >= self.config.min_voice_s * AUDIO_RATE_HZ
        return self._voice(alone if long_enough else speech).astype(np.float16)
