"""A small learned expert for lips and sound: two matrices that turn both into series which rise and fall together.

What is seen are distances between points of the lips, the nose and the chin; what is heard are log-mel bands; each with
its neighbours in time, without its slow part. Canonical correlation analysis on clips that the pipeline made itself
finds the combinations of both that are alike (`python -m model.sync` trains and measures it, and says on whom). Being
linear and of a few thousand numbers, it can learn little about a person, and so holds for people it never saw.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.audio.pcm16 import from_pcm16
from stages.audio.whisper_mel import mel_filters
from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS, NUM_LANDMARKS, Row
from stages.face.crop import to_source
from stages.face.landmarks import CHIN, FOREHEAD
from stages.lipsync.curves import Curves, curves_of

EMBEDDED = Path(__file__).parent / "lip_sound.npz"
RATE_HZ = 100
"""Steps of the sound, and of delays: 10 ms."""
MEL_STEPS_PER_FRAME = RATE_HZ // CLIP_FPS
MAX_STEPS = 100
"""Delays are looked at up to 1 s on both sides: what lies far out tells how high chance reaches."""

DISTANCES = (  # pairs of landmarks; a pair and its mirror image are averaged
    *(((13, 14),), ((82, 87), (312, 317)), ((81, 178), (311, 402))),  # between the lips, from the middle outwards
    *(((0, 17),), ((61, 291),), ((78, 308),)),  # over both lips, and across
    *(((1, 152),), ((2, 0),), ((2, 13),), ((17, 152),), ((14, 152),)),  # nose and chin: jaw, upper and lower lip
    *(
        ((61, 33), (291, 263)),
        ((1, 0),),
        ((1, 17),),
    ),  # corners to the eyes, nose tip to the lips
    *(((61, 0), (291, 0)), ((61, 17), (291, 17))),  # halves of the lips
)
LIP_TAPS = range(-3, 4)
"""Frames of 40 ms around each."""
SOUND_TAPS = range(-12, 13, 4)
"""Steps of 10 ms around each."""
NUM_BANDS = 8
SLOW_S = 2.0
"""Slower than this is not speech: heads move, microphones are turned up. Syllables come 3 to 7 times a second."""
FLOOR_DB = 50.0
"""Of each clip, under its loud moments: below it is the room, not the voice."""
_HOP_SAMPLES = AUDIO_RATE_HZ // RATE_HZ
_WINDOW_SAMPLES = 400  # 25 ms
_SMOOTHING_STEPS = 1.5


def lip_features(points: np.ndarray) -> np.ndarray:
    """What can be seen of speech, frame by frame.

    Args:
        points: (T, 478, 3) landmarks, x, y and z in one unit.
    Returns:
        float64 (T, taps * distances), in percent of the face's height.
    """
    points = points.astype(np.float64)

    def distance(pair: tuple[int, int]) -> np.ndarray:
        return np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=1)

    series = np.stack([np.mean([distance(pair) for pair in pairs], axis=0) for pairs in DISTANCES], axis=1)
    height = distance((FOREHEAD, CHIN)).mean()
    return _with_neighbours(_without_slow(100 * series / height, CLIP_FPS), LIP_TAPS)


def sound_features(audio: np.ndarray) -> np.ndarray:
    """What can be heard of speech, every 10 ms.

    Args:
        audio: float32 (N,) mono 16 kHz.
    Returns:
        float64 (N // 160, taps * bands): powers of ten. Step k is at k * 10 ms.
    """
    from scipy.fft import rfft
    from scipy.ndimage import gaussian_filter1d

    num_steps = len(audio) // _HOP_SAMPLES
    half = _WINDOW_SAMPLES // 2
    padded = np.zeros(num_steps * _HOP_SAMPLES + _WINDOW_SAMPLES, np.float32)
    used = audio[: num_steps * _HOP_SAMPLES + half]
    padded[half : half + len(used)] = used
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW_SAMPLES)[::_HOP_SAMPLES][:num_steps]
    spectrum = np.asarray(rfft(frames * np.hanning(_WINDOW_SAMPLES + 1)[:-1].astype(np.float32), axis=1))
    filters = mel_filters(NUM_BANDS)
    power = np.square(np.abs(spectrum)) @ (filters / filters.sum(axis=1, keepdims=True)).T
    floor = np.percentile(power.max(axis=1), 99) * 10 ** (-FLOOR_DB / 10)
    bands = _without_slow(np.log10(power + floor + 1e-12), RATE_HZ)
    return _with_neighbours(gaussian_filter1d(bands, _SMOOTHING_STEPS, axis=0), SOUND_TAPS)


def _without_slow(series: np.ndarray, rate_hz: int) -> np.ndarray:
    from scipy.ndimage import uniform_filter1d

    return series - uniform_filter1d(series, round(SLOW_S * rate_hz) | 1, axis=0, mode="nearest")


def _with_neighbours(series: np.ndarray, taps: range) -> np.ndarray:
    at = np.arange(len(series))
    return np.concatenate([series[np.clip(at + tap, 0, len(at) - 1)] for tap in taps], axis=1)


def agreement(seen: np.ndarray, heard: np.ndarray, max_steps: int = MAX_STEPS) -> np.ndarray:
    """Correlation of all series together for each delay of the sound, each over the part they share.

    Args:
        seen: (T, K) every 40 ms.
        heard: (S, K) every 10 ms, from the beginning of the first frame.
    Returns:
        (2 max_steps + 1,) in -1 to 1 for delays of -max_steps .. max_steps times 10 ms: the middle of a frame is
        compared with the sound heard so much later. 0 where less than half of the frames share sound, or one side
        does not change.
    """
    delays = np.arange(-max_steps, max_steps + 1)
    at = delays[:, None] + MEL_STEPS_PER_FRAME * np.arange(len(seen)) + MEL_STEPS_PER_FRAME // 2  # (D, T)
    shared = ((at >= 0) & (at < len(heard))).astype(np.float64)
    number = np.maximum(shared.sum(axis=1), 1.0)[:, None]
    sound = heard[np.clip(at, 0, max(0, len(heard) - 1))] * shared[..., None]  # (D, T, K)
    sound_mean, lip_mean = sound.sum(axis=1) / number, shared @ seen / number
    together = np.einsum("tk,dtk->d", seen, sound) - (number * lip_mean * sound_mean).sum(axis=1)
    sound_power = np.square(sound).sum(axis=(1, 2)) - (number * sound_mean**2).sum(axis=1)
    lip_power = shared @ np.square(seen).sum(axis=1) - (number * lip_mean**2).sum(axis=1)
    scale = np.sqrt(np.maximum(sound_power, 0) * np.maximum(lip_power, 0))
    enough = (scale > 1e-9) & (number[:, 0] >= len(seen) / 2)
    return np.where(enough, together / np.where(enough, scale, 1.0), 0.0)


@dataclass(frozen=True)
class LipSound:
    """The trained expert.

    Args:
        lips: (taps * distances, K) for `lip_features`.
        sound: (taps * bands, K) for `sound_features`.
        chance: standard deviation of the agreement with one second of unrelated speech; it falls with the square root
            of the time.
        made: how it was trained, and on how much.
    """

    lips: np.ndarray
    sound: np.ndarray
    chance: float
    made: dict[str, Any]

    @property
    def name(self) -> str:
        """Tells one training from another."""
        return "lips-" + hashlib.sha256(self.lips.tobytes() + self.sound.tobytes()).hexdigest()[:8]

    @staticmethod
    def load(path: Path = EMBEDDED) -> LipSound:
        with np.load(path, allow_pickle=False) as file:
            made = json.loads(str(file["made"]))
            return LipSound(file["lips"], file["sound"], float(file["chance"]), made)

    def save(self, path: Path) -> None:
        made = np.array(json.dumps(self.made))
        np.savez(path, lips=self.lips, sound=self.sound, chance=np.float32(self.chance), made=made)

    def compare(self, seen: np.ndarray, heard: np.ndarray) -> np.ndarray:
        """`agreement` of `lip_features` and `sound_features`."""
        return agreement(seen @ self.lips, heard @ self.sound)

    def curves(self, row: Row) -> Curves:
        """Reads `landmarks`, `crop_box_xyxy_px` where there is one, and `audio_pcm16`."""
        points = np.asarray(row["landmarks"], np.float32).reshape(-1, NUM_LANDMARKS, 3)
        if "crop_box_xyxy_px" in row:
            points = to_source(points, np.asarray(row["crop_box_xyxy_px"]))
        seen = lip_features(points) @ self.lips
        heard = sound_features(from_pcm16(row["audio_pcm16"])) @ self.sound

        def curve(frames: slice) -> np.ndarray:
            return agreement(
                seen[frames], heard[frames.start * MEL_STEPS_PER_FRAME : frames.stop * MEL_STEPS_PER_FRAME]
            )

        return curves_of(curve, np.arange(-MAX_STEPS, MAX_STEPS + 1) * (1000 / RATE_HZ), len(seen))

    def confidence(self, curve: np.ndarray, best: int, speech_s: float) -> float:
        """The agreement in standard deviations of what unrelated speech of that length has."""
        return float(curve[best] * np.sqrt(speech_s) / self.chance)

    def distance(self, peak: float) -> float:
        return 1.0 - peak
