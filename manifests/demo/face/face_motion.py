"""How a face moves: lips and jaw with the speech, blinks, and a head that is never quite still."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.ndimage import gaussian_filter1d

from manifests.demo.face.lips import LipMotion
from manifests.demo.face.mesh import LOWER_INNER, LOWER_LIDS, OVAL, UPPER_INNER, UPPER_LIDS
from manifests.demo.face.portrait import Portrait
from stages.face.landmarks import CHIN, LIPS_INNER, LIPS_OUTER, MOUTH_CORNERS, SIDES

_UPPER_RED = (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306, 62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292)
_LOWER_RED = (77, 90, 180, 85, 16, 315, 404, 320, 307, 96, 89, 179, 86, 15, 316, 403, 319, 325)
UPPER_LIP = [*LIPS_INNER[1:10], *LIPS_OUTER[1:10], *_UPPER_RED]
LOWER_LIP = [*LIPS_INNER[11:], *LIPS_OUTER[11:], *_LOWER_RED]
"""Mesh points of each lip: its edges and the red between them, without the corners."""

LID_SKIN = (
    ((247, 30, 29, 27, 28, 56, 190), UPPER_LIDS[0]),
    ((467, 260, 259, 257, 258, 286, 414), UPPER_LIDS[1]),
)
"""The skin that folds when the eye closes, and the lid below it."""


@dataclass(frozen=True)
class MotionConfig:
    """Sizes of movements; lengths in face heights (forehead to chin)."""

    max_opening: float = 0.095  # gap of the lips in a clear "a"; above .12 the warp stretches the chin visibly
    upper_lip_share: float = 0.12  # of the gap; the rest is jaw
    corner_travel: float = 0.022  # outwards in "i", inwards in "u"
    yaw_deg: float = 5.0
    pitch_deg: float = 3.0
    roll_deg: float = 2.5
    sway: float = 0.025
    blink_every_s: float = 2.8
    blink_s: float = 0.28


@dataclass(frozen=True)
class HeadMotion:
    """float32 (T, 3) yaw, pitch, roll in rad; (T, 2) shift in face heights; (T,) lids, 0 open to 1 closed."""

    rotation_rad: np.ndarray
    shift: np.ndarray
    lids: np.ndarray


def head_motion(num_frames: int, fps: Fraction, seed: int, config: MotionConfig) -> HeadMotion:
    """Slow random movement (below 1 Hz) and blinks at random times."""
    random = np.random.default_rng(seed)
    knots_hz = 4.0
    num_knots = int(num_frames / float(fps) * knots_hz) + 16
    noise = gaussian_filter1d(random.normal(size=(num_knots, 5)), 2.0, axis=0)
    noise /= noise.std(0) * 1.6
    grid_s = (np.arange(num_knots) - 6) / knots_hz
    times_s = np.arange(num_frames) / float(fps)
    smooth = np.stack([_cubic(times_s, grid_s, noise[:, k]) for k in range(5)], axis=1)
    scale = np.deg2rad([config.yaw_deg, config.pitch_deg, config.roll_deg])
    lids, at_s = np.zeros(num_frames), random.uniform(0.4, config.blink_every_s)
    while at_s < num_frames / float(fps):
        phase = np.abs(times_s - at_s) / (config.blink_s / 2)
        lids = np.maximum(lids, np.clip(1.3 * (1 - phase), 0, 1))
        at_s += random.uniform(0.6, 1.4) * config.blink_every_s
    return HeadMotion(
        (smooth[:, :3] * scale).astype(np.float32),
        (smooth[:, 3:] * config.sway * [1.0, 0.5]).astype(np.float32),
        lids.astype(np.float32),
    )


def _cubic(x: np.ndarray, grid: np.ndarray, values: np.ndarray) -> np.ndarray:
    from scipy.interpolate import CubicSpline

    return CubicSpline(grid, values)(x)


class FaceRig:
    """Moves the mesh points of one portrait.

    Each movement is a field of displacements (468, 2) in portrait pixels; fields are added, then the head is turned.
    """

    def __init__(self, portrait: Portrait, config: MotionConfig) -> None:
        self.config, self.portrait = config, portrait
        self.unit_px = portrait.face_height_px
        points = portrait.points[:, :2].astype(np.float64)
        self.corner_line_y = float(points[list(MOUTH_CORNERS), 1].mean())
        self.close = self._closing(points)
        self.jaw, self.upper, self.corners = self._lip_fields(points + self.close)
        self.blink = self._blink_field(points)

    def move(self, lips: LipMotion, head: HeadMotion) -> np.ndarray:
        """The mesh in portrait pixels at each frame: float32 (T, 468, 3)."""
        gap_px = lips.opening[:, None, None] * self.config.max_opening * self.unit_px
        share = self.config.upper_lip_share
        moved = self.portrait.points[None, :, :2] + self.close
        moved = moved + gap_px * ((1 - share) * self.jaw + share * self.upper)
        moved = moved - lips.rounding[:, None, None] * self.config.corner_travel * self.unit_px * self.corners
        moved = moved + head.lids[:, None, None] * self.blink
        depth = np.broadcast_to(self.portrait.points[None, :, 2:], (*moved.shape[:2], 1))
        return self.turn(np.concatenate([moved, depth], axis=2), head)

    def turn(self, points: np.ndarray, head: HeadMotion) -> np.ndarray:
        """Turn points (T, V, 3) about the middle of the head and shift them."""
        sides = self.portrait.points[list(SIDES)]
        pivot = sides.mean(0) + np.array([0, 0.25 * self.unit_px, 0])
        yaw, pitch, roll = head.rotation_rad.T
        one, zero = np.ones_like(yaw), np.zeros_like(yaw)
        about_y = [[np.cos(yaw), zero, np.sin(yaw)], [zero, one, zero], [-np.sin(yaw), zero, np.cos(yaw)]]
        about_x = [[one, zero, zero], [zero, np.cos(pitch), -np.sin(pitch)], [zero, np.sin(pitch), np.cos(pitch)]]
        about_z = [[np.cos(roll), -np.sin(roll), zero], [np.sin(roll), np.cos(roll), zero], [zero, zero, one]]
        turn_y, turn_x, turn_z = (np.array(m).transpose(2, 0, 1) for m in (about_y, about_x, about_z))
        turned = (points - pivot) @ (turn_z @ turn_x @ turn_y).transpose(0, 2, 1) + pivot
        turned[..., :2] += head.shift[:, None] * self.unit_px
        return turned.astype(np.float32)

    def _closing(self, points: np.ndarray) -> np.ndarray:
        """Brings lips that are apart in the portrait together: the neutral mouth."""
        upper, lower = list(UPPER_INNER), list(LOWER_INNER)
        gap = np.maximum(points[lower, 1] - points[upper, 1], 0)
        field = np.zeros_like(points)
        order = np.argsort(points[upper, 0])
        for ring, share in ((UPPER_LIP, 0.25), (LOWER_LIP, -0.75)):
            field[ring, 1] = share * np.interp(points[ring, 0], points[upper, 0][order], gap[order], left=0, right=0)
        middle = float(gap[len(gap) // 2])
        rest = self._below_mouth(points) * -0.6 * middle
        outside = np.setdiff1d(np.arange(len(points)), [*UPPER_LIP, *LOWER_LIP, *MOUTH_CORNERS])
        field[outside, 1] = np.where(points[outside, 1] > self.corner_line_y, rest[outside], 0)
        return field

    def _below_mouth(self, points: np.ndarray) -> np.ndarray:
        """(468,) how much a point follows the jaw: 0 at the nose, 1 at the chin, less towards the ears."""
        chin_y = points[CHIN, 1]
        down = (points[:, 1] - self.corner_line_y) / (chin_y - self.corner_line_y)
        half_width = np.ptp(points[list(OVAL), 0]) / 2
        aside = np.abs(points[:, 0] - points[CHIN, 0]) / half_width
        return _smooth_step(down, -0.25, 0.6) * (1 - 0.75 * _smooth_step(aside, 0.35, 1.0))

    def _lip_fields(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per unit of gap: lower lip and jaw down, upper lip up; per unit of travel: corners apart."""
        centre = points[list(LIPS_OUTER)].mean(0)
        half_width = abs(points[MOUTH_CORNERS[1], 0] - points[MOUTH_CORNERS[0], 0]) / 2
        across = (points[:, 0] - centre[0]) / half_width
        arch = np.sqrt(np.clip(1 - across**2, 0, 1))
        jaw, upper, corners = np.zeros_like(points), np.zeros_like(points), np.zeros_like(points)
        jaw[:, 1] = self._below_mouth(points)
        jaw[LOWER_LIP, 1] = np.maximum(arch[LOWER_LIP], 0.25)
        jaw[UPPER_LIP] = 0
        jaw[list(MOUTH_CORNERS), 1] = 0.25
        upper[UPPER_LIP, 1] = -arch[UPPER_LIP]
        above = (points[:, 1] < centre[1]) & (np.abs(across) < 1.2)
        near = np.exp(-(((points[:, 1] - centre[1]) / (0.14 * self.unit_px)) ** 2))
        outside = np.setdiff1d(np.nonzero(above)[0], UPPER_LIP)
        upper[outside, 1] = -0.7 * near[outside] * arch[outside]
        reach = np.where(np.abs(across) < 1, np.abs(across), np.exp(-((np.abs(across) - 1) ** 2) / 0.5))
        corners[:, 0] = np.sign(across) * reach * near
        return jaw, upper, corners

    @staticmethod
    def _blink_field(points: np.ndarray) -> np.ndarray:
        """Upper lids to the lower ones, and some of the skin above with them."""
        field = np.zeros_like(points)
        for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
            drop = points[list(lower), 1] - points[list(upper), 1]
            field[list(upper), 1] = 0.92 * drop
            field[list(lower), 1] = -0.04 * drop
        for above, lid in LID_SKIN:
            field[list(above), 1] = 0.45 * field[list(lid), 1]
        return field


def _smooth_step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
