"""What an expert for lips and sound says: how well each delay of the sound goes with the lips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stages.core.records import Row


@dataclass(frozen=True)
class Curves:
    """How well each delay of the sound goes with the lips: the more the better, in the expert's own measure.

    Args:
        delays_ms: (D,) ascending; positive: the sound is late.
        whole: (D,) over the whole clip.
        halves: (2, D), over its first half and its second.
    """

    delays_ms: np.ndarray
    whole: np.ndarray
    halves: np.ndarray


class Expert(Protocol):
    """What hears and sees. `name` goes into the ledger."""

    @property
    def name(self) -> str: ...

    def curves(self, row: Row) -> Curves: ...

    def confidence(self, curve: np.ndarray, best: int, speech_s: float) -> float:
        """How far delay `best` of a curve stands out."""
        ...

    def distance(self, peak: float) -> float:
        """How unlike lips and sound are where the curve has this value."""
        ...


def best_delay(curve: np.ndarray, delays_ms: np.ndarray, max_offset_ms: float) -> int:
    """Index of the best delay within reach."""
    return int(np.where(np.abs(delays_ms) <= max_offset_ms, curve, -np.inf).argmax())


def halves_of(num_frames: int) -> tuple[slice, slice]:
    """The first and the second half of a clip's frames."""
    return slice(0, num_frames // 2), slice(num_frames // 2, num_frames)


def curves_of(curve: Callable[[slice], np.ndarray], delays_ms: np.ndarray, num_frames: int) -> Curves:
    """The curves of a clip, from a function that makes one of some of its frames."""
    return Curves(delays_ms, curve(slice(0, num_frames)), np.stack([curve(half) for half in halves_of(num_frames)]))
