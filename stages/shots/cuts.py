"""Detection of hard cuts and dissolves, in presentation time."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stages.core.ranges import ranged

if TYPE_CHECKING:
    from scenedetect.detectors import AdaptiveDetector

PATTERN_PX = (64, 64)
PATTERN_SIGMA_PX = 1.5
"""Blur against the edges of coding blocks, which a coarse decode leaves in."""
MAX_PATTERNS = 300
"""Largest number of patterns kept: 2.5 s at 120 fps, 5 MB."""
MIXED = (0.1, 0.9)
"""Shares of the later picture between which a frame counts as mixed."""
DISSOLVE_FPS = 32.0
"""Largest rate at which frames are searched for dissolves."""


@dataclass(frozen=True)
class CutConfig:
    """Thresholds of cuts. Correlations are of lightness at 64 x 64."""

    # Least change of the picture at a cut, over the change of the frames around it (PySceneDetect)
    ratio: float = ranged(3.0, low=1)
    # Least change of the picture at a cut, mean of hue, saturation and value, 0-255 (PySceneDetect)
    min_change: float = ranged(15.0, high=255)
    window_frames: int = ranged(2, low=1)  # Frames on each side of a cut that it is compared with (PySceneDetect)
    light_s: float = 0.5  # Largest length of a flash, and time around a cut in which pictures are compared
    # Least correlation of the pictures before and after a flash or lamp. Six cuts of real films had .58 and less
    min_light_step: float = ranged(0.7, low=-1, high=1)
    # Least correlation of a frame before with one after a flash or lamp. Flashes and lamps had .97 and more
    min_light_return: float = ranged(0.97, low=-1, high=1)
    # Times over which pictures are compared for dissolves. Longer dissolves are not found
    dissolves_s: tuple[float, ...] = (0.3, 0.6, 1.2, 2.2)
    # Largest correlation of the pictures before and after a dissolve
    max_dissolve_step: float = ranged(0.6, low=-1, high=1)
    # Largest energy of a frame that is no mixture of the two pictures, as a share of their difference's energy
    max_dissolve_rest: float = ranged(0.1, high=1)
    # Least number of mixed frames in a dissolve. A single one comes from a converted frame rate, and its cut is hard
    min_mixed_frames: int = ranged(2, low=1)


@dataclass(frozen=True)
class _Pattern:
    """Lightness of one frame, float32 (4096,), with its mean and standard deviation."""

    time_s: float
    grey: np.ndarray
    mean: float
    spread: float

    @staticmethod
    def of(time_s: float, picture: np.ndarray) -> _Pattern:
        grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), PATTERN_SIGMA_PX)
        grey = cv2.resize(grey, PATTERN_PX, interpolation=cv2.INTER_AREA).ravel()
        return _Pattern(time_s, grey, float(grey.mean()), max(float(grey.std()), 1e-3))

    def correlation(self, other: _Pattern) -> float:
        product = float(self.grey @ other.grey) / len(self.grey)
        return (product - self.mean * other.mean) / (self.spread * other.spread)


class CutFinder:
    """Finds the cuts of a stream of frames, and reports them some frames late.

    Hard cuts come from PySceneDetect's adaptive detector. A flash or a lamp changes a picture as much as a cut, but its
    pattern stays. So a change is no cut if both sides correlate and the same picture returns soon after.

    A dissolve is a run of frames that mix the pictures before and after it, with a growing share of the latter. A
    dissolve or fade begins and ends with a cut, so its mixed frames are a separate shot.
    """

    def __init__(self, config: CutConfig) -> None:
        from scenedetect.detectors import AdaptiveDetector

        self._detector: AdaptiveDetector = AdaptiveDetector(
            adaptive_threshold=config.ratio,
            min_scene_len=0,  # every cut counts: a shot of a few frames is dropped as too short, not merged
            window_width=config.window_frames,
            min_content_val=config.min_change,
        )
        self._config, self._window = config, config.window_frames
        self._times_s: list[float] = []
        self._last: np.ndarray | None = None
        self._hard: list[float] = []
        self._mixtures: list[tuple[float, float]] = []
        self._patterns: deque[_Pattern] = deque(maxlen=MAX_PATTERNS)
        self._looked_s = self._reported_s = -math.inf

    def push(self, time_s: float, picture: np.ndarray) -> list[float]:
        """The cuts that are certain after this frame, as the time of the first frame after each.

        Args:
            picture: (h, w, 3) uint8 RGB, of one size throughout.
        """
        if self._last is None:  # still frames around the video, so that its first and last frames are judged as well
            for _ in range(self._window):
                self._process(time_s, picture)
        self._last = picture
        self._patterns.append(_Pattern.of(time_s, picture))
        self._hard += self._process(time_s, picture)
        if time_s - self._looked_s >= 1 / DISSOLVE_FPS:
            self._looked_s = time_s
            for length_s in self._config.dissolves_s:
                self._look_back(length_s)
        return self._certain(time_s - max(self._config.light_s, *self._config.dissolves_s))

    def finish(self) -> list[float]:
        if self._last is None:
            return []
        self._hard += [cut for _ in range(self._window) for cut in self._process(self._times_s[-1], self._last)]
        return self._certain(math.inf)

    def _look_back(self, length_s: float) -> None:
        """Record a dissolve that lies wholly within the last `length_s`."""
        now = self._patterns[-1]
        back = next(
            (k for k, seen in enumerate(reversed(self._patterns)) if now.time_s - seen.time_s >= length_s), None
        )
        if back is None or back <= self._config.min_mixed_frames:
            return
        before = self._patterns[-1 - back]
        if now.correlation(before) > self._config.max_dissolve_step:
            return
        frames = [self._patterns[k] for k in range(-1 - back, 0)]
        share = mixing(np.stack([frame.grey for frame in frames]), self._config.max_dissolve_rest)
        if share is None or int(((share > MIXED[0]) & (share < MIXED[1])).sum()) < self._config.min_mixed_frames:
            return
        start_s, end_s = ramp_span(np.array([frame.time_s for frame in frames]), share)
        while self._mixtures and self._mixtures[-1][1] >= start_s:
            other_start_s, other_end_s = self._mixtures.pop()
            start_s, end_s = min(start_s, other_start_s), max(end_s, other_end_s)
        self._mixtures.append((start_s, end_s))

    def _certain(self, until_s: float) -> list[float]:
        """Cuts up to a time, after which enough frames have been seen to confirm them."""
        hard = [cut_s for cut_s in self._hard if cut_s <= until_s]
        self._hard = [cut_s for cut_s in self._hard if cut_s > until_s]
        mixed = [cut_s for span in self._mixtures for cut_s in span if self._reported_s < cut_s <= until_s]
        lone = [cut_s for cut_s in hard if not self._in_mixture(cut_s) and not self._is_light(cut_s)]
        self._mixtures = [(start_s, end_s) for start_s, end_s in self._mixtures if end_s > until_s]
        self._reported_s = until_s
        return sorted([*lone, *mixed])

    def _in_mixture(self, cut_s: float) -> bool:
        return any(start_s <= cut_s <= end_s for start_s, end_s in self._mixtures)

    def _is_light(self, cut_s: float) -> bool:
        light_s = self._config.light_s
        before = [seen for seen in self._patterns if cut_s - light_s <= seen.time_s < cut_s]
        after = [seen for seen in self._patterns if cut_s <= seen.time_s <= cut_s + light_s]
        if not before or not after or before[-1].correlation(after[0]) < self._config.min_light_step:
            return False
        return max(a.correlation(b) for a in before for b in after) >= self._config.min_light_return

    def _process(self, time_s: float, picture: np.ndarray) -> list[float]:
        from scenedetect import FrameTimecode

        # The detector counts frames; the rate only converts counts to times, which are not read.
        code = FrameTimecode(len(self._times_s), 25.0)
        self._times_s.append(time_s)
        cuts = self._detector.process_frame(code, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        return [self._times_s[cut.frame_num] for cut in cuts]


def mixing(frames: np.ndarray, max_rest: float) -> np.ndarray | None:
    """Share of the last frame in each frame, if all mix the first and the last, with a growing share of the last.

    Args:
        frames: float (T, P).
        max_rest: largest energy that no mixture explains, as a share of the difference's.
    Returns:
        (T,) from 0 to 1; None if a frame is no such mixture.
    """
    moved, change = frames - frames[0], frames[-1] - frames[0]
    energy = max(float(change @ change), 1e-9)
    share = moved @ change / energy
    rest = np.square(moved - np.outer(share, change)).sum(axis=1) / energy
    rises = np.diff(share).min(initial=0.0) > -0.1
    return share if rises and float(rest.max()) <= max_rest else None


def ramp_span(time_s: np.ndarray, share: np.ndarray) -> tuple[float, float]:
    """First mixed frame and first frame after the mixtures, from the middle of the ramp, where motion matters least.

    Args:
        time_s: (T,) ascending.
        share: (T,) from 0 to 1, with a frame in `MIXED`.
    """
    first_s, last_s = (float(np.interp(level, np.maximum.accumulate(share), time_s)) for level in (0.2, 0.8))
    margin_s = (last_s - first_s) / 3
    inside = (time_s > first_s - margin_s) & (time_s < last_s + margin_s)
    inside[[0, -1]] = False
    if not inside.any():  # the ramp leaps past its middle between two frames
        inside = (share > MIXED[0]) & (share < MIXED[1])
    mixed = np.flatnonzero(inside)
    return float(time_s[mixed[0]]), float(time_s[mixed[-1] + 1])
