"""Where there is speech: Silero VAD, and WebRTC's voicing as a second, cheaper and more credulous opinion."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.audio.pcm16 import to_pcm16
from stages.core.ranges import ranged
from stages.core.records import AUDIO_RATE_HZ

FRAME_SAMPLES = 512
FRAME_S = FRAME_SAMPLES / AUDIO_RATE_HZ
_CONTEXT_SAMPLES = 64
_STATE_SHAPE = (1, 1, 128)


@dataclass(frozen=True)
class VadConfig:
    """When a run of speech begins and ends. The values are Silero's own defaults."""

    enter_prob: float = 0.5  # speech begins at this probability
    leave_prob: float = ranged(0.35, high=1, at_most="enter_prob")  # and ends below this one
    min_speech_s: float = 0.25  # shorter runs are clicks
    min_pause_s: float = 0.1  # shorter pauses are part of the word
    pad_s: float = 0.03  # kept on both sides, for onsets that rise slowly
    block_frames: int = ranged(512, low=1)  # frames a call: 16 s; speed and memory only


def speech_spans(probs: np.ndarray, config: VadConfig) -> np.ndarray:
    """Runs of speech from frame probabilities, by hysteresis.

    Args:
        probs: (T,) probability of speech per frame of 32 ms.
    Returns:
        Spans [start, end) in seconds, float64 (S, 2), sorted and disjoint, within [0, T * 32 ms).
    """
    spans: list[list[float]] = []
    inside = False
    for idx, prob in enumerate(probs):
        if not inside and prob >= config.enter_prob:
            inside = True
            if spans and idx * FRAME_S - spans[-1][1] < config.min_pause_s:
                continue
            spans.append([idx * FRAME_S, 0.0])
        elif inside and prob < config.leave_prob:
            inside = False
            spans[-1][1] = idx * FRAME_S
    total_s = len(probs) * FRAME_S
    if inside:
        spans[-1][1] = total_s
    long_enough = [s for s in spans if s[1] - s[0] >= config.min_speech_s]
    padded: list[list[float]] = []
    for start_s, end_s in long_enough:
        start_s, end_s = max(0.0, start_s - config.pad_s), min(total_s, end_s + config.pad_s)  # noqa: PLW2901
        if padded and start_s <= padded[-1][1]:
            padded[-1][1] = end_s
        else:
            padded.append([start_s, end_s])
    return np.array(padded, dtype=np.float64).reshape(-1, 2)


def join_spans(audio: np.ndarray, spans: np.ndarray, max_s: float | None = None) -> np.ndarray:
    """The samples inside the spans, one after the other, at most `max_s` of them."""
    edges = np.clip(np.round(np.asarray(spans).reshape(-1, 2) * AUDIO_RATE_HZ).astype(int), 0, len(audio))
    parts = [audio[start:end] for start, end in edges]
    joined = np.concatenate(parts) if parts else audio[:0]
    return joined if max_s is None else joined[: round(max_s * AUDIO_RATE_HZ)]


def webrtc_voiced_ratio(audio: np.ndarray, aggressiveness: int = 2) -> float:
    """Share of 30 ms frames that WebRTC's VAD calls voiced.

    The detector keeps state, so every call makes a new one. It takes loud noise for speech: never use it alone.
    """
    import webrtcvad

    detector = webrtcvad.Vad(aggressiveness)
    frame = AUDIO_RATE_HZ * 30 // 1000
    pcm = to_pcm16(audio)
    num_frames = len(pcm) // frame
    if num_frames == 0:
        return 0.0
    voiced = sum(
        detector.is_speech(pcm[i * frame : (i + 1) * frame].tobytes(), AUDIO_RATE_HZ) for i in range(num_frames)
    )
    return voiced / num_frames


class SileroVad:
    """Silero VAD's sequence network in ONNX Runtime: one call per 16 s, without importing torch.

    Raises:
        ModuleNotFoundError: the `silero_vad` package, which carries the network, is not installed.
    """

    def __init__(self, config: VadConfig, num_threads: int = 1) -> None:
        from stages.audio.onnx import cpu_session

        spec = importlib.util.find_spec("silero_vad")
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("silero_vad is not installed; it carries the VAD network")
        network = Path(spec.origin).parent / "data" / "silero_vad_16k_sequence.onnx"
        self.config = config
        self._session = cpu_session(network, num_threads)

    def probabilities(self, audio: np.ndarray) -> np.ndarray:
        """(ceil(N / 512),) probability of speech per frame of 32 ms."""
        num_frames = -(-len(audio) // FRAME_SAMPLES)
        if num_frames == 0:
            return np.zeros(0, np.float32)
        padded = np.zeros(_CONTEXT_SAMPLES + num_frames * FRAME_SAMPLES, np.float32)
        padded[_CONTEXT_SAMPLES : _CONTEXT_SAMPLES + len(audio)] = audio
        windows = np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT_SAMPLES + FRAME_SAMPLES)[::FRAME_SAMPLES]
        hidden, cell = np.zeros(_STATE_SHAPE, np.float32), np.zeros(_STATE_SHAPE, np.float32)
        probs = []
        for first in range(0, num_frames, self.config.block_frames):
            block = np.ascontiguousarray(windows[first : first + self.config.block_frames])
            outputs = self._session.run(["speech_probs", "hn", "cn"], {"input": block, "h": hidden, "c": cell})
            values, hidden, cell = map(np.asarray, outputs)
            probs.append(values.reshape(-1))
        return np.concatenate(probs)

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """Spans of speech [start_s, end_s), float64 (S, 2), none beyond the audio's end."""
        spans = speech_spans(self.probabilities(audio), self.config)
        return np.minimum(spans, len(audio) / AUDIO_RATE_HZ)
