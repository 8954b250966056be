"""Shots of a whole video, and the faces in each, from one low-resolution decode."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

import cv2

from stages.core.ranges import ranged
from stages.core.reasons import Dropped, DropReason
from stages.core.records import Row
from stages.core.weights import WeightStore
from stages.face.faces import FaceFinder, shorter_sides
from stages.media import SourceFrame, decode_frames
from stages.shots.cuts import CutConfig, CutFinder

THUMB_RATIO = 4
"""Largest width of a thumbnail over its greatest height. JPEG takes 65,535 px, a strip of a picture is wider."""


@dataclass(frozen=True)
class ScanConfig:
    """Settings of the search for shots and faces."""

    # Approximate height to which frames are thinned for finding cuts. PySceneDetect itself works at 256 px of width
    cut_height_px: int = ranged(144, low=1)
    look_fps: float = ranged(2.0, above=0)  # Rate of looks for faces, in Hz. At 2 Hz a 3 s clip has six
    # Scale of the picture in which faces are searched. At 0.3 a 90 px face keeps 27 px, and YuNet finds 10 px; the cost
    # goes with the area
    look_scale: float = ranged(0.3, above=0, high=1)
    # Least longer side of the picture in which faces are searched
    min_look_side_px: int = ranged(320, low=1, at_most="max_look_side_px")
    max_look_side_px: int = ranged(640, low=1)  # Largest longer side of the picture in which faces are searched
    min_face_conf: float = 0.7  # Least YuNet score of a face. Below 0.7 are hands and patterns
    # Least side of a second face, over the largest face's. Smaller ones are posters and passers-by
    second_face_ratio: float = 0.25
    thumb_height_px: int = ranged(128, low=1)  # Height of a look's thumbnail. Very wide pictures have a lower one
    coarse_decode: bool = True  # Decode without the deblocking filter, which is a quarter cheaper
    cuts: CutConfig = field(default_factory=CutConfig)


@dataclass(frozen=True)
class Look:
    """Faces of one frame.

    Args:
        face_sides_px: shorter sides of the faces in source pixels, the largest first.
    """

    time_s: float
    face_sides_px: tuple[float, ...]
    thumb_jpeg: bytes

    def shows_several(self, second_face_ratio: float) -> bool:
        sides_px = self.face_sides_px
        return len(sides_px) > 1 and sides_px[1] >= second_face_ratio * sides_px[0]


def summarise_looks(looks: list[Look], second_face_ratio: float, start_s: float, end_s: float) -> Row:
    """The SCAN columns about faces of the shot [start_s, end_s); without a look only the number of looks."""
    row: Row = {"shot_num_looks": len(looks)}
    if not looks:
        return row
    seen = [look.face_sides_px for look in looks if look.face_sides_px]
    several = [look.shows_several(second_face_ratio) for look in looks]
    row |= {"shot_face_ratio": len(seen) / len(looks), "shot_multi_face_ratio": sum(several) / len(looks)}
    row["shot_alone_s"] = _longest_alone_s([look.time_s for look in looks], several, start_s, end_s)
    if seen:
        row["shot_face_px"] = median(sides[0] for sides in seen)
    return row | {"thumb_jpeg": looks[len(looks) // 2].thumb_jpeg}


def _longest_alone_s(times_s: list[float], several: list[bool], start_s: float, end_s: float) -> float:
    """The longest time between looks at several faces, or an end of the shot; isolated looks count as errors."""
    around = [several[0], *several, several[-1]]
    crowded = [time_s for k, time_s in enumerate(times_s) if sum(around[k : k + 3]) > 1]
    return max(after - before for before, after in pairwise([start_s, *crowded, end_s]))


class ShotScanner:
    """Cuts a source into shots and searches for faces in one pass."""

    def __init__(self, config: ScanConfig, weights: WeightStore) -> None:
        self._config = config
        self._faces = FaceFinder(weights, config.max_look_side_px, config.min_face_conf)

    def __call__(self, row: Row) -> Iterator[Row]:
        """One row per shot; shots are half-open, in order and cover the video, or its spans.

        A span without a frame gives a row with the fault NO_SPAN.

        Raises:
            Dropped: CORRUPT, TRUNCATED, NO_VIDEO.
        """
        path = Path(row["media_path"])
        if row.get("spans") is None:
            shots = list(self._shots(path))
            if not shots:
                raise Dropped(DropReason.CORRUPT, f"no frame of {path.name} can be decoded")
        else:
            shots = list(self._shots_of_spans(path, row))
        for idx, shot in enumerate(shots):
            yield row | {"shot_idx": idx, "num_shots": len(shots)} | shot

    def _shots_of_spans(self, path: Path, row: Row) -> Iterator[Row]:
        for (start_s, end_s), name in zip(row["spans"].tolist(), row["span_names"], strict=True):
            shots = list(self._shots(path, start_s, end_s)) if start_s < row["duration_s"] else []
            yield from (shot | {"span": name} for shot in shots)
            if not shots:
                detail = f"no frame from {start_s:g} to {end_s:g} s in {row['duration_s']:.2f} s"
                fault = {"fault_reason": str(DropReason.NO_SPAN), "fault_detail": detail}
                yield {"shot_start_s": start_s, "shot_end_s": start_s, "shot_num_looks": 0, "span": name} | fault

    def _shots(self, path: Path, from_s: float = 0.0, to_s: float | None = None) -> Iterator[Row]:
        """Shots of [from_s, to_s); none without a frame."""
        finder, looks = CutFinder(self._config.cuts), list[Look]()
        start_s, end_s, due_s = None, 0.0, 0.0
        for frame in decode_frames(path, from_s, to_s, coarse=self._config.coarse_decode):
            if start_s is None:
                start_s = due_s = frame.pts_s
            step_px = max(2, 2 * round(min(frame.size_px) / self._config.cut_height_px / 2))
            cuts = finder.push(frame.pts_s, frame.sampled(step_px))
            if frame.pts_s >= due_s:
                looks.append(self._look(frame))
                due_s = max(due_s + 1 / self._config.look_fps, frame.pts_s)
            end_s = min(frame.pts_s + frame.duration_s, to_s or math.inf)
            for cut_s in cuts:
                yield self._shot(start_s, cut_s, [look for look in looks if look.time_s < cut_s])
                start_s, looks = cut_s, [look for look in looks if look.time_s >= cut_s]
        if start_s is None:
            return
        for cut_s in finder.finish():
            yield self._shot(start_s, cut_s, [look for look in looks if look.time_s < cut_s])
            start_s, looks = cut_s, [look for look in looks if look.time_s >= cut_s]
        yield self._shot(start_s, end_s, looks)

    def _shot(self, start_s: float, end_s: float, looks: list[Look]) -> Row:
        faces = summarise_looks(looks, self._config.second_face_ratio, start_s, end_s)
        return {"shot_start_s": start_s, "shot_end_s": end_s} | faces

    def _look(self, frame: SourceFrame) -> Look:
        side_px = max(frame.size_px)
        shortest, longest = self._config.min_look_side_px, self._config.max_look_side_px
        rgb = frame.rgb(min(longest, max(shortest, round(side_px * self._config.look_scale))))
        scale = side_px / max(rgb.shape[:2])
        sides_px = tuple(sorted((shorter_sides(self._faces(rgb)) * scale).tolist(), reverse=True))
        height_px = self._config.thumb_height_px
        scale = min(height_px / rgb.shape[0], THUMB_RATIO * height_px / rgb.shape[1])
        size_px = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
        thumb = cv2.resize(rgb, size_px, interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(thumb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
        return Look(frame.pts_s, sides_px, jpeg.tobytes())
