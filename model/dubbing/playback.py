"""A video's frames for any length: up to its end, or to and fro."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

REVERSED_BYTES = 256 << 20
"""Memory for the frames of a stretch that is played backwards."""


def to_and_fro(idx: int, length: int) -> int:
    """The source frame of output frame `idx` when a video of `length` frames runs forwards, then backwards, ..."""
    if length == 1:
        return 0
    place = idx % (2 * (length - 1))
    return min(place, 2 * (length - 1) - place)


def play(video: Path, fps: Fraction, length: int, num_frames: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames `to_and_fro(0), to_and_fro(1), ...` of a video, with few in memory at a time."""
    yield from islice(_to_and_fro_frames(video, fps, length), num_frames)


def _to_and_fro_frames(video: Path, fps: Fraction, length: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Endless frames. The last frame and, after the first round, the first are shown once at each turn."""
    yield from frames_between(video, fps, 0, length)
    while True:
        end = length - 1
        while end > 0:
            nearest = next(frames_between(video, fps, end - 1, end))
            chunk = max(1, min(end, REVERSED_BYTES // nearest.nbytes))
            yield from reversed(list(frames_between(video, fps, end - chunk, end)))
            end -= chunk
        yield from frames_between(video, fps, min(1, length - 1), length)


def frames_between(video: Path, fps: Fraction, start: int, end: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames `start` to `end` of a video at this rate."""
    from stages.media import decode_video  # a machine that only edits frames does not need PyAV

    ticks = decode_video(video, float(start / fps), float(end / fps), fps=fps)
    yield from (frame.rgb for frame in islice(ticks, end - start))
