"""Frames of a video by their presentation time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from stages.core.reasons import Dropped, DropReason
from stages.media.file import EPSILON_S, MAX_BAD_PACKETS, MAX_LENGTH_S, MediaFile, frame_rate, pixel_aspect, video_of

SEEK_BACK_S = 10.0
"""Second try when a seek lands behind its target: a usual distance between key frames."""
MAX_FPS = 240
"""Of a telephone's slow motion. It bounds the frames of a file by its length."""


@dataclass(frozen=True)
class VideoFrame:
    """A picture at a time.

    Args:
        pts_s: presentation time of the source frame.
        time_s: the time it was asked for: the tick, or `pts_s` where no frame rate was asked for.
        rgb: (H, W, 3) uint8, contiguous, upright, square pixels. Ticks that show the same source frame share it.
    """

    pts_s: float
    time_s: float
    rgb: np.ndarray


@dataclass(frozen=True)
class SourceFrame:
    """A decoded frame that is converted only when asked: conversion costs as much as decoding."""

    pts_s: float
    duration_s: float
    _frame: av.VideoFrame = field(repr=False)
    _aspect: Fraction = field(repr=False)
    _reformatter: VideoReformatter = field(repr=False)

    @property
    def size_px(self) -> tuple[int, int]:
        """Displayed width and height: rotation and pixel shape applied."""
        width, height = round(self._frame.width * self._aspect), self._frame.height
        return (height, width) if self._quarter_turns % 2 else (width, height)

    @property
    def rotation_deg(self) -> int:
        """Clockwise rotation that makes the frame upright, in [0, 360)."""
        return -90 * self._quarter_turns % 360

    @property
    def _quarter_turns(self) -> int:
        """Counterclockwise; 0 for any other angle."""
        return self._frame.rotation // 90 if self._frame.rotation % 90 == 0 else 0

    def rgb(self, max_side_px: int | None = None) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright, with the longer side at most `max_side_px`."""
        width, height = round(self._frame.width * self._aspect), self._frame.height
        scale = min(1.0, max_side_px / max(width, height)) if max_side_px else 1.0
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        resized = (width, height) != (self._frame.width, self._frame.height)
        image = self._reformatter.reformat(
            self._frame,
            width=width,
            height=height,
            format="rgb24",
            interpolation=Interpolation.AREA if resized else Interpolation.BILINEAR,
            threads=1,
        )
        return np.ascontiguousarray(np.rot90(_rgb_pixels(image), self._quarter_turns))

    def sampled(self, step_px: int) -> np.ndarray:
        """About every `step_px`-th pixel of every `step_px`-th row as (h, w, 3) uint8 RGB, not rotated.

        Taken from the planes, for a fraction of what the scaler costs; not smoothed.
        """
        frame = self._frame
        if frame.format.name not in ("yuv420p", "yuvj420p") or step_px % 2:
            width, height = max(1, frame.width // step_px), max(1, frame.height // step_px)
            point = Interpolation.POINT
            return np.ascontiguousarray(
                _rgb_pixels(self._reformatter.reformat(frame, width, height, "rgb24", interpolation=point, threads=1))
            )
        half = step_px // 2
        luma = _rows(frame.planes[0], frame.planes[0].width)[half::step_px, half::step_px]
        blue, red = (_rows(plane, plane.width)[half // 2 :: half, half // 2 :: half] for plane in frame.planes[1:])
        height, width = min(len(luma), len(blue)), min(luma.shape[1], blue.shape[1])
        mixed = np.dstack((luma[:height, :width], red[:height, :width], blue[:height, :width]))
        return cv2.cvtColor(mixed, cv2.COLOR_YCrCb2RGB)


def _rows(plane: VideoPlane, row_bytes: int) -> np.ndarray:
    """(rows, row_bytes) uint8: a view of a plane without its padding."""
    flat = np.frombuffer(plane, np.uint8)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return flat.reshape(-1, plane.line_size)[: plane.height, :row_bytes]


def _rgb_pixels(image: av.VideoFrame) -> np.ndarray:
    """(H, W, 3) view of an rgb24 frame; not contiguous: rows are padded, and MediaPipe finds nothing in such views."""
    return _rows(image.planes[0], 3 * image.width).reshape(image.height, image.width, 3)


def decode_frames(
    path: Path, start_s: float = 0.0, end_s: float | None = None, *, threads: int = 1, coarse: bool = False
) -> Iterator[SourceFrame]:
    """Decoded, unconverted frames with a presentation time in [start_s, end_s).

    Args:
        threads: decoder threads; one, where many files are decoded side by side.
        coarse: without the deblocking filter: a quarter cheaper, and good enough to look for cuts and faces.

    Raises:
        Dropped: NO_VIDEO, CORRUPT, TRUNCATED, NOT_VIDEO.
    """
    with MediaFile(path, threads, coarse=coarse) as media:
        for frame in frames_from(media, video_of(media), start_s):
            if end_s is not None and frame.pts_s >= end_s - EPSILON_S:
                return
            if frame.pts_s >= start_s - EPSILON_S:
                yield frame


def decode_video(
    path: Path,
    start_s: float = 0.0,
    end_s: float | None = None,
    *,
    fps: Fraction | None = None,
    max_side_px: int | None = None,
    threads: int = 1,
) -> Iterator[VideoFrame]:
    """Frames of a span of a video.

    Args:
        fps: without it every source frame in [start_s, end_s); with it one frame per tick `start_s + k / fps` before
            `end_s` and before the end of the video, by `pick_by_time`.
        max_side_px: shrink to at most this longer side.
        threads: decoder threads; one, where many files are decoded side by side.

    Raises:
        Dropped: NO_VIDEO, CORRUPT, TRUNCATED, NOT_VIDEO.
    """
    if fps is None:
        for frame in decode_frames(path, start_s, end_s, threads=threads):
            yield VideoFrame(frame.pts_s, frame.pts_s, frame.rgb(max_side_px))
        return
    with MediaFile(path, threads) as media:
        shown: VideoFrame | None = None
        for frame, time_s in pick_by_time(frames_from(media, video_of(media), start_s), start_s, end_s, fps):
            rgb = shown.rgb if shown is not None and shown.pts_s == frame.pts_s else frame.rgb(max_side_px)
            shown = VideoFrame(frame.pts_s, time_s, rgb)
            yield shown


def pick_by_time(
    frames: Iterator[SourceFrame], start_s: float, end_s: float | None, fps: Fraction
) -> Iterator[tuple[SourceFrame, float]]:
    """The frame on display half a tick behind each tick, and the tick.

    That is the middle of the time for which the tick's picture stands and over which its sound is heard. So whatever
    begins in the video begins at most half a tick early or late, at any frame rate, constant or not; the nearest frame
    would begin up to a whole tick less half a frame late at high rates. Before the first frame the first one stands in;
    ticks end with the last one.
    """
    half_s = float(1 / (2 * fps))
    current = next(frames, None)
    upcoming = next(frames, None)
    if current is None:
        return
    for k in count():
        time_s = start_s + float(k / fps)
        if end_s is not None and time_s >= end_s - EPSILON_S:
            return
        # Not the one that begins in the middle itself: behind a shot's last tick it may be the next shot's.
        while upcoming is not None and upcoming.pts_s < time_s + half_s - EPSILON_S:
            current, upcoming = upcoming, next(frames, None)
        if upcoming is None and time_s >= current.pts_s + current.duration_s - EPSILON_S:
            return
        yield current, time_s


def _source_frames(media: MediaFile, stream: VideoStream) -> Iterator[SourceFrame]:
    """Frames whose timestamps grow; some that do not are left out.

    Raises:
        Dropped: CORRUPT where many timestamps in a row do not grow, frames come too fast, or change their size;
            TOO_LONG at a timestamp behind a day.
    """
    reformatter, usual_s, aspect = VideoReformatter(), float(1 / frame_rate(stream)), pixel_aspect(stream)
    first_s, last_s, size_px, num_frames, num_late = None, -math.inf, None, 0, 0
    end_s = declared if (declared := media.declared_s) is not None else math.inf
    for frame in media.decode(stream):
        ticks = frame.pts if frame.pts is not None else frame.dts
        if ticks is None or not isinstance(frame, av.VideoFrame):
            continue
        pts_s = media.time_s(ticks, stream)
        first_s, size_px = first_s if first_s is not None else pts_s, size_px or (frame.width, frame.height)
        problem, num_late = None, num_late + 1 if pts_s <= last_s else 0
        if num_late > MAX_BAD_PACKETS:
            problem = "the timestamps stand still or run backwards"
        elif num_frames > MAX_FPS * (pts_s - first_s + 1):
            problem = f"there are over {MAX_FPS} frames a second"
        elif (frame.width, frame.height) != size_px:
            problem = f"frames change from {size_px[0]}x{size_px[1]} to {frame.width}x{frame.height} px"
        elif pts_s > MAX_LENGTH_S:
            raise Dropped(DropReason.TOO_LONG, f"video of {media.path.name} has a frame at {pts_s:.0f} s")
        if problem:
            raise Dropped(DropReason.CORRUPT, f"video of {media.path.name} at {pts_s:.2f} s: {problem}")
        if num_late:
            continue
        last_s, num_frames = pts_s, num_frames + 1
        duration_s = float(frame.duration * (stream.time_base or 0))
        duration_s = min(duration_s, max(end_s - pts_s, usual_s)) if duration_s > 0 else usual_s
        yield SourceFrame(pts_s, duration_s, frame, aspect, reformatter)


def frames_from(media: MediaFile, stream: VideoStream, start_s: float) -> Iterator[SourceFrame]:
    """Frames from the last one at or before `start_s` on; from the first one where there is none before."""
    frames = _source_frames(media, stream)
    if start_s > media.start_s(stream) + SEEK_BACK_S / 10:
        for target_s in (start_s, start_s - SEEK_BACK_S, 0.0):
            media.seek(max(0.0, target_s), stream)
            frames = _source_frames(media, stream)
            first = next(frames, None)
            if first is not None and first.pts_s <= start_s + EPSILON_S:
                yield from _drop_before(first, frames, start_s)
                return
        media.seek(0.0, stream)
        frames = _source_frames(media, stream)
    first = next(frames, None)
    if first is None:
        raise Dropped(DropReason.CORRUPT, f"no frame of {media.path.name} can be decoded")
    yield from _drop_before(first, frames, start_s)


def _drop_before(first: SourceFrame, rest: Iterator[SourceFrame], start_s: float) -> Iterator[SourceFrame]:
    held: SourceFrame | None = first
    for frame in rest:
        if held is not None and frame.pts_s > start_s + EPSILON_S:
            yield held
            held = None
        if held is None:
            yield frame
        else:
            held = frame
    if held is not None:
        yield held
