"""Detection of jumps, where a piece of a scene is missing: person and camera stay, but everything that moves jumps.

A jump changes too little of the picture to be found as a cut. But bodies have inertia: if a head is nearly still before
and after a frame and crosses a centimetre in it, a piece is missing. So each step is compared with the steps around it,
in the landmarks and in the picture around the face.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.ranges import ranged

THINNED_PX = 144
"""Shorter side to which a frame is subsampled; then it is averaged to half of that."""
BLOCK_PX = 4
"""Side of the compared blocks of that picture, an eighteenth of its shorter side."""
AROUND = 0.5
"""Margin around a face, in its sides, that is compared too: hair and shoulders."""
REACH = 2
"""Number of steps before and after a step that it is compared with."""
PATIENCE_S = 0.5
"""Longest wait for a new frame, as in slides and frozen calls."""


@dataclass(frozen=True)
class JumpConfig:
    """Thresholds of a jump. docs/reference/filters.md has recall and false positives.

    Args:
        min_picture_step: least change of the picture at a jump, over the change of the steps around it: the geometric
            mean over the blocks of the head, also of those that never move.
        min_face_step: least move of the face at a jump, over the moves around it.
        picture_noise: change of lightness between frames that counts as noise, 0-255.
        face_noise: move of the face between frames that counts as noise, in face widths.
        min_change: least change of lightness in any block of a new frame, 0-255; a frame with less repeats the last.
        max_step_s: longest time between two frames in which a jump is found; in more a head can move anywhere.
    """

    min_picture_step: float = ranged(1.6, above=0)  # A missing frame makes 2 where all moves, and 1 where nothing does
    min_face_step: float = ranged(1.2, above=0)
    picture_noise: float = ranged(0.5, above=0)  # People who sit still have a median change of .1 to .7
    face_noise: float = ranged(0.006, above=0)  # 0.006 is a millimetre; half of the frames of talking heads have less
    # Repeated frames, coded again, have .02 to .6; a talking head 1.2 and more
    min_change: float = ranged(1.0, above=0)
    max_step_s: float = ranged(0.12, above=0)  # 0.12 s is three frames


@dataclass(frozen=True)
class _Step:
    """A frame with a new picture, and the speeds since the one before it.

    Args:
        points: (478, 2) in blocks; None without a face.
        picture_speed: change of lightness of each block in a second, (h, w); None for the first frame.
        face_speed: speed of the median landmark, face widths in a second; infinite without a face in both frames.
    """

    frame_idx: int
    pts_s: float
    picture: np.ndarray
    points: np.ndarray | None
    seconds: float = 0.0
    picture_speed: np.ndarray | None = None
    face_speed: float = np.inf


class JumpFinder:
    """Tell for each frame, some frames late, whether a piece is missing before it.

    Repeated frames are ignored, and steps are compared per second.
    """

    def __init__(self, config: JumpConfig) -> None:
        self._config = config
        self._steps: deque[_Step] = deque(maxlen=2 * REACH + 1)
        self._last: _Step | None = None
        self._num_seen = self._num_reported = 0
        self.still_s = 0.0
        """Time since the picture last changed."""

    def push(self, pts_s: float, rgb: np.ndarray, points: np.ndarray | None) -> list[bool]:
        """The results that are certain after this frame, in the order of the frames.

        Args:
            pts_s: presentation time of the source frame.
            rgb: (H, W, 3) uint8, of one size throughout.
            points: (478, 3) landmarks in its pixels; None without a face.
        """
        self._num_seen += 1
        last = self._last
        if last is not None and pts_s <= last.pts_s:
            return []
        picture, block_px = thinned(rgb)
        step = _Step(self._num_seen - 1, pts_s, picture, None if points is None else points[:, :2] / block_px)
        if last is not None:
            change = _blocks(np.abs(picture - last.picture))
            if float(change.max(initial=0.0)) < self._config.min_change:
                self.still_s = pts_s - last.pts_s
                return self._give_up() if self.still_s > PATIENCE_S else []
            step = _after(last, step, change)
        self._last, self.still_s = step, 0.0
        self._steps.append(step)
        if len(self._steps) <= 2 * REACH:
            return []
        judged = self._steps[REACH]
        return [*self._tell(judged.frame_idx), *self._tell(judged.frame_idx + 1, jump=self._is_jump())]

    def finish(self) -> list[bool]:
        """The remaining results at the end of the shot."""
        return self._tell(self._num_seen)

    def _give_up(self) -> list[bool]:
        self._steps.clear()
        return self._tell(self._num_seen)

    def _tell(self, end: int, *, jump: bool = False) -> list[bool]:
        jumped = [jump] * (end - self._num_reported)
        self._num_reported = max(self._num_reported, end)
        return jumped

    def _is_jump(self) -> bool:
        step, config = self._steps[REACH], self._config
        around = [other for other in self._steps if other is not step]
        speeds = [other.picture_speed for other in around if other.picture_speed is not None]
        if step.points is None or step.picture_speed is None or len(speeds) < len(around):
            return False
        if step.seconds > config.max_step_s:
            return False
        face_speed = max(other.face_speed for other in around)
        if _ratio(step.face_speed, face_speed, config.face_noise / step.seconds) < config.min_face_step:
            return False
        head = _around(step.points)
        fastest = np.max(speeds, axis=0)[head]
        ratio = _ratio(step.picture_speed[head], fastest, config.picture_noise / step.seconds)
        return bool(np.log(ratio).mean() > np.log(config.min_picture_step))


def thinned(rgb: np.ndarray) -> tuple[np.ndarray, int]:
    """Lightness of a small, smooth copy, float32, and the number of source pixels along a block."""
    step = max(1, round(min(rgb.shape[:2]) / THINNED_PX))
    few = np.ascontiguousarray(rgb[step // 2 :: step, step // 2 :: step])
    height, width = few.shape[:2]
    size = (max(1, width // 2), max(1, height // 2))
    grey = cv2.resize(cv2.cvtColor(few, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0), 2 * BLOCK_PX * step


def _blocks(values: np.ndarray) -> np.ndarray:
    """Means of blocks; the rest at the right and lower edge is left out."""
    height, width = (length // BLOCK_PX for length in values.shape)
    whole = values[: height * BLOCK_PX, : width * BLOCK_PX]
    return whole.reshape(height, BLOCK_PX, width, BLOCK_PX).mean(axis=(1, 3))


def _after(last: _Step, step: _Step, change: np.ndarray) -> _Step:
    seconds = step.pts_s - last.pts_s
    move = np.inf
    if step.points is not None and last.points is not None:
        move = float(np.median(np.linalg.norm(step.points - last.points, axis=1)) / np.ptp(step.points[:, 0]))
    return _Step(step.frame_idx, step.pts_s, step.picture, step.points, seconds, change / seconds, move / seconds)


def _around(points: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the blocks of a head."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = AROUND * (high - low)
    (left, top), (right, bottom) = np.maximum(low - margin, 0).astype(int), np.ceil(high + margin).astype(int)
    return slice(top, bottom), slice(left, right)


def _ratio(speed, around, noise: float):
    return (speed + noise) / (around + noise)
