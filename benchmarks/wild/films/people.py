"""Other people in the picture, and people who become others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from benchmarks.wild.films.clips import Clip, FaceFrame, covering_matrix, warped
from benchmarks.wild.films.film import Film, fitted, samples_until
from stages.core.records import AUDIO_RATE_HZ
from stages.face.landmarks import CHIN, MOUTH_CORNERS, RIGID, SIDES
from stages.identity import fit_similarity

OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377)
OVAL = (*OVAL, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
"""Outline of the face, forehead first."""
ANCHORS = (*RIGID, *MOUTH_CORNERS, CHIN)
"""Points at which two faces are aligned."""
ENTER_S = 0.6
"""Time in which a person steps into the picture."""
SWAP_FEATHER = 0.06
"""Soft edge of a face laid over another, in face heights."""


def side_by_side(clip: Clip, other: Clip) -> Film:
    """Two pictures of one size, as in a video call; only the left one is heard."""
    film, matrix = clip.film(), covering_matrix(other, clip.size_px)

    def frames() -> Iterator[np.ndarray]:
        both = zip(film.frames(), other.frames(clip.fps, clip.num_frames), strict=True)
        for left, right in both:
            yield np.hstack([left, warped(right, matrix, clip.size_px)])

    return replace(film, frames=frames).label("multi_face")


def second_person(clip: Clip, other: Clip, begin_s: float) -> Film:
    """Someone steps in from the right at `begin_s` and stays: head and shoulders, a little further back."""
    film, extra_px = clip.film(), _room_px(clip)
    size_px = (clip.size_px[0] + extra_px, clip.size_px[1])
    points = other.points(clip.fps, clip.num_frames)
    mine, theirs = _usual(clip.points()), _usual(points)
    scale = 0.85 * mine.height_px / theirs.height_px
    first = round(begin_s * clip.fps)

    def frames() -> Iterator[np.ndarray]:
        both = zip(film.frames(), other.frames(clip.fps, clip.num_frames), strict=True)
        for k, (rgb, picture) in enumerate(both):
            wide = _widened(rgb, extra_px)
            if k >= first:
                share = min(1.0, (film.time_s(k - first)) / ENTER_S)
                x = size_px[0] + (1 - share) * mine.height_px * 0.6 - share * extra_px * 0.5
                matrix = _similarity(theirs.middle, np.array([x, mine.middle[1]]), scale)
                _lay_person(wide, picture, points[k], matrix)
            yield wide

    seen = first + round(0.5 * ENTER_S * clip.fps)  # before that no whole face is in the picture
    return replace(film, frames=frames).label_part(seen, film.num_frames, "multi_face")


def inset(clip: Clip, other: Clip, ratio: float, *, moves: bool) -> Film:
    """Another face in a frame on the wall beside the person: a window or screen if it moves, else a poster.

    Args:
        ratio: height of the other face over the person's.
    """
    film, extra_px = clip.film(), _room_px(clip)
    mine, theirs = _usual(clip.points()), _usual(other.points(clip.fps, clip.num_frames))
    side = max(24, min(round(2.0 * ratio * mine.height_px), extra_px - 8, clip.size_px[1] // 2))
    matrix = _similarity(theirs.middle, np.full(2, side / 2), ratio * mine.height_px / theirs.height_px)
    x, y = clip.size_px[0] + (extra_px - side) // 2, max(4, round(0.05 * clip.size_px[1]))
    edge = max(2, side // 40)

    def frames() -> Iterator[np.ndarray]:
        still = None
        for rgb, picture in zip(film.frames(), other.frames(clip.fps, clip.num_frames), strict=True):
            if still is None or moves:
                still = warped(picture, matrix, (side, side))
            wide = _widened(rgb, extra_px)
            wide[y - edge : y + side + edge, x - edge : x + side + edge] = 240
            wide[y : y + side, x : x + side] = still
            yield wide

    return replace(film, frames=frames)


def swapped(clip: Clip, other: Clip, begin_s: float, seconds: float) -> Film:
    """From `begin_s` on another face, and its voice, on the same head; blended over `seconds`, 0 for at once.

    Only faces are exchanged: the room, the hair and the shoulders stay, and no picture changes as a whole.
    """
    film = clip.film()
    first = round(begin_s * clip.fps)
    end = first + round(seconds * clip.fps)
    here, there = clip.points(), other.points(clip.fps, clip.num_frames)

    def frames() -> Iterator[np.ndarray]:
        shift = None
        for k, (rgb, picture) in enumerate(zip(film.frames(), other.frames(clip.fps, clip.num_frames), strict=True)):
            if k < first:
                yield rgb
                continue
            share = 1.0 if end <= first else min(1.0, (k - first + 1) / (end - first))
            matrix = fit_similarity(there[k][list(ANCHORS)], here[k][list(ANCHORS)])
            face = cv2.warpAffine(picture, matrix, clip.size_px, borderMode=cv2.BORDER_REPLICATE)
            mask = _oval_mask(here[k], clip.size_px)
            if shift is None:  # once, so that light does not flicker
                inside = mask > 0.9
                shift = rgb[inside].mean(axis=0) - face[inside].mean(axis=0)
            alpha = mask[..., None] * share
            yield np.clip(rgb * (1 - alpha) + (face + shift) * alpha, 0, 255).astype(np.uint8)

    at = samples_until(film.time_s(first))
    audio = np.concatenate([clip.audio[:at], fitted(other.audio, len(clip.audio))[at:]])
    around, end = max(1, round(0.08 * clip.fps)), max(end, first)
    changed = replace(film, frames=frames, audio=audio)
    return changed.label_part(first - around, max(end, first + around), "identity_change").cut_at(first, end)


def dubbed(clip: Clip, other: Clip) -> Film:
    """The clip with someone else's speech."""
    speech = np.resize(other.audio, round(clip.num_frames / clip.fps * AUDIO_RATE_HZ))
    return replace(clip.film(), audio=speech).label("out_of_sync", "mouth_static")


