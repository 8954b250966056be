"""Things before the mouth: a hand, a microphone, a mask. Each is drawn once and placed over the lips of every frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.wild.films.clips import Clip, FaceFrame
from benchmarks.wild.films.film import Film
from stages.face.landmarks import LIPS_OUTER, SIDES

CANVAS_PX = 512
"""Side of a drawing, whose middle is placed on the mouth."""
ENTER_S = 0.25
"""Time in which a hand comes up from below, or goes again."""
COVERED = 0.3
"""Least share of the lips' outline behind a thing at which the mouth counts as hidden."""
AWAY = 1.6
"""Distance below the mouth at which a thing waits out of sight, in face heights."""
JAW = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
CHEEKS = (50, 280)


@dataclass(frozen=True)
class Thing:
    """A drawing.

    Args:
        rgb: float32 (CANVAS_PX, CANVAS_PX, 3).
        alpha: float32 (CANVAS_PX, CANVAS_PX), 0-1.
        side: side of the canvas, in face heights.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    side: float


def covered(clip: Clip, thing: Thing, begin_s: float, end_s: float) -> Film:
    """The clip with a thing before the mouth from `begin_s` to `end_s`, movement up and down included."""
    film = clip.film()
    faces = [FaceFrame.of(points) for points in clip.points()]
    lift = np.array([_lift(film.time_s(k), begin_s, end_s) for k in range(film.num_frames)])
    matrices = [_placing(face, thing, share) for face, share in zip(faces, lift, strict=True)]
    hidden = [_share_behind(thing, m, points) > COVERED for m, points in zip(matrices, clip.points(), strict=True)]
    at = np.flatnonzero(hidden)

    def draw(k: int, rgb: np.ndarray) -> np.ndarray:
        return _laid_over(rgb, thing, matrices[k]) if lift[k] > 0 else rgb

    return film.change(draw).label_part(int(at[0]), int(at[-1]) + 1, "mouth_hidden", "face_lost")


def _lift(time_s: float, begin_s: float, end_s: float) -> float:
    """Position of a thing, from 0 (away) to 1 (before the mouth)."""
    share = np.clip(min(time_s - begin_s, end_s - time_s) / ENTER_S, 0, 1)
    return float(share * share * (3 - 2 * share))


def _placing(face: FaceFrame, thing: Thing, lift: float) -> np.ndarray:
    """(2, 3) from the canvas to the frame."""
    scale = thing.side * face.height_px / CANVAS_PX
    turn = np.array([[face.turn[0], -face.turn[1]], [face.turn[1], face.turn[0]]])
    place = face.mouth + np.array([0, (1 - lift) * AWAY * face.height_px])
    return np.column_stack([turn * scale, place - turn @ np.full(2, CANVAS_PX / 2) * scale])


def _share_behind(thing: Thing, matrix: np.ndarray, points: np.ndarray) -> float:
    lips = points[list(LIPS_OUTER)]
    at = (lips - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    inside = ((at >= 0) & (at < CANVAS_PX)).all(axis=1)
    x, y = np.clip(at, 0, CANVAS_PX - 1).astype(int).T
    return float((inside & (thing.alpha[y, x] > 0.5)).mean())


def _laid_over(rgb: np.ndarray, thing: Thing, matrix: np.ndarray) -> np.ndarray:
    size = rgb.shape[1::-1]
    alpha = cv2.warpAffine(thing.alpha, matrix, size)[..., None]
    colour = cv2.warpAffine(thing.rgb, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(rgb * (1 - alpha) + colour * alpha, 0, 255).astype(np.uint8)


def hand(clip: Clip) -> Thing:
    """The back of a hand that comes from below, fingers over the mouth, in the skin of the clip's own face."""
    fingers = [  # root, tip, radius: x to the right, y down, in the canvas' sides from its middle
        ((-0.132, 0.04), (-0.142, -0.115), 0.043),
        ((-0.047, 0.01), (-0.052, -0.165), 0.046),
        ((0.040, 0.01), (0.040, -0.160), 0.046),
        ((0.122, 0.04), (0.126, -0.100), 0.041),
    ]
    depth = np.zeros((CANVAS_PX, CANVAS_PX), np.float32)  # 1 in the middle of a limb, 0 at its edge: shades it round
    for root, tip, radius in [((0.0, 0.15), (0.0, 0.12), 0.168), ((0.02, 0.62), (0.0, 0.15), 0.125)]:
        depth = np.maximum(depth, np.sqrt(_limb(root, tip, radius)))
    depth = np.maximum(depth, 0.9 * np.sqrt(_limb((0.13, 0.20), (0.235, 0.03), 0.045)))
    grooves = np.zeros_like(depth)
    for root, tip, radius in fingers:
        limb = np.sqrt(_limb(root, tip, radius))
        grooves = np.maximum(grooves, ((limb > 0) & (limb < 0.55)).astype(np.float32) * (1 - limb))
        depth = np.maximum(depth, limb)
    alpha = cv2.GaussianBlur((depth > 0.02).astype(np.float32), (0, 0), 1.5)
    light = 0.62 + 0.36 * np.clip(depth, 0, 1) - 0.16 * cv2.GaussianBlur(grooves, (0, 0), 3)
    for root, tip, radius in fingers:
        for share in (0.35, 0.68):  # knuckles
            x, y = (np.array(root) + (np.array(tip) - root) * share + 0.5) * CANVAS_PX
            axes = (round(radius * 0.8 * CANVAS_PX), 3)
            crease = np.zeros_like(depth)
            cv2.ellipse(crease, (round(x), round(y)), axes, 0, 0, 360, 1.0, 2, cv2.LINE_AA)
            light -= 0.10 * cv2.GaussianBlur(crease, (0, 0), 2)
    rgb = _skin(clip) * light[..., None]
    for _, tip, radius in fingers:
        nail = np.zeros_like(depth)
        x, y = (np.array(tip) + (0, -0.004) + 0.5) * CANVAS_PX
        axes = (round(0.55 * radius * CANVAS_PX), round(0.8 * radius * CANVAS_PX))
        cv2.ellipse(nail, (round(x), round(y)), axes, 0, 0, 360, 1.0, -1, cv2.LINE_AA)
        rgb *= 1 + cv2.GaussianBlur(nail, (0, 0), 1.5)[..., None] * np.array([0.10, 0.05, 0.05], np.float32)
    return Thing(rgb.astype(np.float32), alpha, side=1.7)


