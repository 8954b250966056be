"""Follow the face through a shot: the only full-resolution look at the pictures.

One shot in, its clips out. Downstream stages see 256x256 crops, landmarks and 16 kHz sound, never a frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from pipeline.records import CLIP_FPS, CROP_PX, Dropped, DropReason, Row
from pipeline.weights import WeightStore
from stages.crop import average_down, crop_boxes, crop_face, encode_jpeg, to_crop
from stages.faces import FaceFinder, shorter_sides, shrink
from stages.landmarks import RIGID, FaceLandmarks, LandmarkDetector, head_angles
from stages.media import VideoFrame, decode_audio, decode_video

THUMB_PX = 128
REGION_MARGIN = 0.2
"""Of a frame's own box, kept around it on each side: the smoothed box, known only later, lies within."""


@dataclass(frozen=True)
class TrackConfig:
    """How a shot is followed.

    Args:
        max_clip_s: longer shots are cut into clips of near-equal length up to this.
        look_every_frames: a second face is looked for in every so manieth frame.
        look_side_px: longer side of the pictures in which faces are looked for.
        min_face_conf: YuNet's score of a face, in 0-1.
        min_landmark_conf: score in 0-1 that MediaPipe asks of a face's presence, of its detection and of tracking.
        min_second_face: a smaller face is background: its side over the main face's.
        max_gap_frames: landmarks are interpolated over at most this many frames; a longer gap loses the clip.
        jpeg_quality: of the crops.
    """

    max_clip_s: float = 8.0  # keeps a row with crops, depth and features under 10 MB
    look_every_frames: int = 12  # 2 Hz, as in scan
    look_side_px: int = 480  # a 90 px face in 4K scores .74 at it, .38 at 320
    min_face_conf: float = 0.6  # real faces had .69 and more, false ones .58 and less
    min_landmark_conf: float = 0.5  # MediaPipe's own
    min_second_face: float = 0.25  # people in the background are about a tenth
    max_gap_frames: int = 5  # 0.2 s, a blink or a flash
    jpeg_quality: int = 90  # about 12 KB a crop


