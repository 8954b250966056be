"""Measurements and crops of a clip, from its tracked frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.reasons import Dropped, DropReason
from stages.core.records import CLIP_FPS, CROP_PX, Row
from stages.face.crop import average_down, crop_boxes, crop_face, encode_jpeg, to_crop
from stages.face.detail import looks, measure_detail
from stages.face.flatness import measure_flatness
from stages.face.landmarks import RIGID, FaceLandmarks, head_angles

REGION_MARGIN = 0.2
"""Margin around a frame's own box, in sides of the box, so that the smoothed box, known only later, lies within."""


@dataclass(frozen=True)
class Region:
    """The part of a frame that its crop will be cut from, shrunk by an integer factor if it is larger than needed."""

    rgb: np.ndarray
    origin: np.ndarray
    shrink: np.ndarray

    @staticmethod
    def around(rgb: np.ndarray, box: np.ndarray) -> Region:
        height, width = rgb.shape[:2]
        side = box[2:] - box[:2]
        low = np.clip(np.floor(box[:2] - REGION_MARGIN * side), 0, (width - 1, height - 1)).astype(int)
        high = np.clip(np.ceil(box[2:] + REGION_MARGIN * side), low + 1, (width, height)).astype(int)
        shrink = np.clip(side // CROP_PX, 1, high - low).astype(int)
        high = low + (high - low) // shrink * shrink
        pixels = average_down(rgb[low[1] : high[1], low[0] : high[0]], int(shrink[0]), int(shrink[1]))
        pixels = pixels.copy() if pixels.base is not None else pixels  # a view would keep the whole frame
        return Region(pixels, low, shrink)

    def crop(self, box: np.ndarray) -> np.ndarray:
        origin, shrink = np.tile(self.origin, 2), np.tile(self.shrink, 2)
        return crop_face(self.rgb, (box - origin) / shrink)


@dataclass(frozen=True)
class SeenFrame:
    """One tracked frame of a shot.

    Args:
        region: None where the face is lost; the other measurements need no pictures.
        second_face: result of the last look at the whole picture.
        preview: small copy of the whole picture, at a look.
    """

    pts_s: float
    face: FaceLandmarks | None
    region: Region | None
    second_face: bool
    preview: np.ndarray | None


def measure_clip(frames: Sequence[SeenFrame], jpeg_quality: int) -> Row:
    """TRACK columns that need no crop; pose and size only where there are landmarks."""
    faces = [frame.face for frame in frames if frame.face is not None]
    row: Row = {
        "num_frames": len(frames),
        "track_ratio": len(faces) / len(frames),
        "track_multi_face_ratio": float(np.mean([frame.second_face for frame in frames])),
    }
    previews = [frame.preview for frame in frames if frame.preview is not None]
    if previews:
        row["thumb_jpeg"] = encode_jpeg(previews[len(previews) // 2], jpeg_quality)
    if faces:
        points = np.stack([face.points for face in faces])
        pts_s = np.array([frame.pts_s for frame in frames if frame.face is not None])
        sides = np.ptp(points[..., :2], axis=1)
        angles = np.percentile(np.abs(head_angles(np.stack([face.transform for face in faces]))), 95, axis=0)
        row |= {"face_px": float(np.median(sides.min(axis=1))), "jitter": measure_jitter(points, pts_s)}
        row |= dict(zip(("yaw_deg", "pitch_deg", "roll_deg"), map(float, angles), strict=True))
    return row


def crop_clip(frames: Sequence[SeenFrame], max_gap_frames: int, jpeg_quality: int) -> Row:
    """The pictures' payload, `crop_bytes`, `detail_px` and `flat_ratio`.

    Raises:
        Dropped: NO_FACE, or FACE_LOST over a gap that is too long.
    """
    found = np.array([frame.face is not None for frame in frames])
    if not found.any():
        raise Dropped(DropReason.NO_FACE, f"no face in any of {len(found)} frames")
    blank = next(frame.face for frame in frames if frame.face is not None)
    faces = [frame.face or blank for frame in frames]
    points = fill_gaps(np.stack([face.points for face in faces]), found, max_gap_frames)
    scores = fill_gaps(np.stack([face.blendshapes for face in faces]), found, max_gap_frames)
    boxes = crop_boxes(points)
    landmarks = to_crop(points, boxes)
    regions = [frame.region for frame in frames if frame.region is not None]
    looked, jpegs, crops = looks(len(regions)), [], []
    for idx, (region, box) in enumerate(zip(regions, boxes, strict=True)):
        crop = region.crop(box)
        jpegs.append(encode_jpeg(crop, jpeg_quality))
        if idx in looked:
            crops.append(crop)
    return {
        "pts_s": np.array([frame.pts_s for frame in frames]),
        "face_jpeg": jpegs,
        "crop_bytes": float(np.mean([len(jpeg) for jpeg in jpegs])),
        "detail_px": measure_detail(crops),
        "flat_ratio": measure_flatness(crops, landmarks[looked]),
        "landmarks": landmarks.reshape(len(points), -1).astype(np.float16),
        "face_found": found,
        "blendshapes": scores.astype(np.float16),
        "crop_box_xyxy_px": boxes,
        "bbox_xyxy_px": bounds(points),
    }


def fill_gaps(points: np.ndarray, found: np.ndarray, max_gap_frames: int) -> np.ndarray:
    """Interpolate missing values linearly over time; before the first and after the last found one they are constant.

    Args:
        points: (T, ...) values, meaningless where not found.
        found: (T,) bool, at least one True.
    Returns:
        (T, ...) float32.
    Raises:
        Dropped: FACE_LOST where more than `max_gap_frames` in a row are missing.
    """
    seen = np.flatnonzero(found)
    gaps = np.diff(np.concatenate([[-1], seen, [len(found)]])) - 1
    if gaps.max() > max_gap_frames:
        longest = int(gaps.argmax())
        begins = 0 if longest == 0 else seen[longest - 1] + 1
        raise Dropped(
            DropReason.FACE_LOST, f"no face in {gaps[longest]} frames in a row, from frame {begins} of the clip"
        )
    flat = points.reshape(len(points), -1)
    filled = np.stack([np.interp(np.arange(len(found)), seen, column[seen]) for column in flat.T], axis=1)
    return filled.reshape(points.shape).astype(np.float32)


def measure_jitter(points: np.ndarray, pts_s: np.ndarray) -> float:
    """Jitter of the skull's landmarks: 95th percentile of their acceleration, in face widths a frame^2 at 25 fps.

    Times are those of the source's frames, and repeated frames count once, because 30 or 15 fps shown at 25 are uneven
    steps of an even motion.

    Args:
        points: (T, 478, 3) source pixels; a frame counts with the median acceleration of its rigid points.
        pts_s: (T,) presentation times of the source frames.
    """
    pts_s, distinct = np.unique(pts_s, return_index=True)
    if len(distinct) < 3:
        return 0.0
    width_px = np.median(np.ptp(points[..., 0], axis=1))
    steps = np.diff(pts_s) * CLIP_FPS
    velocity = np.diff(points[distinct][:, RIGID, :2], axis=0) / steps[:, None, None]
    acceleration = np.diff(velocity, axis=0) / ((steps[1:] + steps[:-1]) / 2)[:, None, None]
    return float(np.percentile(np.median(np.linalg.norm(acceleration, axis=-1), axis=1), 95) / width_px)


def bounds(points: np.ndarray) -> np.ndarray:
    """(T, P, 3) landmarks to (T, 4) xyxy."""
    return np.concatenate([points[..., :2].min(axis=1), points[..., :2].max(axis=1)], axis=1)
