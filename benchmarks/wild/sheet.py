"""A contact sheet: one row of pictures a film, to see with one's own eyes what the recipes make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from stages.media import decode_video

TILE_PX = (200, 150)
NUM_TILES = 9
LABEL_PX = 150


def write_sheet(films: Sequence[tuple[str, Path]], path: Path) -> None:
    """Films, each with a name, as rows of `NUM_TILES` pictures at even distances."""
    rows = [_row(name, film) for name, film in films]
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def _row(name: str, film: Path) -> np.ndarray:
    frames = [frame.rgb for frame in decode_video(film, max_side_px=max(TILE_PX))]
    label = np.full((TILE_PX[1], LABEL_PX, 3), 255, np.uint8)
    for line, word in enumerate(name.split("_")):
        cv2.putText(label, word, (4, 24 + 22 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    at = np.linspace(0, len(frames) - 1, NUM_TILES).round().astype(int)
    return np.hstack([label, *(_tile(frames[k]) for k in at)])


def _tile(rgb: np.ndarray) -> np.ndarray:
    scale = min(TILE_PX[0] / rgb.shape[1], TILE_PX[1] / rgb.shape[0])
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.zeros((TILE_PX[1], TILE_PX[0], 3), np.uint8)
    tile[: small.shape[0], : small.shape[1]] = small[: TILE_PX[1], : TILE_PX[0]]
    return tile