def clip_lengths(num_frames: int, max_frames: int) -> list[int]:
    """Frames of each clip of a shot: as few clips as possible, none more than one frame longer than another."""
    num_clips = -(-num_frames // max_frames)
    return [num_frames * (k + 1) // num_clips - num_frames * k // num_clips for k in range(num_clips)]


def fill_gaps(points: np.ndarray, found: np.ndarray, max_gap_frames: int) -> np.ndarray:
    """Interpolate what is missing linearly over time; before the first and after the last it stands still.

    Args:
        points: (T, ...) values, meaningless where not found.
        found: (T,) bool, at least one of them.
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
    """How landmarks of the skull shake, in face widths a frame^2 at 25 fps: 95th percentile of their acceleration.

    Times are those of the source's frames, and repeated frames count once: 30 frames a second shown at 25, or 15, are
    uneven steps of an even motion.

    Args:
        points: (T, 478, 3) source pixels. Of a frame counts the median acceleration of its rigid points.
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


@dataclass(frozen=True)
class _Region:
    """The part of a frame that its crop will be cut from, shrunk by whole factors where it has pixels to spare."""

    rgb: np.ndarray
    origin: np.ndarray
    shrink: np.ndarray

    @staticmethod
    def around(rgb: np.ndarray, box: np.ndarray) -> _Region:
        height, width = rgb.shape[:2]
        side = box[2:] - box[:2]
        low = np.clip(np.floor(box[:2] - REGION_MARGIN * side), 0, (width - 1, height - 1)).astype(int)
        high = np.clip(np.ceil(box[2:] + REGION_MARGIN * side), low + 1, (width, height)).astype(int)
        shrink = np.clip(side // CROP_PX, 1, high - low).astype(int)
        high = low + (high - low) // shrink * shrink
        pixels = average_down(rgb[low[1] : high[1], low[0] : high[0]], int(shrink[0]), int(shrink[1]))
        pixels = pixels.copy() if pixels.base is not None else pixels  # a view would keep the whole frame
        return _Region(pixels, low, shrink)

    def crop(self, box: np.ndarray) -> np.ndarray:
        origin, shrink = np.tile(self.origin, 2), np.tile(self.shrink, 2)
        return crop_face(self.rgb, (box - origin) / shrink)


class _Clip:
    """What is gathered of one clip while its frames pass by."""

    def __init__(self, num_planned: int, config: TrackConfig) -> None:
        self.config = config
        self.thumb_idx = num_planned // 2
        self.thumb_jpeg = b""
        self.pts_s: list[float] = []
        self.faces: list[FaceLandmarks | None] = []
        self.regions: list[_Region] = []
        self.second_faces: list[bool] = []
        self._box: np.ndarray | None = None
        self._num_missing = 0
        self._lost = False

    def add(self, frame: VideoFrame, face: FaceLandmarks | None) -> None:
        if len(self.pts_s) in (0, self.thumb_idx):
            self.thumb_jpeg = encode_jpeg(shrink(frame.rgb, THUMB_PX), self.config.jpeg_quality)
        self.pts_s.append(frame.pts_s)
        self.faces.append(face)
        self._num_missing = 0 if face else self._num_missing + 1
        self._lost = self._lost or self._num_missing > self.config.max_gap_frames
        if self._lost:
            self.regions.clear()  # what is still measured needs no pictures
            return
        if face is not None:
            self._box = crop_boxes(face.points[None])[0]
        whole = _Region(frame.rgb, np.zeros(2, int), np.ones(2, int))
        self.regions.append(whole if self._box is None else _Region.around(frame.rgb, self._box))

    def measure(self) -> Row:
        """TRACK columns that need no crop; of the pose and size only where there are landmarks."""
        found = [face for face in self.faces if face is not None]
        row: Row = {
            "num_frames": len(self.faces),
            "track_ratio": len(found) / len(self.faces),
            "track_multi_face_ratio": float(np.mean(self.second_faces)),
            "thumb_jpeg": self.thumb_jpeg,
        }
        if found:
            points = np.stack([face.points for face in found])
            pts_s = np.array([pts_s for pts_s, face in zip(self.pts_s, self.faces, strict=True) if face is not None])
            sides = np.ptp(points[..., :2], axis=1)
            angles = np.percentile(np.abs(head_angles(np.stack([face.transform for face in found]))), 95, axis=0)
            row |= {"face_px": float(np.median(sides.min(axis=1))), "jitter": measure_jitter(points, pts_s)}
            row |= dict(zip(("yaw_deg", "pitch_deg", "roll_deg"), map(float, angles), strict=True))
        return row

    def crops(self) -> Row:
        """Payload of the pictures.

        Raises:
            Dropped: NO_FACE, or FACE_LOST over too long a gap.
        """
        found = np.array([face is not None for face in self.faces])
        if not found.any():
            raise Dropped(DropReason.NO_FACE, f"no face in any of {len(found)} frames")
        blank = next(face for face in self.faces if face is not None)
        faces = [face or blank for face in self.faces]
        points = fill_gaps(np.stack([face.points for face in faces]), found, self.config.max_gap_frames)
        scores = fill_gaps(np.stack([face.blendshapes for face in faces]), found, self.config.max_gap_frames)
        boxes = crop_boxes(points)
        crops = (region.crop(box) for region, box in zip(self.regions, boxes, strict=True))
        return {
            "pts_s": np.array(self.pts_s),
            "face_jpeg": [encode_jpeg(crop, self.config.jpeg_quality) for crop in crops],
            "landmarks": to_crop(points, boxes).reshape(len(points), -1).astype(np.float16),
            "blendshapes": scores.astype(np.float16),
            "crop_box_xyxy_px": boxes,
            "bbox_xyxy_px": _bounds(points),
        }


class FaceTracker:
    """Cuts a shot into clips and tracks the one face of each.

    Args:
        config: how.
        weights: where `face_landmarker` and `yunet` are found.
    """

    def __init__(self, config: TrackConfig, weights: WeightStore) -> None:
        self.config = config
        self._finder = FaceFinder(weights, config.look_side_px, config.min_face_conf)
        self._landmarks = LandmarkDetector(weights, self._finder, config.min_landmark_conf)

    def __call__(self, row: Row) -> Iterator[Row]:
        """The shot's clips, with the TRACK columns and the payload.

        A clip that can't be used is yielded all the same, with `fault_reason`, `fault_detail` and what was measured.
        """
        path, start_s, end_s = Path(row["media_path"]), row["shot_start_s"], row["shot_end_s"]
        max_frames = int(self.config.max_clip_s * CLIP_FPS)
        lengths = clip_lengths(max(1, round((end_s - start_s) * CLIP_FPS)), max_frames)
        frames = decode_video(path, start_s, end_s, fps=Fraction(CLIP_FPS))
        begin = 0
        for clip_idx, length in enumerate(lengths):
            clip_start_s = start_s + begin / CLIP_FPS
            begin += length
            clip: Row = {**row, "clip_idx": clip_idx, "num_clips": len(lengths), "start_s": clip_start_s}
            clip |= {"end_s": start_s + begin / CLIP_FPS, "num_frames": 0}
            try:
                gathered = self._gather(islice(frames, length), length)
                if not gathered.faces:
                    raise Dropped(DropReason.TRUNCATED, f"no frame from {clip_start_s:.2f} s on")
                clip |= gathered.measure()
                clip["end_s"] = clip_start_s + len(gathered.faces) / CLIP_FPS
                audio = decode_audio(path, clip_start_s, clip["end_s"])
                yield clip | gathered.crops() | {"audio_pcm16": _pcm16(audio)}
            except Dropped as fault:
                yield clip | {"fault_reason": str(fault.reason), "fault_detail": fault.detail}

    def close(self) -> None:
        self._landmarks.close()

    def _gather(self, frames: Iterable[VideoFrame], num_planned: int) -> _Clip:
        clip = _Clip(num_planned, self.config)
        self._landmarks.reset()
        for idx, frame in enumerate(frames):
            face = self._landmarks(frame.rgb, frame.time_s)
            clip.add(frame, face)
            if idx % self.config.look_every_frames == 0:
                clip.second_faces.append(self._second_face(frame.rgb, face))
        return clip

    def _second_face(self, rgb: np.ndarray, face: FaceLandmarks | None) -> bool:
        """Whether anyone but the followed face is as large as `min_second_face` of it."""
        boxes = self._finder(rgb)
        sides = shorter_sides(boxes)
        if face is None:
            return int((sides >= self.config.min_second_face * sides.max(initial=0)).sum()) > 1
        x0, y0, x1, y1 = _bounds(face.points[None])[0]
        centre_x, centre_y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        elsewhere = (centre_x < x0) | (centre_x > x1) | (centre_y < y0) | (centre_y > y1)
        return bool((elsewhere & (sides >= self.config.min_second_face * min(x1 - x0, y1 - y0))).any())


def _bounds(points: np.ndarray) -> np.ndarray:
    """(T, P, 3) to (T, 4) xyxy."""
    return np.concatenate([points[..., :2].min(axis=1), points[..., :2].max(axis=1)], axis=1)


def _pcm16(audio: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(audio, -1, 1) * 32767).astype(np.int16)
