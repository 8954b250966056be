"""Usable stretches of a shot, reported frame by frame and a few frames late. Reads no pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from stages.core.reasons import DropReason

TROUBLES = (DropReason.MULTI_FACE, DropReason.MOUTH_HIDDEN, DropReason.POSE, DropReason.MOUTH_STATIC)
"""Faults that a look at a frame can find, the gravest first."""


class StretchFinder:
    """Gives for every frame the reason that makes it unusable, or None.

    Every n-th frame is a look. A fault counts where two of three successive looks find it. A frame is free of a fault
    only if the looks on both sides are.

    Args:
        look_every_frames: distance of two looks in frames.
        max_gap_frames: largest gap without a face that is taken for a miss of the detector; in a longer one the face is
            lost.
    """

    def __init__(self, look_every_frames: int, max_gap_frames: int) -> None:
        self._every, self._max_gap = look_every_frames, max_gap_frames
        self._found: list[bool] = []
        self._jumped: set[int] = set()
        self._looks: list[frozenset[DropReason]] = []
        self._num_reported = 0

    @property
    def is_look(self) -> bool:
        """Whether the next frame is a look."""
        return len(self._found) % self._every == 0

    def push(
        self, found: bool, *, jumped: bool = False, troubles: Iterable[DropReason] = ()
    ) -> list[DropReason | None]:
        """The results that are certain after this frame, in the order of the frames.

        Args:
            found: whether the frame shows a face.
            jumped: whether it cannot be the face of the frame before.
            troubles: members of `TROUBLES` that a look found; ignored between two looks.
        """
        if self.is_look:
            self._looks.append(frozenset(troubles))
        if jumped:
            self._jumped.add(len(self._found))
        self._found.append(found)
        certain = min(self._every * (len(self._looks) - 2) + 1, len(self._found) - self._max_gap)
        return self._tell(certain)

    def finish(self) -> list[DropReason | None]:
        """The remaining results at the end of the shot."""
        return self._tell(len(self._found))

    def _tell(self, end: int) -> list[DropReason | None]:
        reasons = [self._of_frame(idx) for idx in range(self._num_reported, end)]
        self._num_reported += len(reasons)
        return reasons

    def _of_frame(self, idx: int) -> DropReason | None:
        if self._is_lost(idx):
            return DropReason.FACE_LOST
        if idx in self._jumped:
            return DropReason.IDENTITY_CHANGE
        before, behind = idx // self._every, -(-idx // self._every)
        found = self._at_look(before) | self._at_look(min(behind, len(self._looks) - 1))
        return next((trouble for trouble in TROUBLES if trouble in found), None)

    def _at_look(self, idx: int) -> frozenset[DropReason]:
        last = len(self._looks) - 1
        votes = Counter(trouble for k in (idx - 1, idx, idx + 1) for trouble in self._looks[min(max(k, 0), last)])
        return frozenset(trouble for trouble, number in votes.items() if number > 1)

    def _is_lost(self, idx: int) -> bool:
        """Whether the frame lies in a gap longer than allowed."""
        first = last = idx
        while first >= 0 and not self._found[first] and last - first <= self._max_gap:
            first -= 1
        while last < len(self._found) and not self._found[last] and last - first <= self._max_gap + 1:
            last += 1
        return last - first - 1 > self._max_gap


def cut_evenly(num_frames: int, max_frames: int) -> list[int]:
    """Lengths of the clips of a stretch: as few as possible, none more than one frame longer than another."""
    num_clips = -(-num_frames // max_frames)
    return [num_frames * (k + 1) // num_clips - num_frames * k // num_clips for k in range(num_clips)]
