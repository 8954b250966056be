"""Fingerprint of a face's motion, robust against recoding, scaling, cropping, other sound and, up to signs, mirroring.

The motion of head, brows and mouth is unique to a clip, even among clips of one person in one place. Eight quantities
are computed from the landmarks of each frame. The bits of a word are the signs of the slow terms of their cosine
transform over a sliding window. In a mirror image the bits of sideways quantities flip, all others stay.
"""

from __future__ import annotations

import numpy as np

from stages.audio.fingerprint import WORD_S
from stages.core.records import CLIP_FPS, NUM_LANDMARKS
from stages.face.crop import to_source
from stages.face.landmarks import LEFT_EYE, LIP_GAP, MOUTH_CORNERS, RIGHT_EYE

WINDOW_FRAMES = 32
HOP_FRAMES = round(WORD_S * CLIP_FPS)
SPAN_S = WINDOW_FRAMES / CLIP_FPS
"""Length of motion that one word covers."""
_TERMS = 4
"""Number of terms, from half a period to two periods a window: 0.4 to 1.6 Hz."""
_NOSE_TIP = 4
_LIDS = ((159, 386), (145, 374))  # upper and lower, of both eyes
_SIDEWAYS = (True, True, True, False, False, False, False, False)
SIDE_BITS = np.uint32(sum(0b1111 << _TERMS * idx for idx, sideways in enumerate(_SIDEWAYS) if sideways))
"""Bits that flip in a mirror. The lowest of all is one of them."""


def motion_fingerprint(landmarks: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Sign bits of a face's motion, one word every 80 ms.

    Args:
        landmarks: (T, 478 * 3) in crop pixels.
        boxes: (T, 4) of the crops in the source frame.
    Returns:
        uint32 (W,), W = floor((T - 32) / 2) + 1; empty for less than 32 frames.
    """
    if len(landmarks) < WINDOW_FRAMES:
        return np.zeros(0, np.uint32)
    points = np.asarray(landmarks, np.float32).reshape(len(landmarks), NUM_LANDMARKS, 3)
    motion = _motion(to_source(points, np.asarray(boxes))[..., :2].astype(np.float64))
    windows = np.lib.stride_tricks.sliding_window_view(motion, WINDOW_FRAMES, axis=0)[::HOP_FRAMES]
    phase = np.pi * (np.arange(WINDOW_FRAMES) + 0.5) / WINDOW_FRAMES
    terms = windows @ np.cos(phase[:, None] * np.arange(1, _TERMS + 1))  # (W, quantities, terms)
    bits = terms.reshape(len(windows), -1) > 0
    return np.packbits(bits, axis=1, bitorder="little").view("<u4").reshape(-1).astype(np.uint32)


def unsided(words: np.ndarray) -> np.ndarray:
    """Words that are equal for a clip and its mirror image."""
    return np.where(words & 1, words ^ SIDE_BITS, words)


def _motion(points: np.ndarray) -> np.ndarray:
    """(T, 478, 2) source pixels to (T, 8) quantities; those that change sign in a mirror come first."""
    left, right = (points[:, pair].mean(axis=1) for pair in (LEFT_EYE, RIGHT_EYE))
    middle, across = (left + right) / 2, right - left
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)

    def between(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Components along the line of the eyes, and down from it."""
        x, y = (end - start).T
        return x * across[:, 0] + y * across[:, 1], y * across[:, 0] - x * across[:, 1]

    nose_x, nose_y = between(middle, points[:, _NOSE_TIP])
    width, _ = between(*(points[:, corner] for corner in MOUTH_CORNERS))
    _, opening = between(*(points[:, lip] for lip in LIP_GAP))
    _, lids = between(*(points[:, pair].mean(axis=1) for pair in _LIDS))
    roll = np.unwrap(np.arctan2(across[:, 1], across[:, 0]))
    return np.stack([middle[:, 0], roll, nose_x, middle[:, 1], nose_y, lids, opening, width], axis=1)
