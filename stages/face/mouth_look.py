"""Visibility of the mouth in a picture: whether lips and teeth are seen or hidden.

MediaPipe places lips wherever it expects a mouth, also on a hand or a mask. The picture is therefore sampled along
lines across the mouth: between lips there is a line much darker than the skin, and lips are redder than the skin around
them. A hand, a mask, a box or a microphone shows neither, or not along the whole mouth. Letters leave the lips visible
between their strokes, but strokes so thin and bright occur nowhere on a face except between lips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.ranges import ranged
from stages.core.records import CROP_PX, NUM_LANDMARKS, Row
from stages.face.crop import decode_jpeg
from stages.face.landmarks import LIPS_INNER, MOUTH_CORNERS

OUTER_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""Edges of the lips, from the picture's left corner of the mouth to its right."""
COLUMNS = np.linspace(0.15, 0.85, 15)
"""Positions of the lines across the mouth, in its widths from the left corner."""
PARTS = 3
"""Number of parts of the mouth (left, middle, right), each of which must be seen."""
SKIN, OVERLAP = 0.15, 0.04
"""Height of the skin sampled beside the lips, and reach of the dark line over their inner edges, in mouth widths."""
AROUND_MOUTH = (97, 326, 426, 436, 432, 430, 394, 369, 175, 140, 169, 210, 212, 216, 206)
"""A ring from the base of the nose along the cheeks to the chin, over skin alone."""
OPENING = 0.1
"""Margin around the inner edges of the lips, in mouth widths: teeth and wet lips are bright and thin, too."""
STROKE_PX = 7
"""Width of the filter for strokes, about 4 mm in a crop: letters as large as lips have strokes of 2 to 5 px."""
DARKEST_SKIN = 15.0
"""CIELAB lightness below which nothing is distinguished: a black box has no dark line."""


@dataclass(frozen=True)
class MouthConfig:
    """How lips are distinguished from what hides them.

    Args:
        every_frames: distance of looks in frames; every n-th frame is looked at.
        dark: share of the skin's lightness by which the line between lips must be darker to count as evidence of 1.
        red: CIELAB a* by which lips must be redder than the skin to count as evidence of 1.
        min_evidence: least sum of both kinds of evidence in each part of the mouth.
        stroke_light: CIELAB lightness by which letters are brighter than the skin on both sides of a stroke.
        max_strokes: largest share of the skin around the mouth that such strokes cover.
        teeth_lightness: least lightness of teeth, as a share of the skin's.
        teeth_red: largest CIELAB a* by which teeth are redder than the skin.
        min_open: least opening of the mouth, in mouth widths, in which teeth are searched.
        min_teeth: least share of the opening that teeth cover in a look that shows teeth.
    """

    every_frames: int = 5  # 5 frames are 0.2 s; hands come and go slower
    # 99 % of 199 frames of 22 real clips have more, 99 % of hands, masks and boxes under .11
    dark: float = ranged(0.2, above=0)
    red: float = ranged(3.0, above=0)  # Real lips had 1.1 to 30, what hides them under 1.2
    min_evidence: float = 0.8  # Real mouths had .9 and more (99 %: 1.1), hands, masks, boxes and microphones under .6
    stroke_light: float = 20.0  # Glare, wrinkles and short beards of 16 people had it in .004 of the skin at most
    max_strokes: float = 0.01  # 0.01 is a letter or two; lines of letters had .02 and more
    teeth_lightness: float = 0.7  # Chosen by eye, on the same clips
    teeth_red: float = ranged(0.0, low=-128, high=127)  # Tongue and gums are redder than skin
    min_open: float = 0.05  # 0.05 is a pixel or two in the smallest mouths
    min_teeth: float = 0.1  # Chosen by eye: the edge of the upper teeth


@dataclass(frozen=True)
class MouthLook:
    """One mouth in one frame.

    Args:
        evidence: evidence for lips in the part of the mouth with the least.
        strokes: share of the skin around the mouth under thin bright strokes.
        teeth: share of the opening that teeth cover; 0 for a closed mouth.
        light: CIELAB lightness of the skin around it, 0-100.
    """

    evidence: float
    strokes: float
    teeth: float
    light: float

    def is_hidden(self, config: MouthConfig) -> bool:
        return self.evidence < config.min_evidence or self.strokes > config.max_strokes


