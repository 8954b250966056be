"""Sound for tests, made on the spot: eSpeak's voices, and what is wrong with them put there on purpose."""

from __future__ import annotations

from functools import cache

import numpy as np

from manifests.demo.voice.speech import Voice, speak
from manifests.demo.voice.texts import ENGLISH, LIBRARY
from stages.core.records import AUDIO_RATE_HZ


@cache
def mandarin(seconds: float = 8.0) -> np.ndarray:
    """float32 (N,) of a Mandarin voice, with short pauses."""
    return speak(LIBRARY, Voice(), seconds).audio


@cache
def english(seconds: float = 8.0) -> np.ndarray:
    """float32 (N,) of another voice, in English."""
    return speak(ENGLISH, Voice("en-us", pitch=20), seconds).audio


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> np.ndarray:
    """White noise, float32 (N,), of this standard deviation."""
    return np.random.default_rng(seed).normal(0.0, level, round(seconds * AUDIO_RATE_HZ)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * AUDIO_RATE_HZ), np.float32)


def pcm16(audio: np.ndarray) -> np.ndarray:
    return np.clip(np.round(audio * 32767), -32768, 32767).astype(np.int16)
