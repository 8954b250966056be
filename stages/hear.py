"""Speech, language and quality of the whole file's sound, before any frame is decoded.

Voice activity is measured over everything, a piece at a time, so that hours fit into memory. Language and quality are
expensive, so they are measured on a few windows, spread over the speech. In a source with spans only these count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stages.audio.dnsmos import WINDOW_S as QUALITY_WINDOW_S
from stages.audio.dnsmos import Dnsmos
from stages.audio.vad import SileroVad, VadConfig, join_spans, webrtc_voiced_ratio
from stages.audio.whisper_language import WhisperLanguage, best_guess
from stages.core.ranges import one_of, ranged
from stages.core.reasons import Dropped, DropReason
from stages.core.records import AUDIO_RATE_HZ, Row
from stages.core.spans import Span, spans_within
from stages.core.weights import WeightStore
from stages.media import decode_audio


@dataclass(frozen=True)
class HearConfig:
    """Settings of the measurements of a file's sound."""

    piece_s: float = ranged(300.0, above=0)  # Length of sound that is decoded at once. 300 s take 19 MB
    # Length of a window whose language and quality are measured. Whisper reads no more than 30 s
    look_s: float = ranged(30.0, above=0)
    # Largest number of windows measured in a file. A window costs 2 CPU-s for language, 1 for quality
    max_looks: int = ranged(4, low=1)
    min_look_speech_s: float = 1.0  # Least speech in a window that is measured. With less, its language is a guess
    webrtc_aggressiveness: int = ranged(2, high=3)  # Strictness of WebRTC's voicing: 0 calls most sound voiced, 3 least
    device: str = one_of("auto", "cpu", "cuda")  # Device of the language model; auto takes CUDA where there is a GPU
    num_threads: int = 1  # CPU threads of each model
    vad: VadConfig = field(default_factory=VadConfig)


def choose_looks(spans: np.ndarray, listened: list[Span], config: HearConfig) -> list[tuple[float, float]]:
    """Windows to measure, evenly spread over those with speech.

    Args:
        spans: (S, 2) speech in seconds, sorted.
        listened: the parts of the file that count.
    Returns:
        At most `max_looks` windows [start_s, end_s) with at least `min_look_speech_s` of speech in each. If no window
        has that much, the one with the most speech; none without speech.
    """
    windows = np.array([window for start_s, end_s, _ in listened for window in _pieces(start_s, end_s, config.look_s)])
    overlap_s = np.minimum(windows[:, None, 1], spans[None, :, 1]) - np.maximum(windows[:, None, 0], spans[None, :, 0])
    speech_s = np.maximum(overlap_s, 0.0).sum(axis=1)
    wanted = np.flatnonzero(speech_s >= config.min_look_speech_s)
    if len(wanted) == 0:
        wanted = np.flatnonzero(speech_s == speech_s.max(initial=0.0))[:1] if speech_s.any() else wanted
    spread = np.unique(np.round(np.linspace(0, len(wanted) - 1, min(config.max_looks, len(wanted)))).astype(int))
    return [(float(start), float(end)) for start, end in windows[wanted[spread]]]


def _pieces(start_s: float, end_s: float, piece_s: float) -> list[tuple[float, float]]:
    """[start_s, end_s) cut into pieces, the last one shorter; at least one."""
    starts_s = np.arange(start_s, max(end_s, start_s + 1e-9), piece_s)
    return [(float(start), float(min(start + piece_s, end_s))) for start in starts_s]


def clip_spans(spans: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    """The parts of spans inside [start_s, end_s), relative to `start_s`."""
    clipped = np.clip(spans, start_s, end_s) - start_s
    return clipped[clipped[:, 1] > clipped[:, 0]]


class AudioGate:
    """Adds the `source_*` measurements of sound.

    Raises, when called:
        Dropped: NO_AUDIO where the file has no audio stream, or an empty one.
    """

    def __init__(self, config: HearConfig, weights: WeightStore) -> None:
        self.config = config
        self._vad = SileroVad(config.vad, config.num_threads)
        self._quality = Dnsmos(weights, config.num_threads)
        self._language = WhisperLanguage(weights, config.device, config.num_threads)

    def __call__(self, row: Row) -> Row:
        if row.get("audio_codec") is None:
            raise Dropped(DropReason.NO_AUDIO, "the file has no audio stream")
        path, listened = Path(row["media_path"]), spans_within(row, float(row["duration_s"]))
        duration_s = sum(end_s - start_s for start_s, end_s, _ in listened)
        spans, voiced_s = [], 0.0
        for start_s, audio in self._heard(path, listened):
            spans.append(self._vad(audio) + start_s)
            voiced_s += webrtc_voiced_ratio(audio, self.config.webrtc_aggressiveness) * len(audio) / AUDIO_RATE_HZ
        speech = np.concatenate(spans)
        speech_s = float((speech[:, 1] - speech[:, 0]).sum())
        found: Row = {
            "source_speech_s": speech_s,
            "source_speech_ratio": min(1.0, speech_s / duration_s),
            "source_webrtc_ratio": min(1.0, voiced_s / duration_s),
        }
        return {**row, **found, **self._look(path, speech, listened)}

    def _heard(self, path: Path, listened: list[Span]) -> Iterator[tuple[float, np.ndarray]]:
        for span_start_s, span_end_s, _ in listened:
            for start_s, end_s in _pieces(span_start_s, span_end_s, self.config.piece_s):
                yield start_s, decode_audio(path, start_s, end_s)

    def _look(self, path: Path, speech: np.ndarray, listened: list[Span]) -> Row:
        """Language over all looks together, and the best of each quality: a file is as good as its best clip."""
        languages, scores = [], []
        for start_s, end_s in choose_looks(speech, listened, self.config):
            audio = decode_audio(path, start_s, end_s)
            inside = clip_spans(speech, start_s, end_s)
            languages.append(self._language(join_spans(audio, inside)))
            scores.append(self._quality.score_windows(audio, QUALITY_WINDOW_S))
        if not languages:
            return {}
        guess = best_guess(languages)
        sig, bak, ovr = np.concatenate(scores).max(axis=0)
        return {
            "source_language": guess.language,
            "source_language_prob": guess.prob,
            "source_language_margin": guess.margin,
            "source_dnsmos_sig": float(sig),
            "source_dnsmos_bak": float(bak),
            "source_dnsmos_ovr": float(ovr),
        }
