"""Tracking of the face in a video to be dubbed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from tempfile import TemporaryFile

import numpy as np
from jaxtyping import Bool, Float, UInt8

from stages.core.records import NUM_LANDMARKS
from stages.core.weights import WeightStore
from stages.face.crop import crop_boxes, to_crop
from stages.face.faces import FaceFinder
from stages.face.landmarks import LandmarkDetector

MIN_RUN_FRAMES = 5
"""Least length of a run with a face; a shorter one is taken for a false detection and is not edited."""
LOOKS_PER_S = 5
"""Rate at which all faces are searched, which costs twice as much as tracking one."""
GREY = 128
CHUNK_FRAMES = 1500
"""Frames of a chunk that is processed at once, so that memory does not grow with the video."""
CONTEXT_FRAMES = 50
"""Context on each side of a chunk: boxes are smoothed over 45 frames, and so equal those of the whole run."""


@dataclass(frozen=True)
class FaceTrack:
    """The face through the video's frames.

    Args:
        found: (T,), whether a frame has a face that is edited.
        boxes: (T, 4) crop boxes in source pixels, smoothed over each run of frames with a face.
        points: (T, 478, 3) landmarks in crop pixels, in a temporary file.
        max_faces: largest number of faces found at once.
    """

    found: Bool[np.ndarray, " t"]
    boxes: Float[np.ndarray, "t 4"]
    points: Float[np.ndarray, "t p xyz"]
    max_faces: int = 1

    def runs(self) -> list[slice]:
        return runs_of(self.found)


def runs_of(found: Bool[np.ndarray, " t"]) -> list[slice]:
    """Runs of consecutive frames with a face."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], found, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def chunks_of(run: slice, context: int) -> list[tuple[int, slice, int]]:
    """A run in chunks, each with the bounds of the chunk and of its context."""
    starts = range(run.start, run.stop, CHUNK_FRAMES)
    chunks = [slice(start, min(start + CHUNK_FRAMES, run.stop)) for start in starts]
    return [(max(run.start, c.start - context), c, min(run.stop, c.stop + context)) for c in chunks]


class OneOfSeveral:
    """Hides all faces but one from the detector, which would jump between them.

    It shows the face at the last place of the tracked face, of any size; at first, and in a new scene, the requested
    one.

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
        """Record the place of the tracked face."""
        if points is not None:
            self._last = points[:, :2].mean(axis=0)


def follow_face(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: Fraction, weights: WeightStore, place: int = 0
) -> FaceTrack:
    """First pass: landmarks of every frame, crop boxes of every run.

    Args:
        place: number of the face if there are several: 0 for the largest, n for the n-th from the left.
    """
    seen: list[bool] = []
    finder = FaceFinder(weights)
    nowhere = np.zeros((NUM_LANDMARKS, 3), np.float32)
    others, every = OneOfSeveral(finder, place), max(1, round(fps / LOOKS_PER_S))
    with TemporaryFile() as file, LandmarkDetector(weights, finder) as detector:
        for i, rgb in enumerate(frames):
            if i % every == 0:
                others.look(rgb)
            face = detector(others.show(rgb), float(i / fps))
            others.follow(None if face is None else face.points)
            seen.append(face is not None)
            file.write((nowhere if face is None else face.points).tobytes())
        file.flush()
        points = np.memmap(file, np.float32, "r+", shape=(len(seen), *nowhere.shape)) if seen else nowhere[None, :0]
    found = np.array(seen, bool)
    for run in runs_of(found):
        found[run] = run.stop - run.start >= MIN_RUN_FRAMES
    boxes = np.zeros((len(seen), 4), np.float32)
    chunks = [chunk for run in runs_of(found) for chunk in chunks_of(run, CONTEXT_FRAMES)]
    for first, chunk, last in chunks:
        boxes[chunk] = crop_boxes(points[first:last])[chunk.start - first : chunk.stop - first]
    for _, chunk, _ in chunks:
        points[chunk] = to_crop(points[chunk], boxes[chunk])
    return FaceTrack(found, boxes, points, others.max_faces)