def _usual(points: np.ndarray) -> FaceFrame:
    return FaceFrame.of(np.median(points, axis=0))


def _room_px(clip: Clip) -> int:
    """Width beside the picture in which another head has room; even."""
    return round(1.3 * _usual(clip.points()).height_px) // 2 * 2


def _widened(rgb: np.ndarray, extra_px: int) -> np.ndarray:
    """The picture with a blank wall to its right, in the colours of its edge."""
    edge = cv2.GaussianBlur(rgb[:, -8:].mean(axis=1, keepdims=True).astype(np.float32), (1, 0), sigmaX=1, sigmaY=25)
    wall = np.repeat(edge.astype(np.uint8), extra_px, axis=1)
    return np.ascontiguousarray(np.hstack([rgb, wall]))


def _similarity(source: np.ndarray, target: np.ndarray, scale: float) -> np.ndarray:
    return np.array([[scale, 0, target[0] - scale * source[0]], [0, scale, target[1] - scale * source[1]]])


def _lay_person(wide: np.ndarray, picture: np.ndarray, points: np.ndarray, matrix: np.ndarray) -> None:
    """Draws head, hair and shoulders of a picture into another."""
    size_px = wide.shape[1::-1]
    face = FaceFrame.of(points)
    half = float(np.linalg.norm(points[SIDES[1]] - points[SIDES[0]])) / 2
    mask = np.zeros(picture.shape[:2], np.uint8)
    x, y = face.middle
    head = (round(1.25 * half), round(0.82 * face.height_px))
    cv2.ellipse(mask, (round(x), round(y - 0.12 * face.height_px)), head, 0, 0, 360, 255, -1)
    below, bottom = y + 0.75 * face.height_px, picture.shape[0]
    body = [(-0.7, y), (-0.75, below), (-2.2, below + 0.35 * face.height_px), (-2.5, bottom)]
    outline = [(x + a * half, b) for a, b in body] + [(x - a * half, b) for a, b in reversed(body)]
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 255)
    mask = cv2.GaussianBlur(mask, (0, 0), 0.02 * face.height_px)
    alpha = cv2.warpAffine(mask, matrix, size_px).astype(np.float32)[..., None] / 255
    moved = cv2.warpAffine(picture, matrix, size_px, borderMode=cv2.BORDER_REPLICATE)
    wide[:] = (wide * (1 - alpha) + moved * alpha).astype(np.uint8)


def _oval_mask(points: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((size_px[1], size_px[0]), np.uint8)
    feather = SWAP_FEATHER * FaceFrame.of(points).height_px
    cv2.fillPoly(mask, [np.round(points[list(OVAL)]).astype(np.int32)], 255)
    mask = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=max(1, round(feather / 2)))
    return cv2.GaussianBlur(mask, (0, 0), feather / 2).astype(np.float32) / 255
