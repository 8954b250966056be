"""From phonemes to the movement of lips and jaw."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.ndimage import gaussian_filter1d

from manifests.demo.voice.speech import Speech
from stages.core.records import AUDIO_RATE_HZ

GRID_HZ = 500
COARTICULATION_S = 0.03  # sigma; keeps the closure of a p (80 ms) and blends neighbours
ENVELOPE_S = 0.04

VOWELS: dict[str, tuple[float, float]] = {
    # letter of eSpeak's notation: (opening, rounding), each 0-1; rounding below 0 spreads the lips
    **dict.fromkeys("Aa", (1.0, 0.0)),
    **dict.fromkeys("V0O", (0.75, 0.3)),
    **dict.fromkeys("E&e", (0.6, -0.5)),
    **dict.fromkeys("@3", (0.5, 0.0)),
    "o": (0.5, 0.7),
    **dict.fromkeys("iI", (0.28, -0.8)),
    "y": (0.22, 0.8),
    **dict.fromkeys("uU", (0.22, 1.0)),
}
CONSONANTS: dict[str, tuple[float, float]] = {
    **dict.fromkeys("pbm", (0.0, 0.1)),
    **dict.fromkeys("fv", (0.06, 0.0)),
    "w": (0.15, 0.9),
    "j": (0.22, -0.5),
    **dict.fromkeys("kgXhH", (0.32, 0.0)),
}
OTHER_CONSONANT = (0.17, 0.0)
REST = (0.0, 0.0)


@dataclass(frozen=True)
class LipMotion:
    """What the lips do at each frame.

    Args:
        opening: float32 (T,), 0 closed, 1 as wide as in a clear "a".
        rounding: float32 (T,), 1 as round as in "u", -0.8 as wide as in "i".
    """

    opening: np.ndarray
    rounding: np.ndarray


def lip_motion(speech: Speech, num_frames: int, fps: Fraction) -> LipMotion:
    """Lip targets of the phonemes, blended into each other, and as large as the voice is loud."""
    num_steps = int(np.ceil(len(speech.audio) / AUDIO_RATE_HZ * GRID_HZ)) + 1
    targets = np.zeros((num_steps, 2), np.float32)
    for phoneme in speech.phonemes:
        shapes = lip_shapes(phoneme.symbol)
        edges = np.linspace(phoneme.start_s, phoneme.end_s, len(shapes) + 1)
        for shape, start_s, end_s in zip(shapes, edges[:-1], edges[1:], strict=True):
            targets[round(start_s * GRID_HZ) : round(end_s * GRID_HZ)] = shape
    smooth = gaussian_filter1d(targets, COARTICULATION_S * GRID_HZ, axis=0)
    smooth[:, 0] *= 0.5 + 0.5 * _loudness(speech.audio, num_steps)
    times_s = np.arange(num_frames) / float(fps)
    grid_s = np.arange(num_steps) / GRID_HZ
    opening, rounding = (np.interp(times_s, grid_s, smooth[:, k]).astype(np.float32) for k in range(2))
    return LipMotion(opening, rounding)


def lip_shapes(symbol: str) -> list[tuple[float, float]]:
    """(opening, rounding) of one phoneme, in turn: a diphthong has two."""
    letters = symbol.lstrip("',%=|")
    if letters.startswith("_") or not letters:
        return [REST]
    vowels = [VOWELS[letter] for letter in letters if letter in VOWELS]
    return vowels or [CONSONANTS.get(letters[0], OTHER_CONSONANT)]


def _loudness(audio: np.ndarray, num_steps: int) -> np.ndarray:
    """0-1 over the grid: level over its own 95th percentile."""
    hop = AUDIO_RATE_HZ // GRID_HZ
    padded = np.zeros(num_steps * hop, np.float32)
    padded[: len(audio)] = audio[: len(padded)]
    power = gaussian_filter1d((padded.reshape(-1, hop) ** 2).mean(1), ENVELOPE_S * GRID_HZ / 2)
    level = np.sqrt(np.maximum(power, 0))
    return np.clip(level / np.percentile(level[level > 1e-4], 95), 0, 1)
