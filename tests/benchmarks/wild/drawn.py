"""Clips for the composer's own tests: frames that carry their number, a voice of tones, a face that is only points."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.known.media_files import coded_frame
from benchmarks.wild.films.clips import Clip
from benchmarks.wild.films.covers import CHEEKS
from benchmarks.wild.films.people import OVAL
from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS, NUM_LANDMARKS
from stages.face.landmarks import CHIN, FOREHEAD, LEFT_EYE, LIPS_OUTER, RIGHT_EYE
from stages.media import write_video

SIZE_PX = (160, 96)
MIDDLE = np.array([80.0, 48.0])


def face_points() -> np.ndarray:
    """(478, 2): an oval of 40 by 56 px, with eyes and lips where they belong."""
    points = np.tile(MIDDLE, (NUM_LANDMARKS, 1))
    turn = np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False)
    points[list(OVAL)] += np.stack([20 * np.sin(turn), -28 * np.cos(turn)], axis=1)
    ring = np.linspace(0, 2 * np.pi, len(LIPS_OUTER), endpoint=False)
    points[list(LIPS_OUTER)] += np.stack([-8 * np.cos(ring), 14 + 3 * np.sin(ring)], axis=1)
    for corner, x in zip((*LEFT_EYE, *RIGHT_EYE[::-1]), (-12, -5, 5, 12), strict=True):
        points[corner] += (x, -8)
    for place, xy in ((FOREHEAD, (0, -28)), (CHIN, (0, 28)), (CHEEKS[0], (-11, 4)), (CHEEKS[1], (11, 4))):
        points[place] = np.add(MIDDLE, xy)
    return points


def drawn_clip(folder: Path, name: str, first: int, seconds: float = 8.0, fps: Fraction = Fraction(25)) -> Clip:
    """Frames that carry the numbers from `first` on; bursts of a tone of its own, with pauses, as sound."""
    path, num_frames = folder / f"{name}.mp4", round(seconds * fps)
    audio = voice(200.0 + first, num_frames / float(fps))
    write_video(path, (coded_frame(first + k, *SIZE_PX) for k in range(num_frames)), fps, audio)
    identity = np.eye(8, dtype=np.float32)[first // 100 % 8]
    tracked = np.tile(face_points(), (round(seconds * CLIP_FPS), 1, 1)).astype(np.float32)
    return Clip(name, path, 0.0, fps, num_frames, SIZE_PX, audio, identity, identity, tracked)


def voice(hz: float, seconds: float) -> np.ndarray:
    """Syllables: 0.2 s of tone and 0.1 s of quiet."""
    t = np.arange(round(seconds * AUDIO_RATE_HZ)) / AUDIO_RATE_HZ
    return (0.3 * np.sin(2 * np.pi * hz * t) * (t % 0.3 < 0.2)).astype(np.float32)
