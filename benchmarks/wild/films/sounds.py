"""Faults of sound: disturbances of a known level, rooms, other voices, other languages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

from benchmarks.wild.films.film import fitted, samples_until
from manifests.demo import takes
from manifests.demo.voice.speech import Voice, speak
from manifests.demo.voice.texts import ENGLISH, WEATHER
from stages.core.records import AUDIO_RATE_HZ

Maker = Callable[[int, np.random.Generator], np.ndarray]
"""Function that returns a number of random samples of a sound."""
PEAK = 0.95
ACTIVE_DB = 25.0
"""Frames this far under the loudest twentieth are pauses, which speech levels leave out (as in ITU-T P.56)."""


def active_power(audio: np.ndarray) -> float:
    """Mean square of the 20 ms frames in which someone speaks."""
    frame = AUDIO_RATE_HZ // 50
    power = np.square(audio[: len(audio) // frame * frame].astype(np.float64)).reshape(-1, frame).mean(axis=1)
    return float(power[power >= np.percentile(power, 95) * 10 ** (-ACTIVE_DB / 10)].mean())


def mixed(speech: np.ndarray, disturbance: np.ndarray, snr_db: float) -> np.ndarray:
    """Both, with the speech `snr_db` louder; all of it quieter where it would clip."""
    gain = np.sqrt(active_power(speech) / np.square(disturbance.astype(np.float64)).mean()) * 10 ** (-snr_db / 20)
    both = speech + gain * disturbance[: len(speech)]
    return (both * min(1.0, PEAK / np.abs(both).max())).astype(np.float32)


def white(num_samples: int, random: np.random.Generator) -> np.ndarray:
    return random.normal(size=num_samples).astype(np.float32)


def traffic(num_samples: int, random: np.random.Generator) -> np.ndarray:
    """A road: engines below 200 Hz throughout, tyres around 1 kHz that swell as cars pass every second or two."""
    t = np.arange(num_samples) / AUDIO_RATE_HZ
    engines = _band(random.normal(size=num_samples), 30, 200)
    tyres = _band(random.normal(size=num_samples), 500, 1800)
    passing = np.full(num_samples, 0.15)
    at_s = random.uniform(0, 1)
    while at_s < t[-1]:
        passing += random.uniform(0.5, 1) * np.exp(-(((t - at_s) / random.uniform(0.3, 0.7)) ** 2))
        at_s += random.uniform(0.8, 2)
    return (engines / engines.std() + tyres / tyres.std() * passing).astype(np.float32)


def music(num_samples: int, random: np.random.Generator) -> np.ndarray:
    """Plucked chords and a bass with drums: a bass drum on each beat, a hiss between, 120 beats a minute."""
    beat = AUDIO_RATE_HZ // 2
    t = np.arange(beat // 2) / AUDIO_RATE_HZ
    drum = np.sin(2 * np.pi * (50 * t + 3 * (1 - np.exp(-t / 0.03)))) * np.exp(-t / 0.08)
    hiss = _band(random.normal(size=len(t)), 4000, 7500) * np.exp(-t / 0.03)
    bar = np.concatenate([drum, 0.5 * hiss])
    return takes.music(num_samples) + 0.35 * np.resize(bar, num_samples).astype(np.float32)


def babble(voices: Sequence[np.ndarray], num_voices: int = 6) -> Maker:
    """So many voices at once, each as loud: the given ones, from different places, at slightly different speeds."""

    def make(num_samples: int, random: np.random.Generator) -> np.ndarray:
        total = np.zeros(num_samples)
        for k in range(num_voices):
            voice = voices[k % len(voices)]
            at = (np.arange(num_samples) * random.uniform(0.88, 1.12) + random.uniform(0, len(voice))) % len(voice)
            total += np.interp(at, np.arange(len(voice)), voice / np.sqrt(active_power(voice)))
        return total.astype(np.float32)

    return make


def clipped(audio: np.ndarray, gain_db: float) -> np.ndarray:
    """Recorded so many dB too loud: what stands over is cut off. It is then turned down to a peak of 0.8."""
    loud = audio / np.abs(audio).max() * 10 ** (gain_db / 20)
    return (0.8 * np.clip(loud, -1, 1)).astype(np.float32)


def reverberant(
    audio: np.ndarray, rt60_s: float, random: np.random.Generator, *, distance_m: float = 1.0
) -> np.ndarray:
    """Heard in a room of 60 cubic metres; what arrives directly keeps its time.

    Args:
        rt60_s: time in which the echo falls by 60 dB.
        distance_m: from the mouth; direct and diffuse sound are as loud at the critical distance .057 sqrt(V / RT60).
    """
    critical_m = 0.057 * np.sqrt(60.0 / rt60_s)
    t = np.arange(round(1.2 * rt60_s * AUDIO_RATE_HZ)) / AUDIO_RATE_HZ
    tail = random.normal(size=len(t)) * np.exp(-np.log(1000) * t / rt60_s)
    tail[: round(0.003 * AUDIO_RATE_HZ)] = 0  # the nearest wall is half a metre away
    response = tail / np.linalg.norm(tail) * distance_m / critical_m
    response[0] = 1.0
    wet = fftconvolve(audio, response)[: len(audio)]
    return (wet * min(1.0, PEAK / np.abs(wet).max())).astype(np.float32)


def shifted(audio: np.ndarray, late_ms: float) -> np.ndarray:
    """Later by so much, or earlier if negative; silence comes in, the length stays."""
    shift = samples_until(abs(late_ms) / 1000)
    silence = np.zeros(shift, np.float32)
    return np.concatenate([silence, audio[:-shift]]) if late_ms > 0 else np.concatenate([audio[shift:], silence])


def alternating(one: np.ndarray, other: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Two voices in turn, 1 to 2 s each, equally loud."""
    out, at, turn = one.copy(), 0, 0
    level = np.sqrt(active_power(one) / active_power(other))
    other = np.resize(other, len(one)) * level
    while at < len(out):
        end = at + samples_until(float(random.uniform(1, 2)))
        if turn % 2:
            out[at:end] = other[at:end]
        at, turn = end, turn + 1
    return np.clip(out, -1, 1).astype(np.float32)


