"""Marks of a synthetic video: the visible mark on its pictures, and the comment in its container."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from jaxtyping import UInt8

from stages.core.command import UserError

MARK = "AI-generated / 合成"
TOOL = "kouxing"
MARK_SHARE = 0.035
"""Height of the mark's letters over the picture's shorter side."""
MIN_MARK_PX = 12
STRENGTH = 0.75
"""Opacity of the letters, through which the picture stays visible."""


@dataclass(frozen=True)
class Made:
    """Origin of a video, as its tags declare it.

    Args:
        time: time of making, UTC, ISO 8601.
        run, motion_run: names of the runs whose models made the pictures; None without a motion model.
        depth: source of the depth: a2m, original or none.
    """

    time: str
    run: str
    motion_run: str | None
    depth: str
    generator: str = TOOL
    kind: str = "lip-sync: mouth painted by a model to fit the sound"

    def comment(self) -> str:
        """Text of the container's comment: words for people, then JSON for programs."""
        return f"{MARK}; {json.dumps(asdict(self), ensure_ascii=False)}"


def read_comment(path: Path) -> dict[str, Any] | None:
    """The data that `Made.comment` wrote; None without such a comment.

    Raises:
        OSError: the file cannot be read. UserError: it is no media file.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            comment = container.metadata.get("comment", "")
    except av.error.InvalidDataError as error:
        raise UserError(f"{path} is no media file") from error
    words, _, content = comment.partition("; ")
    if words != MARK:
        return None
    try:
        return json.loads(content)
    except json.JSONDecodeError:
        return None


class VisibleMark:
    """The mark for pictures of one size, in the corner at the bottom left."""

    def __init__(self, height_px: int, width_px: int) -> None:
        size_px = max(MIN_MARK_PX, round(MARK_SHARE * min(height_px, width_px)))
        room_px = size_px // 2
        font = cv2.FontFace("uni")  # the font of OpenCV that has Chinese letters
        canvas = np.zeros((3 * size_px, len(MARK) * size_px, 3), np.uint8)

        def written(weight: int) -> np.ndarray:
            white = (255, 255, 255)
            drawn = cv2.putText(canvas.copy(), MARK, (room_px, 2 * size_px), white, font, size_px, weight)[1]
            return drawn[..., :1].astype(np.float32) / 255

        letters = written(400)
        halo = np.minimum(1, 1.5 * cv2.GaussianBlur(written(800), (0, 0), size_px / 8))[..., None]
        columns = np.flatnonzero(halo.max(axis=(0, 2)) > 0.02)
        rows = np.flatnonzero(halo.max(axis=(1, 2)) > 0.02)
        cut = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        letters, halo = letters[cut][:height_px, :width_px], halo[cut][:height_px, :width_px]
        bottom, left = height_px - min(room_px, height_px - len(letters)), min(room_px, width_px - letters.shape[1])
        self._place = np.s_[bottom - len(letters) : bottom, left : left + letters.shape[1]]
        self._letters, self._halo = STRENGTH * letters, 0.6 * halo

    def __call__(self, rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """A copy of the picture with the mark."""
        out = rgb.copy()
        dark = out[self._place] * (1 - self._halo)
        out[self._place] = np.rint(dark + self._letters * (255 - dark)).astype(np.uint8)
        return out


def marked(frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames of one size with the visible mark."""
    mark: VisibleMark | None = None
    for rgb in frames:
        mark = mark or VisibleMark(*rgb.shape[:2])
        yield mark(rgb)
