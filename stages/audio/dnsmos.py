"""Quality of the speech and of the background by DNSMOS P.835, without a reference.

Source: Reddy et al., DNSMOS P.835, arXiv:2110.01763; the network and its calibration as published in the
DNS-Challenge repository.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.records import AUDIO_RATE_HZ
from stages.core.weights import WeightStore

WINDOW_S = 9.01
WINDOW_SAMPLES = 144_160
_CALIBRATION = np.array(  # raw output to opinion score: quadratic, linear and constant term of sig, bak, ovr
    [
        [-0.08397278, 1.22083953, 0.0052439],
        [-0.13166888, 1.60915514, -0.39604546],
        [-0.06766283, 1.11546468, 0.04602535],
    ]
)


@dataclass(frozen=True)
class SpeechQuality:
    """Mean opinion scores, 1 (bad) to 5."""

    sig: float
    bak: float
    ovr: float


def tile(audio: np.ndarray, num_samples: int = WINDOW_SAMPLES) -> np.ndarray:
    """Short audio repeated until it fills `num_samples`, as the published script does; longer audio unchanged."""
    if len(audio) == 0:
        raise ValueError("no audio to judge")
    if len(audio) >= num_samples:
        return audio
    return np.tile(audio, -(-num_samples // len(audio)))[:num_samples]


def quality_windows(audio: np.ndarray, hop_s: float) -> np.ndarray:
    """(W, 144160) windows of 9.01 s, `hop_s` apart; the rest at the end is left out, as published."""
    windows = np.lib.stride_tricks.sliding_window_view(tile(audio), WINDOW_SAMPLES)
    return windows[:: round(hop_s * AUDIO_RATE_HZ)].astype(np.float32)


class Dnsmos:
    """The P.835 network.

    Raises:
        MissingWeights: the network was found nowhere.
    """

    def __init__(self, weights: WeightStore, num_threads: int = 1) -> None:
        from stages.audio.onnx import cpu_session

        self._session = cpu_session(weights.path("dnsmos"), num_threads)

    def score_windows(self, audio: np.ndarray, hop_s: float) -> np.ndarray:
        """Scores of each window: float64 (W, 3) as sig, bak, ovr. One window at a time, to bound the memory."""
        windows = quality_windows(np.clip(audio, -1.0, 1.0), hop_s)
        raw = np.array([self._session.run(None, {"input_1": w[None]})[0] for w in windows], np.float64)[:, 0]
        return _CALIBRATION[:, 0] * raw**2 + _CALIBRATION[:, 1] * raw + _CALIBRATION[:, 2]

    def __call__(self, audio: np.ndarray, hop_s: float = 1.0) -> SpeechQuality:
        """Mean over windows `hop_s` apart.

        Raises:
            ValueError: the audio is empty.
        """
        sig, bak, ovr = self.score_windows(audio, hop_s).mean(axis=0)
        return SpeechQuality(float(sig), float(bak), float(ovr))