def look_at_mouth(crop: np.ndarray, points: np.ndarray, config: MouthConfig) -> MouthLook:
    """Read the picture along lines across the mouth.

    Args:
        crop: (256, 256, 3) uint8.
        points: (478, 3) landmarks in pixels of the crop.
    """
    left, right = points[list(MOUTH_CORNERS), :2]
    along = right - left
    down = np.array([-along[1], along[0]])
    rings = (OUTER_UPPER, INNER_UPPER, INNER_LOWER, OUTER_LOWER)
    edges = np.stack([_edge(points[list(ring), :2], left, along, down) for ring in rings])
    top, inner_top, inner_bottom, bottom = np.maximum.accumulate(edges, axis=0)
    skin = _sample(crop, left, along, down, [(top - SKIN, top - OVERLAP), (bottom + OVERLAP, bottom + SKIN)])
    lips = _sample(crop, left, along, down, [(top, inner_top), (inner_bottom, bottom)])
    gap = _sample(crop, left, along, down, [(inner_top - OVERLAP, inner_bottom + OVERLAP)])
    inside = _sample(crop, left, along, down, [(inner_top, inner_bottom)])
    skin_light, skin_red = np.median(skin[..., 0], axis=1), np.median(skin[..., 1], axis=1)
    dark = (skin_light - gap[..., 0].min(axis=1)) / np.maximum(skin_light, DARKEST_SKIN)
    red = np.median(lips[..., 1], axis=1) - skin_red
    evidence = [
        np.median(d) / config.dark + np.median(r) / config.red
        for d, r in zip(np.array_split(dark, PARTS), np.array_split(red, PARTS), strict=True)
    ]
    opened = inner_bottom - inner_top > config.min_open
    white = inside[..., 0] > config.teeth_lightness * np.median(skin_light)
    white &= inside[..., 1] < np.median(skin_red) + config.teeth_red
    teeth = float(white[opened].mean()) if opened.any() else 0.0
    strokes = _strokes(crop, points[:, :2], config.stroke_light)
    return MouthLook(float(min(evidence)), strokes, teeth, float(np.median(skin_light)))


def hidden_frames(row: Row, config: MouthConfig) -> np.ndarray:
    """Frames that may hide the mouth, (T,) bool: those within one look's distance of a look that found it hidden."""
    num_frames = len(row["face_jpeg"])
    hidden = np.zeros(num_frames, bool)
    if row["mouth_visible_ratio"] < 1:
        points = np.asarray(row["landmarks"], np.float32).reshape(num_frames, NUM_LANDMARKS, 3)
        for idx, look in looks_of(row, points, config):
            if look.is_hidden(config):
                hidden[max(0, idx - config.every_frames + 1) : idx + config.every_frames] = True
    return hidden


def looks_of(row: Row, points: np.ndarray, config: MouthConfig) -> Iterator[tuple[int, MouthLook]]:
    num_frames = len(points)
    for idx in range(config.every_frames // 2 % num_frames, num_frames, config.every_frames):
        yield idx, look_at_mouth(decode_jpeg(row["face_jpeg"][idx]), points[idx], config)


def _strokes(crop: np.ndarray, points: np.ndarray, stroke_light: float) -> float:
    rings = [np.rint(points[list(ring)]).astype(np.int32) for ring in (AROUND_MOUTH, LIPS_INNER)]
    reach_px = round(OPENING * float(np.linalg.norm(np.subtract(*points[list(MOUTH_CORNERS)]))))
    skin = np.zeros(crop.shape[:2], np.uint8)
    cv2.fillPoly(skin, rings[:1], 1)
    cv2.fillPoly(skin, rings[1:], 0)
    cv2.polylines(skin, rings[1:], True, 0, 2 * reach_px + 1)
    light = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB)[..., 0]
    thin = cv2.morphologyEx(light, cv2.MORPH_TOPHAT, np.ones((STROKE_PX, STROKE_PX), np.uint8))
    return float((thin[skin > 0] > stroke_light * 255 / 100).mean()) if skin.any() else 0.0


def _edge(ring: np.ndarray, origin: np.ndarray, along: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Height of an edge of the lips at each of `COLUMNS`, downwards, in mouth widths."""
    square = along @ along
    x, y = (ring - origin) @ along / square, (ring - origin) @ down / square
    order = np.argsort(x, kind="stable")
    return np.interp(COLUMNS, x[order], y[order])


def _sample(
    crop: np.ndarray,
    origin: np.ndarray,
    along: np.ndarray,
    down: np.ndarray,
    spans: list[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """CIELAB along lines, eight points in each span: (columns, 8 * spans, 3)."""
    steps = (np.arange(8) + 0.5) / 8
    depth = np.concatenate([low[:, None] + (high - low)[:, None] * steps for low, high in spans], axis=1)
    xy = origin + COLUMNS[:, None, None] * along + depth[..., None] * down
    x, y = np.moveaxis(np.clip(xy - 0.5, 0, CROP_PX - 1).astype(np.float32), -1, 0)
    rgb = cv2.remap(crop, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
