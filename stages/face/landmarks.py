"""Facial landmarks, blendshapes and head pose of one face per frame, by MediaPipe's FaceLandmarker."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from stages.core.weights import WeightStore
from stages.face.faces import FaceFinder
from stages.face.quiet import quiet_loading

STEP_MS = 1_000_000
"""Time between frames as MediaPipe is told it.

In video mode with one face MediaPipe runs a one-euro filter over the landmarks: at the true 40 ms it delays the lips by
0.2 frames and flattens their opening by 5 %. The filter's strength falls with the step, so a step of 1,000 s leaves the
raw landmarks (0.00 frames late) and keeps what video mode is good for: the face's region comes from the last frame, so
that faces which the detector alone misses are still found, for less time.
"""

LEFT_EYE, RIGHT_EYE = (33, 133), (263, 362)
"""Outer and inner corner of the eyes, left and right as seen in the picture."""

RIGID = (*LEFT_EYE, *RIGHT_EYE, 168, 6, 197, 195)
"""Eye corners and the bridge of the nose: points that move with the skull and not with the lips."""

LIPS_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
LIPS_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
"""Closed rings around the opening of the mouth and around the lips, in order."""
LIP_RINGS = (
    LIPS_OUTER,
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306, 307, 320, 404, 315, 16, 85, 180, 90, 77),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292, 325, 319, 403, 316, 15, 86, 179, 89, 96),
    LIPS_INNER,
)
"""All 80 lip points, ring by ring from the outside."""
NUM_FACE_POINTS = 468
"""MediaPipe's face mesh without the ten iris points that follow it."""
FACE_OVAL = (
    *(10, 21, 54, 58, 67, 93, 103, 109, 127, 132, 136, 148, 149, 150, 152, 162, 172, 176),
    *(234, 251, 284, 288, 297, 323, 332, 338, 356, 361, 365, 377, 378, 379, 389, 397, 400, 454),
)
"""MediaPipe's contour points: they slide along the silhouette as the head turns, so they say little."""
LIPS = (
    *(0, 11, 12, 13, 14, 15, 16, 17, 37, 38, 39, 40, 41, 42, 61, 62, 72, 73, 74, 76),
    *(77, 78, 80, 81, 82, 84, 85, 86, 87, 88, 89, 90, 91, 95, 96, 146, 178, 179, 180, 181),
    *(183, 184, 185, 191, 267, 268, 269, 270, 271, 272, 291, 292, 302, 303, 304, 306, 307, 308, 310, 311),
    *(312, 314, 315, 316, 317, 318, 319, 320, 321, 324, 325, 375, 402, 403, 404, 405, 407, 408, 409, 415),
)
"""MediaPipe's 80 lip points: four rings of twenty."""

MOUTH_CORNERS = (61, 291)
LIP_GAP = (13, 14)
"""Lower edge of the upper lip and upper edge of the lower lip, on the middle line."""

FOREHEAD, CHIN = 10, 152
SIDES = (234, 454)
"""Ends of the face's middle line, and its outline at the height of the ears."""

WINDOW = 3.0
"""Longer side of MediaPipe's window over the face's: good for its detector, and the face has room to move."""

ROOM = 0.25
"""Room around the face, in its longer side, below which the window moves."""

_Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class FaceLandmarks:
    """One face in one frame.

    Args:
        points: (478, 3) float32: x and y in source pixels (the left edge of the picture is 0.0), z in the same unit as
            x, smaller is nearer.
        blendshapes: (52,) float32 scores in 0-1, in MediaPipe's order (`_neutral` first).
        transform: (4, 4) float32 from MediaPipe's canonical face to its camera (x right, y up, z towards it), in cm.
    """

    points: np.ndarray
    blendshapes: np.ndarray
    transform: np.ndarray


