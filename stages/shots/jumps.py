"""Where a piece of a scene is missing: person and camera stay, but from one frame to the next all that moves jumps.

Such a jump changes too little of the picture to be a cut by itself. But what has mass has a speed before and after: a
head that is nearly still before and behind a frame, and crosses a centimetre in it, was not seen for a while. So each
step is held against the steps around it: in the landmarks, and in the picture around the face.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.ranges import ranged

THINNED_PX = 144
"""Shorter side to which a frame is thinned; then it is averaged to half of that."""
BLOCK_PX = 4
"""Side of the blocks of that picture which are compared: an eighteenth of its shorter side."""
AROUND = 0.5
"""What is looked at around a face, in its sides: hair and shoulders."""
REACH = 2
"""Steps before and behind that a step is held against."""
PATIENCE_S = 0.5
"""After so long without a new frame nothing is waited for: slides and calls that hang."""


@dataclass(frozen=True)
class JumpConfig:
    """What is a jump. How often one is found, and where there is none, stands in docs/reference/filters.md.

    Args:
        min_picture_step: times that the picture changes more than around it: the geometric mean over all its blocks,
            also of those that never move.
        min_face_step: times that the face moves more than around it.
        picture_noise: change of lightness that tells nothing, 0-255.
        face_noise: the same of a move, in face widths.
        min_change: a frame in which no block changes by so much lightness repeats the last one.
        max_step_s: in a longer time between two frames any head could have gone anywhere, and nothing is told.
    """

    # a frame that was left out makes 2 where all moves, and 1 where nothing does
    min_picture_step: float = ranged(1.6, above=0)
    min_face_step: float = ranged(1.2, above=0)
    picture_noise: float = ranged(0.5, above=0)  # the median change of people who sit still, .1 to .7
    face_noise: float = ranged(0.006, above=0)  # a millimetre; half of the frames of talking heads have less
    # repeated frames, coded again, have .02 to .6; a talking head 1.2 and more
    min_change: float = ranged(1.0, above=0)
    max_step_s: float = ranged(0.12, above=0)  # three frames


@dataclass(frozen=True)
class _Step:
    """A frame that shows something new, and how fast things moved since the one before it.

    Args:
        points: (478, 2) in blocks; None where no face was found.
        picture_speed: change of lightness of each block in a second, (h, w); None where nothing is known before it.
        face_speed: of the median landmark, face widths in a second; infinite without a face before and now.
    """

    frame_idx: int
    pts_s: float
    picture: np.ndarray
    points: np.ndarray | None
    seconds: float = 0.0
    picture_speed: np.ndarray | None = None
    face_speed: float = np.inf


class JumpFinder:
    """Says of every frame of a shot whether something is missing before it; tells it some frames late.

    Frames that repeat the last one do not count, so that a low rate in a higher one is an even motion with long steps.
    A step may be the longer the more time it takes.
    """

    def __init__(self, config: JumpConfig) -> None:
        self._config = config
        self._steps: deque[_Step] = deque(maxlen=2 * REACH + 1)
        self._last: _Step | None = None
        self._num_seen = self._num_told = 0
        self.still_s = 0.0
        """How long the picture has been standing still."""

    def push(self, pts_s: float, rgb: np.ndarray, points: np.ndarray | None) -> list[bool]:
        """The frames that are certain with this one, in order.

        Args:
            pts_s: of the source frame.
            rgb: (H, W, 3) uint8, of one size throughout.
            points: (478, 3) landmarks in its pixels; None where no face is found.
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
        """The frames that are left at the end of the shot."""
        return self._tell(self._num_seen)

    def _give_up(self) -> list[bool]:
        self._steps.clear()
        return self._tell(self._num_seen)

    def _tell(self, end: int, *, jump: bool = False) -> list[bool]:
        told = [jump] * (end - self._num_told)
        self._num_told = max(self._num_told, end)
        return told

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
    """Lightness of a small, smooth copy, float32, and how many pixels one of its blocks covers."""
    step = max(1, round(min(rgb.shape[:2]) / THINNED_PX))
    few = np.ascontiguousarray(rgb[step // 2 :: step, step // 2 :: step])
    height, width = few.shape[:2]
    size = (max(1, width // 2), max(1, height // 2))
    grey = cv2.resize(cv2.cvtColor(few, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0), 2 * BLOCK_PX * step


def _blocks(values: np.ndarray) -> np.ndarray:
    """Means of blocks; what is left at the right and lower edge is not looked at."""
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
