"""Small real pictures and videos, made on the spot from a photo that ships with scikit-image (NASA, public domain)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from stages.core.records import Row
from stages.face.crop import crop_boxes, crop_face, encode_jpeg, to_crop
from stages.face.landmarks import LandmarkDetector
from stages.media import write_video

FACE_CENTRE = (222, 112)
"""x, y of the nose in `data.astronaut()`, whose face is about 90 px wide."""


def photo() -> np.ndarray:
    """(512, 512, 3) uint8: the astronaut's head and shoulders at twice the size; the face is about 190 px wide."""
    x, y = FACE_CENTRE
    return cv2.resize(data.astronaut()[0 : y + 144, x - 128 : x + 128], (512, 512), interpolation=cv2.INTER_CUBIC)


def blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def place(frame: np.ndarray, picture: np.ndarray, corner: tuple[int, int], scale: float) -> np.ndarray:
    """The frame with the scaled picture's upper left corner at x, y; what stands over is cut off."""
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    x, y = corner
    out = frame.copy()
    room = out[y : y + small.shape[0], x : x + small.shape[1]]
    room[:] = small[: room.shape[0], : room.shape[1]]
    return out


def film(path: Path, frames: list[np.ndarray], fps: int = 25, sound: bool = True) -> Path:
    """A video of these frames, with a 200 Hz tone."""
    num_samples = round(len(frames) / fps * 16_000)
    tone = 0.2 * np.sin(2 * np.pi * 200 * np.arange(num_samples) / 16_000)
    write_video(path, frames, Fraction(fps), tone.astype(np.float32) if sound else None)
    return path


def clip_of(detector: LandmarkDetector, pictures: list[np.ndarray]) -> Row:
    """What the tracker would hand on of frames with one face each."""
    faces = [detector(picture, 0.0) for picture in pictures]
    assert all(face is not None for face in faces)
    points = np.stack([face.points for face in faces if face is not None])
    boxes = np.concatenate([crop_boxes(one[None]) for one in points])
    crops = [crop_face(picture, box) for picture, box in zip(pictures, boxes, strict=True)]
    return {
        "source_id": "a",
        "face_jpeg": [encode_jpeg(crop, 90) for crop in crops],
        "landmarks": to_crop(points, boxes).reshape(len(points), -1).astype(np.float16),
        "crop_box_xyxy_px": boxes,
    }
