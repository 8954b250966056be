"""Whisper's log-mel spectrogram in NumPy.

Source: Radford et al., arXiv:2212.04356; mel scale and area normalisation after Slaney's Auditory Toolbox.
"""

from __future__ import annotations

import numpy as np

from stages.core.records import AUDIO_RATE_HZ

HOP_SAMPLES = 160
_FFT_SAMPLES = 400
_LINEAR_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27


def _hz_of_mel(mel: np.ndarray) -> np.ndarray:
    break_mel = _BREAK_HZ / _LINEAR_HZ_PER_MEL
    return np.where(mel < break_mel, mel * _LINEAR_HZ_PER_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (mel - break_mel)))


def mel_filters(num_mels: int) -> np.ndarray:
    """Triangular filters of equal area between 0 Hz and Nyquist, float32 (num_mels, 201)."""
    nyquist_hz = AUDIO_RATE_HZ / 2
    top_mel = _BREAK_HZ / _LINEAR_HZ_PER_MEL + np.log(nyquist_hz / _BREAK_HZ) / _LOG_STEP
    edges_hz = _hz_of_mel(np.linspace(0.0, top_mel, num_mels + 2))
    bins_hz = np.linspace(0.0, nyquist_hz, _FFT_SAMPLES // 2 + 1)
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    return (np.maximum(0.0, np.minimum(rising, falling)) * 2 / (high - low)).astype(np.float32)


class LogMel:
    """Whisper's input. Build once: it holds the filters and the window."""

    def __init__(self, num_mels: int = 80) -> None:
        self._filters = mel_filters(num_mels)
        self._window = np.hanning(_FFT_SAMPLES + 1)[:-1].astype(np.float32)

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """Log-mel energies in Whisper's scale, as if silence followed the audio.

        Args:
            audio: float32 (N,) mono 16 kHz, not empty.
        Returns:
            float32 (num_mels, ceil(N / 160)), 100 frames a second.
        """
        from scipy.fft import rfft

        num_frames = -(-len(audio) // HOP_SAMPLES)
        half = _FFT_SAMPLES // 2
        padded = np.zeros(num_frames * HOP_SAMPLES + _FFT_SAMPLES, np.float32)
        padded[half : half + len(audio)] = audio
        mirrored = audio[1 : half + 1][::-1]
        padded[half - len(mirrored) : half] = mirrored
        frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT_SAMPLES)[::HOP_SAMPLES][:num_frames]
        spectrum = np.asarray(rfft(frames * self._window, axis=1))
        power = np.square(np.abs(spectrum))
        log_mel = np.log10(np.maximum(self._filters @ power.T, 1e-10))
        return ((np.maximum(log_mel, log_mel.max() - 8.0) + 4.0) / 4.0).astype(np.float32)
