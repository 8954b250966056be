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


@dataclass(frozen=True)
class FaceTrack:
    """The face through the video's frames.

    Args:
        found: (T,) whether a frame has a face that is edited.
        boxes: (T, 4) crop boxes in source pixels, smoothed over each run of frames with a face.
        points: (T, 478, 3) landmarks in crop pixels.
    """

    found: Bool[np.ndarray, " t"]
    boxes: Float[np.ndarray, "t 4"]
    points: Float[np.ndarray, "t p xyz"]

    def runs(self) -> list[slice]:
        return runs_of(self.found)


def runs_of(found: Bool[np.ndarray, " t"]) -> list[slice]:
    """Stretches of frames in a row with a face."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], found, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def follow_face(frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: Fraction, weights: WeightStore) -> FaceTrack:
    """First pass: landmarks of every frame, crop boxes of every run."""
    seen: list[np.ndarray | None] = []
    with LandmarkDetector(weights, FaceFinder(weights)) as detector:
        for i, rgb in enumerate(frames):
            face = detector(rgb, float(i / fps))
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
    return FaceTrack(found, boxes, points)