def _skin(clip: Clip) -> np.ndarray:
    """(CANVAS_PX, CANVAS_PX, 3): the cheek's texture, mirrored on and on, without its shading, in its median colour."""
    points, rgb = clip.points()[0], next(clip.frames())
    reach = max(4, round(0.09 * FaceFrame.of(points).height_px))
    patches = []
    for cheek in CHEEKS:
        x, y = np.clip(points[cheek].astype(int), reach, np.array(clip.size_px) - reach - 1)
        patches.append(rgb[y - reach : y + reach, x - reach : x + reach].astype(np.float32))
    patch = max(patches, key=lambda p: float(p.mean()))
    colour = np.median(patch.reshape(-1, 3), axis=0)
    detail = patch - cv2.GaussianBlur(patch, (0, 0), reach / 3)
    both = np.concatenate([detail, detail[:, ::-1]], axis=1)
    tile = np.concatenate([both, both[::-1]])
    times = -(-CANVAS_PX // len(tile))
    return np.tile(tile, (times, times, 1))[:CANVAS_PX, :CANVAS_PX] + colour


def _limb(root: tuple[float, float], tip: tuple[float, float], radius: float) -> np.ndarray:
    """1 - (distance / radius)^2 from a line, 0 outside."""
    y, x = np.mgrid[:CANVAS_PX, :CANVAS_PX].astype(np.float32) / CANVAS_PX - 0.5
    (x0, y0), (x1, y1) = root, tip
    along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2), 0, 1)
    distance = np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0))
    return np.clip(1 - (distance / radius) ** 2, 0, 1)


def microphone() -> Thing:
    """A stage microphone held to the lips: a ball of wire mesh as wide as the mouth, and its handle."""
    handle = _limb((0.22, 0.62), (0.04, 0.10), 0.075)
    ball = _limb((0.0, 0.0), (0.001, 0.0), 0.17)
    y, x = np.mgrid[:CANVAS_PX, :CANVAS_PX].astype(np.float32)
    mesh = 0.5 + 0.25 * (np.sin((x + y) * 0.75) + np.sin((x - y) * 0.75))
    shine = np.exp(-((x / CANVAS_PX - 0.44) ** 2 + (y / CANVAS_PX - 0.42) ** 2) / 0.003)
    grey = np.where(ball > 0, 40 + 55 * np.sqrt(ball) * mesh + 70 * shine, 22 + 60 * np.sqrt(handle))
    alpha = cv2.GaussianBlur(((ball > 0) | (handle > 0)).astype(np.float32), (0, 0), 1.2)
    return Thing(np.repeat(grey[..., None], 3, axis=2).astype(np.float32), alpha, side=1.15)


def masked(clip: Clip, colour: tuple[int, int, int], begin_s: float, end_s: float) -> Film:
    """The clip with a cloth mask over nose and mouth from `begin_s` to `end_s`."""
    film, points = clip.film(), clip.points()
    first, end = round(begin_s * film.fps), round(min(end_s, film.duration_s) * film.fps)

    def draw(k: int, rgb: np.ndarray) -> np.ndarray:
        return _with_mask(rgb, points[k], np.array(colour, np.float32)) if first <= k < end else rgb

    return film.change(draw).label_part(first, end, "mouth_hidden", "face_lost", "no_face")


def _with_mask(rgb: np.ndarray, mesh: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Cloth from the bridge of the nose to under the chin, lit from above, with folds."""
    face = FaceFrame.of(mesh)
    down = np.array([-face.turn[1], face.turn[0]]) * face.height_px
    outline = np.concatenate([mesh[list(JAW)][2:-2] + 0.04 * down, mesh[[361, 280, 197, 50, 132]]])
    alpha = np.zeros(rgb.shape[:2], np.uint8)
    cv2.fillPoly(alpha, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(alpha, (0, 0), max(1.0, face.height_px / 200)).astype(np.float32)[..., None] / 255
    rows, columns = np.mgrid[: rgb.shape[0], : rgb.shape[1]].astype(np.float32)
    half = np.linalg.norm(mesh[SIDES[1]] - mesh[SIDES[0]]) / 2
    along = ((columns - mesh[197, 0]) * down[0] + (rows - mesh[197, 1]) * down[1]) / face.height_px**2
    across = ((columns - mesh[197, 0]) * face.turn[0] + (rows - mesh[197, 1]) * face.turn[1]) / half
    folds = sum(np.exp(-(((along - at - 0.04 * across**2) / 0.012) ** 2)) for at in (0.18, 0.30, 0.42))
    light = 1.0 - 0.3 * across**2 - 0.15 * along - 0.06 * folds
    return np.clip(rgb * (1 - soft) + colour * light[..., None] * soft, 0, 255).astype(np.uint8)
