"""Agreement curves of a sync expert: the agreement of lips and sound at each delay of the sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stages.core.records import Row


@dataclass(frozen=True)
class Curves:
    """Agreement of lips and sound at each delay of the sound, in the expert's own measure; higher is better.

    Args:
        delays_ms: (D,) ascending; positive if the sound is late.
        whole: (D,), agreement over the whole clip.
        halves: (2, D), agreement over its first half and its second.
    """

    delays_ms: np.ndarray
    whole: np.ndarray
    halves: np.ndarray


class Expert(Protocol):
    """A sync expert. Its `name` is written to the ledger."""

    @property
    def name(self) -> str: ...

    def curves(self, row: Row) -> Curves: ...

    def confidence(self, curve: np.ndarray, best: int, speech_s: float) -> float:
        """Confidence of delay `best` of a curve: how far it stands out."""
        ...

    def distance(self, peak: float) -> float:
        """Distance of lips and sound at this value of the curve."""
        ...


def best_delay(curve: np.ndarray, delays_ms: np.ndarray, max_offset_ms: float) -> int:
    """Index of the best delay within `max_offset_ms`."""
    return int(np.where(np.abs(delays_ms) <= max_offset_ms, curve, -np.inf).argmax())


def halves_of(num_frames: int) -> tuple[slice, slice]:
    """The first and the second half of a clip's frames."""
    return slice(0, num_frames // 2), slice(num_frames // 2, num_frames)


def curves_of(curve: Callable[[slice], np.ndarray], delays_ms: np.ndarray, num_frames: int) -> Curves:
    """The curves of a clip, from a function that gives the curve of some of its frames."""
    return Curves(delays_ms, curve(slice(0, num_frames)), np.stack([curve(half) for half in halves_of(num_frames)]))
