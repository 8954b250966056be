"""The sound as the models hear it: Whisper encoder states at 50 Hz; and fingerprints for finding duplicates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.audio.fingerprint import fingerprint
from stages.audio.pcm16 import from_pcm16
from stages.audio.whisper_mel import LogMel
from stages.audio.whisper_weights import encoder_from_ctranslate2, encoder_from_openai
from stages.core.ranges import one_of, ranged
from stages.core.records import AUDIO_RATE_HZ, Row
from stages.core.weights import WeightStore
from stages.face.motion_print import motion_fingerprint

SAMPLES_PER_STEP = 320
"""One feature step is 20 ms."""

READERS = {
    "base": ("whisper_base", encoder_from_ctranslate2),
    "tiny": ("whisper_tiny", encoder_from_openai),
}


@dataclass(frozen=True)
class FeaturesConfig:
    """Which encoder, and which of its hidden states.

    Whisper base writes single values of up to 575 into some steps from layer 4 on, 200 times the spread of all others,
    at steps that depend on where the window begins. They say nothing of the sound, so they are cut off.
    """

    model: str = one_of("base", "tiny")  # base, or tiny, which the published JoyGen weights were trained with
    layers: tuple[str, ...] = ()  # hidden states kept, 0 is the first layer's input; empty: the last five, as JoyGen
    # heard at once: about a clip's 8 s, so that training and dubbing hear alike
    window_s: float = ranged(10.0, above=0)
    # shared by neighbouring windows of longer audio; each gives half of it
    overlap_s: float = ranged(2.0, at_most="window_s")
    # values are cut off here; None: as they are, which published JoyGen weights want
    max_abs: float | None = ranged(20.0, above=0)
    device: str = one_of("auto", "cpu", "cuda")  # cpu, cuda or auto


def window_starts(num_steps: int, window_steps: int, overlap_steps: int) -> list[int]:
    """First steps of windows that cover [0, num_steps); the last one is moved back to end with the audio."""
    if num_steps <= window_steps:
        return [0]
    hop = window_steps - overlap_steps
    starts = list(range(0, num_steps - window_steps, hop))
    return [*starts, num_steps - window_steps]


class WhisperEncoder:
    """Hidden states of Whisper's encoder.

    Raises:
        MissingWeights: the checkpoint is nowhere to be had.
        ValueError: the configuration names a model, a layer or a window that there is not.
    """

    def __init__(self, config: FeaturesConfig, weights: WeightStore) -> None:
        import torch

        from stages.audio.whisper_encoder import WhisperEncoderNetwork

        if config.model not in READERS:
            raise ValueError(f"features.model is {config.model!r}, want one of {sorted(READERS)}")
        weight_name, read = READERS[config.model]
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if config.device != "auto":
            self._device = torch.device(config.device)
        self._network = WhisperEncoderNetwork.from_state(read(weights.path(weight_name))).to(self._device)
        num_states = len(self._network.layers) + 1
        self._layers = tuple(int(i) for i in config.layers) or tuple(range(num_states - 5, num_states))
        if not set(self._layers) <= set(range(num_states)):
            raise ValueError(f"features.layers is {config.layers}, want numbers from 0 to {num_states - 1}")
        self._window_steps = round(config.window_s * AUDIO_RATE_HZ / SAMPLES_PER_STEP)
        self._overlap_steps = round(config.overlap_s * AUDIO_RATE_HZ / SAMPLES_PER_STEP)
        if not 0 <= self._overlap_steps < self._window_steps <= self._network.max_steps:
            raise ValueError("features: want 0 <= overlap_s < window_s <= 30")
        self._log_mel = LogMel(self._network.conv1.in_channels)
        self._max_abs = np.inf if config.max_abs is None else config.max_abs
        limit = "" if config.max_abs is None else f"/max{config.max_abs:g}"
        self.name = f"whisper-{config.model}/{','.join(map(str, self._layers))}{limit}"
        self.dim = self._network.conv1.out_channels * len(self._layers)

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """Features of audio of any length.

        Args:
            audio: float32 (N,) mono 16 kHz, not empty.
        Returns:
            float16 (ceil(N / 320), dim): the layers side by side, one step every 20 ms.
        """
        if len(audio) == 0:
            raise ValueError("no audio to encode")
        num_steps = -(-len(audio) // SAMPLES_PER_STEP)
        starts = window_starts(num_steps, self._window_steps, self._overlap_steps)
        features = np.empty((num_steps, self.dim), np.float16)
        for start in starts:
            first = 0 if start == 0 else start + self._overlap_steps // 2
            end = min(start + self._window_steps, num_steps)
            window = audio[start * SAMPLES_PER_STEP : end * SAMPLES_PER_STEP]
            features[first:end] = self._encode_window(window)[first - start :]
        return features

    def _encode_window(self, audio: np.ndarray) -> np.ndarray:
        import torch

        whole = np.zeros(-(-len(audio) // SAMPLES_PER_STEP) * SAMPLES_PER_STEP, np.float32)
        whole[: len(audio)] = audio
        log_mel = torch.from_numpy(self._log_mel(whole))[None].to(self._device)  # (1, num_mels, 2 T)
        with torch.inference_mode():
            states = self._network(log_mel)
            features = torch.cat([states[i] for i in self._layers], dim=-1)[0]
            return features.clamp(-self._max_abs, self._max_abs).half().cpu().numpy()


class WhisperFeatures:
    """Adds `whisper`, `whisper_model` and the fingerprints."""

    def __init__(self, config: FeaturesConfig, weights: WeightStore) -> None:
        self._encoder = WhisperEncoder(config, weights)

    def __call__(self, row: Row) -> Row:
        audio = from_pcm16(row["audio_pcm16"])
        return {
            **row,
            "whisper": self._encoder.encode(audio),
            "whisper_model": self._encoder.name,
            "audio_fingerprint": fingerprint(audio),
            "motion_fingerprint": motion_fingerprint(row["landmarks"], row["crop_box_xyxy_px"]),
        }
