"""A film: pictures, sound and truth of one video before it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from stages.core.records import AUDIO_RATE_HZ
from stages.media import write_video

Frames = Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Span:
    """Truth about [start_s, end_s).

    Args:
        reasons: right reasons for dropping it, the best one first; none if it must be kept.
        may_keep: a border case, in which it is right to keep it or to drop it for one of `reasons`.
    """

    start_s: float
    end_s: float
    reasons: tuple[str, ...] = ()
    may_keep: bool = False


@dataclass(frozen=True)
class Film:
    """One video before it is written.

    Args:
        frames: returns the uint8 (H, W, 3) pictures at each call.
        audio: float32 (N,) at 16 kHz, sample 0 at the first frame.
        spans: in order, from 0 to the end.
        cuts_s: times of each cut: of the first frame that differs, and of the first that is wholly new.
        offset_ms: delay of the sound against the lips.
        crf: x264's quality, lower is better.
        writer: function that writes pictures and sound in another container, codec or rate.
    """

    frames: Frames
    fps: Fraction
    num_frames: int
    audio: np.ndarray
    spans: tuple[Span, ...]
    cuts_s: tuple[tuple[float, float], ...] = ()
    offset_ms: float = 0.0
    crf: int = 18
    writer: Callable[[Path, Film], None] | None = None

    @property
    def duration_s(self) -> float:
        return self.num_frames / float(self.fps)

    def time_s(self, frame: int) -> float:
        return frame / float(self.fps)

    def change(self, draw: Callable[[int, np.ndarray], np.ndarray], **more: object) -> Film:
        """The film with `draw(k, picture)` in place of its k-th picture."""

        def frames() -> Iterator[np.ndarray]:
            for k, rgb in enumerate(self.frames()):
                yield draw(k, rgb)

        return replace(self, frames=frames, **more)

    def label(self, *reasons: str, may_keep: bool = False) -> Film:
        """The film with one truth for all of it."""
        return replace(self, spans=(Span(0.0, self.duration_s, reasons, may_keep),))

    def label_part(self, first: int, end: int, *reasons: str) -> Film:
        """The film with its frames [first, end) at fault and the rest to be kept."""
        edges = [0, first, end, self.num_frames]
        spans = [
            Span(self.time_s(a), self.time_s(b), reasons if (a, b) == (first, end) else ())
            for a, b in pairwise(edges)
            if b > a
        ]
        return replace(self, spans=tuple(spans))

    def cut_at(self, first: int, end: int) -> Film:
        """The film in which another picture begins at frame `first` and is all there at `end`."""
        return replace(self, cuts_s=(*self.cuts_s, (self.time_s(first), self.time_s(end))))

    def written_by(self, writer: Callable[[Path, Film], None]) -> Film:
        return replace(self, writer=writer)

    def write(self, path: Path) -> None:
        if self.writer is not None:
            self.writer(path, self)
        else:
            write_video(path, self.frames(), self.fps, self.audio, crf=self.crf)


def padded(frames: Iterable[np.ndarray], num_frames: int) -> Iterator[np.ndarray]:
    """Exactly `num_frames` frames; the last one is repeated if they end early."""
    last, count = None, 0
    for last in frames:
        if count == num_frames:
            return
        count += 1
        yield last
    if last is None:
        raise ValueError("no frame at all")
    for _ in range(num_frames - count):
        yield last


def samples_until(time_s: float) -> int:
    return round(time_s * AUDIO_RATE_HZ)


def fitted(audio: np.ndarray, num_samples: int) -> np.ndarray:
    """Audio of this length, cut or padded with silence."""
    out = np.zeros(num_samples, np.float32)
    out[: min(len(audio), num_samples)] = audio[:num_samples]
    return out
