"""Speech with known timing: eSpeak NG, called through its C library as the PyPI package espeakng-loader carries it."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from stages.audio.pcm16 import from_pcm16
from stages.core.records import AUDIO_RATE_HZ

_SYNCHRONOUS, _PHONEME_EVENTS, _UTF8, _BY_CHARACTER = 2, 1, 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_END_OF_LIST, _PHONEME = 0, 7


@dataclass(frozen=True)
class Voice:
    """One way of speaking.

    Args:
        name: eSpeak voice and variant. Of 36 tried, Whisper base hears Mandarin surely in `Annie` and `Alicia` only:
            most others it takes for Thai.
        rate_wpm: eSpeak's speed before `stretch`.
        pitch: eSpeak's base pitch, 0-99.
        pitch_range: how lively the melody is, 0-99.
        stretch: the recording is played this much slower, which lowers pitch and formants: a larger throat.
    """

    name: str = "cmn+Annie"
    rate_wpm: int = 160
    pitch: int = 50
    pitch_range: int = 50
    stretch: float = 1.0


@dataclass(frozen=True)
class Phoneme:
    """One sound, in eSpeak's notation, over [start_s, end_s)."""

    symbol: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Speech:
    """What was said.

    Args:
        audio: float32 (N,), mono, 16 kHz, peak 0.6.
        phonemes: in order, with pauses.
        text: the sentences spoken.
    """

    audio: np.ndarray
    phonemes: tuple[Phoneme, ...]
    text: str


class SpeechError(Exception):
    """eSpeak NG refused a voice or gave no sound."""


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("symbol", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def speak(sentences: Sequence[str], voice: Voice, max_s: float, *, lead_s: float = 0.25) -> Speech:
    """Say as many of the sentences as fit, then be silent until `max_s`.

    Args:
        sentences: said in order; of those that do not fit, their first clause is said if that fits.
        max_s: length of the result.
        lead_s: silence before the first word.
    Raises:
        SpeechError: the voice is not there, or not even the first sentence fits.
    """
    num_samples = round(max_s * AUDIO_RATE_HZ)
    audio, phonemes, said = np.zeros(num_samples, np.float32), [], []
    at = round(lead_s * AUDIO_RATE_HZ)
    with _espeak() as (library, rate_hz):
        for sentence in sentences:
            words, (wave, sounds) = sentence, _say(library, rate_hz, sentence, voice)
            if at + len(wave) > num_samples:
                words = re.split("[，,]", sentence)[0] + sentence[-1]
                wave, sounds = _say(library, rate_hz, words, voice)
            if at + len(wave) > num_samples:
                continue
            audio[at : at + len(wave)] = wave
            shift_s = at / AUDIO_RATE_HZ
            phonemes += [Phoneme(p.symbol, p.start_s + shift_s, p.end_s + shift_s) for p in sounds]
            said.append(words)
            at += len(wave)
    if not said:
        raise SpeechError(f"{sentences[0]!r} is longer than {max_s:g} s")
    return Speech(audio * (0.6 / np.abs(audio).max()), tuple(phonemes), " ".join(said))


@contextmanager
def _espeak() -> Iterator[tuple[ctypes.CDLL, int]]:
    """The library and its sample rate in Hz, loaded anew for one use.

    It keeps the phase of its oscillators in globals, and would say the same text a little differently the second time.
    """
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = str(espeakng_loader.get_data_path()).encode()
    try:
        rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 200, data, _PHONEME_EVENTS)
        if rate_hz <= 0:
            raise SpeechError(f"eSpeak NG could not start with the data in {data.decode()}")
        yield library, rate_hz
        library.espeak_Terminate()
    finally:
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))


def _say(library: ctypes.CDLL, rate_hz: int, sentence: str, voice: Voice) -> tuple[np.ndarray, list[Phoneme]]:
    import soxr

    chunks: list[np.ndarray] = []
    marks: list[tuple[float, str]] = []

    def receive(samples, num_samples: int, events) -> int:
        if samples and num_samples:
            chunks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        k = 0
        while events[k].type != _END_OF_LIST:
            if events[k].type == _PHONEME:
                marks.append((events[k].audio_position_ms / 1000, events[k].id.symbol.decode()))
            k += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise SpeechError(f"eSpeak NG has no voice {voice.name!r}")
    for parameter, value in ((_RATE, voice.rate_wpm), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
        library.espeak_SetParameter(parameter, value, 0)
    text = sentence.encode()
    library.espeak_Synth(text, len(text) + 1, 0, _BY_CHARACTER, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    if not chunks:
        raise SpeechError(f"no sound for {sentence!r}")
    wave = from_pcm16(np.concatenate(chunks))
    slow = soxr.resample(wave, rate_hz, AUDIO_RATE_HZ * voice.stretch)
    times = [t * voice.stretch for t, _ in marks] + [len(slow) / AUDIO_RATE_HZ]
    sounds = [Phoneme(s, a, b) for (_, s), a, b in zip(marks, times, times[1:], strict=False) if b > a]
    return slow.astype(np.float32), sounds
