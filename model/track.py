"""The face through a video that is to be dubbed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float, UInt8

from pipeline.records import NUM_LANDMARKS
from pipeline.weights import WeightStore
from stages.crop import crop_boxes, to_crop
from stages.faces import FaceFinder
from stages.landmarks import LandmarkDetector

MIN_RUN_FRAMES = 5
"""A face seen for less is taken for a false detection and passes through."""
LOOKS_PER_S = 5
"""How often all faces of the picture are searched; it costs twice what following one does."""
GREY = 128


@dataclass(frozen=True)
class FaceTrack:
    """The face through the video's frames.

    Args:
        found: (T,) whether a frame has a face that is edited.
        boxes: (T, 4) crop boxes in source pixels, smoothed over each run of frames with a face.
        points: (T, 478, 3) landmarks in crop pixels.
        max_faces: most faces seen at once.
    """

    found: Bool[np.ndarray, " t"]
    boxes: Float[np.ndarray, "t 4"]
    points: Float[np.ndarray, "t p xyz"]
    max_faces: int = 1

    def runs(self) -> list[slice]:
        return runs_of(self.found)


def runs_of(found: Bool[np.ndarray, " t"]) -> list[slice]:
    """Stretches of frames in a row with a face."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], found, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


class OneOfSeveral:
    """Hides all faces but one from the detector, which would jump between them.

    That one is where the followed face was last, whatever its size; at first, and in a new scene, the one that is asked
    for.

    Args:
        place: 0 for the largest face, n for the n-th from the left.
    """

    def __init__(self, finder: FaceFinder, place: int) -> None:
        self._finder, self._place = finder, place
        self._last: Float[np.ndarray, "2"] | None = None
        self._hidden: Float[np.ndarray, "n 4"] = np.zeros((0, 4), np.float32)
        self.max_faces = 0

    def look(self, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Search the picture for faces."""
        boxes = self._finder(rgb)
        self.max_faces = max(self.max_faces, len(boxes))
        if len(boxes) < 2:
            self._hidden = boxes[:0]
            return
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        near = np.full(len(boxes), np.inf)
        if self._last is not None:
            near = np.linalg.norm(middles - self._last, axis=1) / np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=1)
        if near.min() < 1:
            chosen = int(near.argmin())
        else:
            chosen = int(np.argsort(middles[:, 0])[min(self._place, len(boxes)) - 1]) if self._place else 0
        self._hidden = np.delete(boxes, chosen, axis=0)

    def show(self, rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """The picture with the other faces painted over."""
        if not len(self._hidden):
            return rgb
        out = rgb.copy()
        for x0, y0, x1, y1 in np.clip(np.rint(self._hidden), 0, None).astype(int):
            out[y0:y1, x0:x1] = GREY
        return out

    def follow(self, points: Float[np.ndarray, "p xyz"] | None) -> None:
        """Where the followed face was found."""
        if points is not None:
            self._last = points[:, :2].mean(axis=0)


def follow_face(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: Fraction, weights: WeightStore, place: int = 0
) -> FaceTrack:
    """First pass: landmarks of every frame, crop boxes of every run.

    Args:
        place: which face, where there are several: 0 for the largest, n for the n-th from the left.
    """
    seen: list[np.ndarray | None] = []
    finder = FaceFinder(weights)
    others, every = OneOfSeveral(finder, place), max(1, round(fps / LOOKS_PER_S))
    with LandmarkDetector(weights, finder) as detector:
        for i, rgb in enumerate(frames):
            if i % every == 0:
                others.look(rgb)
            face = detector(others.show(rgb), float(i / fps))
            others.follow(None if face is None else face.points)
            seen.append(None if face is None else face.points)
    found = np.array([points is not None for points in seen], bool)
    for run in runs_of(found):
        found[run] = run.stop - run.start >= MIN_RUN_FRAMES
    boxes = np.zeros((len(seen), 4), np.float32)
    points = np.zeros((len(seen), NUM_LANDMARKS, 3), np.float32)
    for run in runs_of(found):
        stretch = np.stack([p for p in seen[run] if p is not None])
        boxes[run] = crop_boxes(stretch)
        points[run] = to_crop(stretch, boxes[run])
    return FaceTrack(found, boxes, points, others.max_faces)