LANGUAGES: dict[str, tuple[Voice, tuple[str, ...]]] = {
    "en": (Voice("en-us", 175, 40, 70, 1.1), ENGLISH),
    "es": (
        Voice("es", 165, 45, 60),
        (
            "Esta mañana fui al mercado con mi hermana para comprar fruta.",
            "Luego tomamos un café en la plaza y hablamos del viaje.",
            "Mañana vamos a visitar a nuestros abuelos en el pueblo.",
        ),
    ),
    "fr": (
        Voice("fr", 165, 45, 60),
        (
            "Ce matin je suis allé au marché avec ma sœur pour acheter des fruits.",
            "Ensuite nous avons pris un café et nous avons parlé du voyage.",
            "Demain nous irons voir nos grands-parents à la campagne.",
        ),
    ),
    "de": (
        Voice("de", 165, 45, 60),
        (
            "Heute Morgen war ich mit meiner Schwester auf dem Markt, um Obst zu kaufen.",
            "Danach haben wir einen Kaffee getrunken und über die Reise gesprochen.",
            "Morgen besuchen wir unsere Großeltern auf dem Land.",
        ),
    ),
}
"""Synthetic speech: which voice, and what it says."""


def foreign(languages: Sequence[str], num_samples: int, seed: int) -> tuple[str, np.ndarray]:
    """A language that is not wanted, and speech in it."""
    name = _unwanted(languages, seed)
    voice, sentences = LANGUAGES[name]
    return name, speak(sentences, voice, num_samples / AUDIO_RATE_HZ).audio


def _unwanted(languages: Sequence[str], seed: int) -> str:
    others = [name for name in LANGUAGES if name not in languages]
    if not others:
        raise ValueError(f"{', '.join(LANGUAGES)} are all wanted: there is no other synthetic speech")
    return others[seed % len(others)]


def code_switched(languages: Sequence[str], num_samples: int, seed: int) -> np.ndarray:
    """One synthetic voice that says a clause in Mandarin, one in a language that is not wanted, and so on."""
    voice, sentences = LANGUAGES[_unwanted(languages, seed)]
    voice = Voice(f"{voice.name}+Annie")
    pieces, length = [], 0
    for chinese, foreign_one in zip(WEATHER * 3, sentences * 5, strict=False):
        clauses = ((chinese.split("，")[0] + "。", Voice()), (foreign_one.split(",")[0] + ".", voice))
        for clause, speaker in clauses:
            pieces.append(_said(clause, speaker))
            length += len(pieces[-1])
        if length >= num_samples:
            break
    return fitted(np.concatenate(pieces), num_samples)


def chant(num_samples: int, random: np.random.Generator) -> np.ndarray:
    """Sung, as far as a synthetic voice can: long syllables, each on one note, over chords and drums 6 dB softer."""
    text = "".join(c for sentence in WEATHER for c in sentence if c not in "，。")
    pieces, length, pitch = [], 0, 50
    for character in text:
        pitch = int(np.clip(pitch + random.choice([-14, -7, 0, 7, 14]), 15, 90))
        pieces.append(fitted(_said(character, Voice(rate_wpm=80, pitch=pitch, pitch_range=0)), samples_until(0.5)))
        length += len(pieces[-1])
        if length >= num_samples:
            break
    return mixed(fitted(np.concatenate(pieces), num_samples), music(num_samples, random), 6.0)


def _said(text: str, voice: Voice) -> np.ndarray:
    """Without the silence around it."""
    audio = speak((text,), voice, 6.0, lead_s=0.0).audio
    loud = np.flatnonzero(np.abs(audio) > 0.02)
    return audio[loud[0] : loud[-1] + AUDIO_RATE_HZ // 20]


def _band(noise: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    return np.asarray(sosfilt(butter(2, [low_hz, high_hz], "bandpass", fs=AUDIO_RATE_HZ, output="sos"), noise))