class LandmarkDetector:
    """Follows the largest face through one clip after another.

    MediaPipe's own detector sees faces down to a tenth of the frame: many a half figure is too small for it. So YuNet
    finds the face, and MediaPipe looks into a window around it, which moves only when the face is about to leave it.

    Args:
        weights: where `face_landmarker` and `yunet` are found.
        finder: a face finder to share.
        min_confidence: score in 0-1 that MediaPipe asks of a detection, of a face's presence and of tracking.
    """

    def __init__(self, weights: WeightStore, finder: FaceFinder | None = None, min_confidence: float = 0.5) -> None:
        import mediapipe
        from mediapipe.tasks.python import vision
        from mediapipe.tasks.python.core.base_options import BaseOptions

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(weights.path("face_landmarker"))),
            running_mode=vision.RunningMode.VIDEO,
            num_faces=1,
            min_face_detection_confidence=min_confidence,
            min_face_presence_confidence=min_confidence,
            min_tracking_confidence=min_confidence,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        self.finder = finder or FaceFinder(weights)
        self._mediapipe = mediapipe
        self._step = 0
        self._last_s: float | None = None
        self._window: _Window | None = None
        with quiet_loading():
            self._landmarker = vision.FaceLandmarker.create_from_options(options)
            self._detect(np.zeros((64, 64, 3), np.uint8))

    def __call__(self, rgb: np.ndarray, time_s: float) -> FaceLandmarks | None:
        """Landmarks of the face that is followed, or else of the largest; None where there is no face.

        Args:
            rgb: (H, W, 3) uint8.
            time_s: the frame's time. One that is not later than the frame before it begins a new clip.
        """
        if self._last_s is not None and time_s <= self._last_s:
            self.reset()
        self._last_s = time_s
        face = self._look(rgb, self._window) if self._window else None
        if face is None:
            window = _window_around(self.finder(rgb)[:1], rgb)
            if window != self._window:
                self._move(window)
                face = self._look(rgb, window)
        if face is None:
            self._move(None)
        elif not _comfortable(face.points, self._window, rgb):
            self._move(_window_around(_bounds(face.points)[None], rgb))
        return face

    def reset(self) -> None:
        """Forget the face: what comes next is measured as by a new detector."""
        self._move(None)
        self._last_s = None

    def _move(self, window: _Window | None) -> None:
        if window != self._window:
            self._detect(np.zeros((64, 64, 3), np.uint8))  # MediaPipe looks where the face was, in parts of the picture
            self._window = window

    def _look(self, rgb: np.ndarray, window: _Window) -> FaceLandmarks | None:
        left, top, right, bottom = window
        # An array that is not contiguous is taken without complaint, and no face is found in it.
        result = self._detect(np.ascontiguousarray(rgb[top:bottom, left:right]))
        if not result.face_landmarks:
            return None
        points = np.array([(p.x, p.y, p.z) for p in result.face_landmarks[0]], np.float32)
        points *= np.array([right - left, bottom - top, right - left], np.float32)
        points += np.array([left, top, 0], np.float32)
        blendshapes = np.array([c.score for c in result.face_blendshapes[0]], np.float32)
        return FaceLandmarks(points, blendshapes, np.asarray(result.facial_transformation_matrixes[0], np.float32))

    def close(self) -> None:
        """Give MediaPipe's memory back. Left to the interpreter's exit, it prints an error to no one's use."""
        self._landmarker.close()

    def __enter__(self) -> LandmarkDetector:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()

    def _detect(self, rgb: np.ndarray):
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=rgb)
        self._step += 1
        return self._landmarker.detect_for_video(image, self._step * STEP_MS)


def _bounds(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points[:, :2].min(axis=0), points[:, :2].max(axis=0)])


def _window_around(boxes: np.ndarray, rgb: np.ndarray) -> _Window:
    """A window around the first box, the whole frame where there is none."""
    height, width = rgb.shape[:2]
    if not len(boxes):
        return 0, 0, width, height
    x0, y0, x1, y1 = (float(v) for v in boxes[0])
    half = WINDOW / 2 * max(x1 - x0, y1 - y0, 1.0)
    x, y = min(max((x0 + x1) / 2, 0), width), min(max((y0 + y1) / 2, 0), height)
    return (
        max(0, int(x - half)),
        max(0, int(y - half)),
        min(width, math.ceil(x + half)),
        min(height, math.ceil(y + half)),
    )


def _comfortable(points: np.ndarray, window: _Window | None, rgb: np.ndarray) -> bool:
    """Whether the face has room on every side that is not the frame's edge, and fills a fair part of the window."""
    if window is None:
        return False
    x0, y0, x1, y1 = _bounds(points)
    side = max(x1 - x0, y1 - y0)
    left, top, right, bottom = window
    height, width = rgb.shape[:2]
    room = [x0 - left, y0 - top, right - x1, bottom - y1]
    at_edge = [left == 0, top == 0, right == width, bottom == height]
    cramped = any(space < ROOM * side and not edge for space, edge in zip(room, at_edge, strict=True))
    return not cramped and max(right - left, bottom - top) < 2 * WINDOW * side


def head_angles(transforms: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll of heads.

    Args:
        transforms: (T, 4, 4), as in `FaceLandmarks.transform`.
    Returns:
        (T, 3) float32 degrees; 0 is frontal and upright. Yaw is positive where the face turns to the picture's right,
        pitch where it looks down, roll where it leans to the picture's left.
    """
    rotation = np.asarray(transforms, np.float64)[:, :3, :3]
    rotation = rotation / np.linalg.norm(rotation, axis=1, keepdims=True)
    yaw = np.arctan2(rotation[:, 0, 2], rotation[:, 2, 2])
    pitch = np.arcsin(np.clip(-rotation[:, 1, 2], -1, 1))
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 1, 1])
    return np.degrees(np.stack([yaw, pitch, roll], axis=1)).astype(np.float32)
