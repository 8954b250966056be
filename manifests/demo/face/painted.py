"""Painted people: heads of the CC0 face model with skin, hair, brows and clothes made up here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from manifests.demo.face.head_render import Camera, Surface, mottle, open_air, part_weight, see, vertex_normals
from manifests.demo.face.looks import Look
from manifests.demo.face.mesh import EYE_CORNERS, UPPER_LIDS
from manifests.demo.face.portrait import Portrait, find_points
from stages.core.weights import WeightStore
from stages.face.landmarks import CHIN, FOREHEAD, SIDES
from stages.face3d.load import load_face_model
from stages.face3d.model import FaceModel, Part

CANVAS_PX = 768
OVERSAMPLING = 1.5
SIZE_PX = round(CANVAS_PX * OVERSAMPLING)
CAMERA = Camera(SIZE_PX, 2.35 * SIZE_PX, 1100.0, 0.47)
KEY_LIGHT, FILL_LIGHT = np.array([-0.45, 0.5, 0.74]), np.array([0.8, 0.1, 0.59])
LENGTH_PX = SIZE_PX / 1024
"""Lengths of brush strokes below are for a canvas of 1024 px."""

BROWS = ((46, 53, 52, 65, 55), (276, 283, 282, 295, 285))
BROW_TOPS = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))
CHEEKS, NOSE_TIP = (50, 280), 1
BEARD_MIDDLE, MOUTH_MIDDLE = (17, 200, 152, 172, 397, 136, 365, 150, 379, 164), 13
IRIS_MM, PUPIL_MM = 5.9, 2.3
NECK_SEAM_MM = (62.0, 20.0)
"""Above its ragged lower edge the mesh of the neck is hidden, then fades in over the painted one."""


def paint_portrait(look: Look, weights: WeightStore) -> Portrait:
    """Paint a person, and find the landmarks as in any other picture."""
    picture = paint(look)
    return Portrait(picture, find_points(picture, weights))


def paint(look: Look) -> np.ndarray:
    """uint8 (CANVAS_PX, CANVAS_PX, 3): head and shoulders before a wall."""
    random = np.random.default_rng(look.seed)
    model = load_face_model()
    vertices = _head_shape(model, look, random)
    marks = model.at_landmarks(vertices)
    points = CAMERA.project(marks)
    outside = ~np.isin(model.triangle_part, [Part.TEETH, Part.MOUTH_BAG])  # drawn when the mouth opens
    model = replace(model, triangles=model.triangles[outside], triangle_part=model.triangle_part[outside])
    canvas = _wall(look, random)
    _long_hair(canvas, look, points, random)
    _neck_and_shirt(canvas, look, points, random)
    skin = see(vertices, model.triangles, CAMERA, part_weight(model, Part.LIPS))
    lowest_mm = vertices[:, 1].min()
    is_neck = model.triangle_part[np.maximum(skin.triangle - 1, 0)] == Part.HEAD
    risen = (skin.position[..., 1] - lowest_mm - NECK_SEAM_MM[0]) / NECK_SEAM_MM[1]
    fade = np.where(is_neck, np.clip(risen, 0, 1), 1)
    painted = _skin_colour(look, skin, points, random)
    nostrils = _filled(skin.there) & ~skin.there
    painted[nostrils] = 0.3 * np.array(look.skin, np.float32)
    _blend(canvas, painted, np.where(nostrils, 1, fade * skin.there).astype(np.float32))
    _eyes(canvas, model, look, vertices, skin)
    _brows_and_lashes(canvas, look, points, random)
    _hair(canvas, model, look, vertices, marks, skin, random)
    if look.glasses:
        _glasses(canvas, points)
    small = cv2.resize(canvas, (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_AREA)
    small += random.normal(size=small.shape).astype(np.float32) * 1.5
    return np.clip(small, 0, 255).astype(np.uint8)


def _head_shape(model: FaceModel, look: Look, random: np.random.Generator) -> np.ndarray:
    identity = random.normal(size=len(model.identity))
    identity *= look.strength * np.sqrt(len(identity)) / np.linalg.norm(identity)
    return model.shape(identity, np.zeros((1, len(model.expression))))[0]


def _wall(look: Look, random: np.random.Generator) -> np.ndarray:
    """A wall out of focus, lit from one side."""
    top, bottom = (np.array(colour, np.float32) for colour in look.wall)
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX].astype(np.float32) / SIZE_PX
    blend = np.clip(0.65 * rows + 0.35 * columns, 0, 1)[..., None]
    cloud = mottle(SIZE_PX, SIZE_PX / 5, random)[..., None]
    return top * (1 - blend) + bottom * blend + 7 * cloud


def _long_hair(canvas: np.ndarray, look: Look, points: np.ndarray, random: np.random.Generator) -> None:
    """What hangs behind the neck."""
    if look.hair_length <= 0:
        return
    centre, half, height = _head_box(points)
    half = half * 1.05 + 1.6 * look.hair_mm * CAMERA.focal_px / CAMERA.distance_mm
    bottom = centre[1] + look.hair_length * height
    top = centre[1] - 0.75 * height
    t = np.linspace(0, 1, 40)
    width = half * (np.sqrt(np.clip(1 - (1 - 3 * t).clip(0, 1) ** 2, 0, 1)) + 0.12 * np.sin(np.pi * t) - 0.25 * t**3)
    y = top + t * (bottom - top)
    left, right = np.stack([centre[0] - width, y], 1), np.stack([centre[0] + width, y], 1)
    mask = _soft_mask(np.concatenate([left, right[::-1]]), 3)
    columns = np.linspace(0, 1, SIZE_PX, dtype=np.float32)
    strands = cv2.GaussianBlur(random.normal(size=(1, SIZE_PX)).astype(np.float32), (0, 0), 2.5)
    strands = np.tile(strands / strands.std(), (SIZE_PX, 1)) + 0.5 * mottle(SIZE_PX, 120, random)
    aside = 1 - 0.5 * np.abs(columns * SIZE_PX - centre[0]) / half
    colour = np.array(look.hair, np.float32) * (0.55 + 0.14 * strands + 0.25 * aside)[..., None]
    _blend(canvas, np.clip(colour, 0, 255), mask)


def _neck_and_shirt(canvas: np.ndarray, look: Look, points: np.ndarray, random: np.random.Generator) -> None:
    centre, half, height = _head_box(points)
    chin_y = points[CHIN, 1]
    columns = (np.arange(SIZE_PX, dtype=np.float32) - centre[0])[None] / (0.62 * half)
    rows = np.arange(SIZE_PX, dtype=np.float32)[:, None]
    round_neck = np.sqrt(np.clip(1.05 - columns**2, 0.08, 1))
    under_chin = 0.62 + 0.38 * np.clip((rows - chin_y) / (0.28 * height), 0, 1)
    skin = np.array(look.skin, np.float32) * (round_neck * under_chin * 0.9 * (1 - 0.12 * columns))[..., None]
    neck = [(-0.62, -0.3), (-0.6, 0.25), (-0.85, 0.45), (0, 0.7), (0.85, 0.45), (0.6, 0.25), (0.62, -0.3)]
    _blend(canvas, np.clip(skin, 0, 255), _soft_mask([(centre[0] + x * half, chin_y + y * height) for x, y in neck], 3))
    slope = [(-0.66, 0.24), (-1.0, 0.36), (-1.9, 0.5), (-2.5, 0.8), (-2.7, 3), (2.7, 3), (2.5, 0.8), (1.9, 0.5)]
    collar = [(1.0, 0.36), (0.66, 0.24), (0.4, 0.42), (0, 0.52), (-0.4, 0.42)]
    outline = [(centre[0] + x * half, chin_y + y * height) for x, y in (*slope, *collar)]
    folds = 0.09 * mottle(SIZE_PX, 140, random) + 0.025 * mottle(SIZE_PX, 5, random)
    light = 0.95 - 0.16 * columns * 0.62 / 2 + folds
    cloth = np.array(look.shirt, np.float32) * light[..., None]
    _blend(canvas, np.clip(cloth, 0, 255), _soft_mask(outline, 2))
    edge = np.array([(centre[0] + x * half, chin_y + y * height) for x, y in [*collar[1:], (-0.66, 0.24)]])
    dark = tuple(0.7 * c for c in look.shirt)
    cv2.polylines(canvas, [np.round(edge).astype(np.int32)], False, dark, round(5 * LENGTH_PX), cv2.LINE_AA)


def _skin_colour(look: Look, seen: Surface, points: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Lit skin with lips, blush, beard and pores."""
    albedo = np.ones((SIZE_PX, SIZE_PX, 1), np.float32) * np.array(look.skin, np.float32)
    _, half, height = _head_box(points)
    for index, strength in ((CHEEKS[0], 0.5), (CHEEKS[1], 0.5), (NOSE_TIP, 0.35)):
        blush = _spot(points[index], 0.22 * half)[..., None] * strength
        albedo *= 1 - blush * np.array([0.02, 0.16, 0.14], np.float32)
    tone = (
        0.022 * mottle(SIZE_PX, 90, random) + 0.016 * mottle(SIZE_PX, 14, random) + 0.02 * mottle(SIZE_PX, 3.5, random)
    )
    albedo *= 1 + tone[..., None]
    lips = np.clip(seen.value * 1.15, 0, 1)[..., None]
    creases = 1 + 0.04 * mottle(SIZE_PX, 5, random)[..., None]
    albedo = albedo * (1 - lips) + lips * np.array(look.lips, np.float32) * creases
    if look.beard > 0:
        amount = _beard_mask(points, half, height) * (1 - lips[..., 0]) * look.beard
        stubble = np.clip(0.75 + 0.35 * mottle(SIZE_PX, 3, random), 0, 1.2)
        cover = np.clip(amount * stubble, 0, 1)[..., None]
        albedo = albedo * (1 - cover) + cover * np.array(look.hair, np.float32)
    return np.clip(albedo * _light(seen, warm=0.05) + _shine(seen, 22, 20 + 0 * lips + 22 * lips), 0, 255)


def _light(seen: Surface, warm: float) -> np.ndarray:
    """(S, S, 3) wrapped diffuse light of two lamps and the room; red where it grazes, as light does in skin."""
    key = np.clip(seen.normal @ (KEY_LIGHT / np.linalg.norm(KEY_LIGHT)).astype(np.float32), -0.3, 1)
    fill = np.clip(seen.normal @ (FILL_LIGHT / np.linalg.norm(FILL_LIGHT)).astype(np.float32), 0, 1)
    wrapped = np.clip((key + 0.3) / 1.3, 0, 1)
    air = open_air(seen.depth, 14 * LENGTH_PX) * (0.6 + 0.4 * open_air(seen.depth, 40 * LENGTH_PX, 18))
    level = (0.34 + 0.62 * wrapped + 0.16 * fill) * air
    graze = warm * (1 - np.abs(wrapped - 0.45) * 2).clip(0, 1)
    return level[..., None] * np.stack([1 + graze, 1 - 0.3 * graze, 1 - 0.6 * graze], axis=-1)


def _shine(seen: Surface, power: float, strength: np.ndarray) -> np.ndarray:
    half_way = KEY_LIGHT / np.linalg.norm(KEY_LIGHT) + np.array([0, 0, 1])
    half_way /= np.linalg.norm(half_way)
    return np.clip(seen.normal @ half_way.astype(np.float32), 0, 1)[..., None] ** power * strength


def _beard_mask(points: np.ndarray, half: float, height: float) -> np.ndarray:
    """Cheeks below the ears, chin and upper lip."""
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX].astype(np.float32)
    mouth, chin = points[MOUTH_MIDDLE], points[CHIN]
    aside = np.abs(columns - mouth[0]) / half
    edge_y = mouth[1] - 0.10 * height - np.clip(aside - 0.45, 0, 1) * 0.75 * height
    low = 1 / (1 + np.exp(-(rows - edge_y) / (0.018 * height)))
    cheek = 1 / (
        1 + np.exp(-(np.hypot(aside / 0.62, (rows - mouth[1] + 0.02 * height) / (0.42 * height)) - 0.62) / 0.07)
    )
    moustache = np.exp(-(((rows - mouth[1] + 0.085 * height) / (0.04 * height)) ** 2)) * (aside < 0.4)
    fade = np.clip(1 - (rows - chin[1] - 0.08 * height) / (0.08 * height), 0, 1)
    return np.clip(np.maximum(low * cheek, moustache * low), 0, 1) * fade


def _eyes(canvas: np.ndarray, model: FaceModel, look: Look, vertices: np.ndarray, seen: Surface) -> None:
    is_eye = (model.triangle_part[np.maximum(seen.triangle - 1, 0)] == Part.EYES) & seen.there
    used = np.unique(model.triangles[model.triangle_part == Part.EYES])
    for side in (-1, 1):
        ball = vertices[used[np.sign(vertices[used, 0]) == side]]
        centre = (ball.min(0) + ball.max(0)) / 2
        here = is_eye & (np.sign(seen.position[..., 0]) == side)
        offset = seen.position[here] - centre
        radius = np.hypot(offset[:, 0] + side * 0.4, offset[:, 1])
        angle = np.arctan2(offset[:, 1], offset[:, 0])
        streaks = 1 + 0.18 * np.sin(angle * 23) * np.sin(angle * 9 + 1)
        iris = np.array(look.iris, np.float32) * (streaks * (0.75 + 0.6 * radius / IRIS_MM))[:, None]
        iris *= np.clip((IRIS_MM * 1.12 - radius) / (0.22 * IRIS_MM), 0.35, 1)[:, None]
        iris *= np.clip((radius - PUPIL_MM) / 0.5, 0.12, 1)[:, None]
        white = np.array((226, 220, 214), np.float32) * (1 - 0.012 * radius**1.35)[:, None].clip(0.4, 1)
        in_iris = np.clip((IRIS_MM - radius) / 0.6 + 0.5, 0, 1)[:, None]
        colour = white * (1 - in_iris) + iris * in_iris
        shaded = colour * (0.42 + 0.58 * np.clip((5.2 - offset[:, 1]) / 5.0, 0, 1))[:, None]
        glint = np.exp(-(((offset[:, 0] + 2.1) / 0.9) ** 2 + ((offset[:, 1] - 2.0) / 0.9) ** 2))[:, None]
        canvas[here] = np.clip(shaded + 210 * glint, 0, 255)


def _brows_and_lashes(canvas: np.ndarray, look: Look, points: np.ndarray, random: np.random.Generator) -> None:
    _, _, height = _head_box(points)
    dark = tuple(0.6 * np.array(look.hair) + 0.2 * np.array(look.skin))
    for low, top in zip(BROWS, BROW_TOPS, strict=True):
        lower, upper = points[list(low), :2], points[list(top), :2]
        grow = 0.5 * (look.brow - 1) + 0.1
        for _ in range(int(230 * look.brow)):
            along = random.uniform(0, 1)
            across = np.clip(random.normal(0.4, 0.16 + 0.15 * grow), 0, 1)
            edge = [np.array([np.interp(along * 4, range(5), line[:, k]) for k in range(2)]) for line in (lower, upper)]
            root = edge[0] + across * (edge[1] - edge[0])
            outward = np.sign(lower[0, 0] - lower[-1, 0])
            lean = np.array([outward * (0.35 + 0.65 * (1 - along)), -0.9 * along]) + random.normal(0, 0.12, 2)
            tip = root + lean * 0.028 * height * random.uniform(0.6, 1.0)
            _stroke(canvas, root, tip, dark, 1.4)
    lash = tuple(0.25 * np.array(look.skin) * 0.6)
    for lids, (outer, inner) in zip(UPPER_LIDS, EYE_CORNERS, strict=True):
        line = points[[outer, *lids, inner], :2] + [0, -0.004 * height]
        cv2.polylines(canvas, [np.round(line * 16).astype(np.int32)], False, lash, round(5 * LENGTH_PX), cv2.LINE_AA, 4)


def _hair(
    canvas: np.ndarray,
    model: FaceModel,
    look: Look,
    vertices: np.ndarray,
    marks: np.ndarray,
    skin: Surface,
    random: np.random.Generator,
) -> None:
    """A shell over the scalp, drawn where it lies before the skin."""
    if look.hair_mm <= 0:
        return
    amount = _scalp(look, vertices, marks)

    outer = np.isin(model.triangle_part, [Part.SKIN, Part.HEAD])
    normals = vertex_normals(vertices, model.triangles[outer])
    bumps = 1 + look.curl * random.normal(size=len(vertices)) * 0.05
    shell = (vertices + normals * (look.hair_mm * np.clip(amount, 0, 1) * bumps)[:, None]).astype(np.float32)
    hairy = outer & (amount[model.triangles].max(1) > 0)
    triangles = np.ascontiguousarray(model.triangles[hairy])
    seen = see(shell, triangles, CAMERA, amount.astype(np.float32))
    front = seen.there & ((seen.depth < skin.depth + 0.5) | ~skin.there)
    turn = np.arctan2(seen.position[..., 0] - 4, seen.position[..., 2] + 70) + 0.012 * mottle(SIZE_PX, 60, random)
    rise = np.arctan2(seen.position[..., 1] - 20, np.hypot(seen.position[..., 0], seen.position[..., 2] + 70))
    row = np.clip((rise / np.pi + 0.5) * 40, 0, 63).astype(np.float32)
    column = ((turn / (2 * np.pi) + 0.5) * 2047).astype(np.float32)
    if look.curl > 0:
        strands = mottle(SIZE_PX, 16, random) * 1.2 + 0.5 * mottle(SIZE_PX, 6, random)
    else:
        table = cv2.GaussianBlur(random.normal(size=(64, 2048)).astype(np.float32), (0, 0), sigmaX=1.6, sigmaY=7)
        strands = cv2.remap(table / table.std(), column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    light = _light(seen, 0.0)
    band = _shine(seen, 9, (26 + 18 * strands)[..., None].clip(0, 80)) * (0.35 + np.mean(look.hair) / 255)
    colour = np.clip(np.array(look.hair, np.float32) * light * (1.0 + 0.22 * strands)[..., None] + band, 0, 255)
    ragged = seen.value + 0.16 * strands
    mask = np.clip((ragged - 0.12) / 0.3, 0, 1) * front
    mask = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.2 * LENGTH_PX)
    _blend(canvas, colour, mask * seen.there)


def _scalp(look: Look, vertices: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """(V,) above 0 where hair grows, 1 where it is at full thickness."""
    top, side = marks[FOREHEAD], np.abs(marks[list(SIDES), 0]).mean()
    eye_y = marks[[corner for pair in EYE_CORNERS for corner in pair], 1].mean()
    x, y, z = vertices.T
    rise = (y - top[1] + look.hairline) + 1.05 * (top[2] - z - 6) - 0.0016 * x**2
    ear = (np.abs(x) > side + 2.0) & (y < eye_y + 22) & (y > eye_y - 70)
    nape = y - (eye_y - 75)
    amount = np.minimum(rise / 22, nape / 15)
    return np.where(ear, -0.2, np.clip(amount, -1, 1))


def _glasses(canvas: np.ndarray, points: np.ndarray) -> None:
    width, colour = round(7 * LENGTH_PX), (34, 30, 34)
    centres = [points[list(pair), :2].mean(0) for pair in EYE_CORNERS]
    span = np.linalg.norm(centres[1] - centres[0])
    axes = (round(0.36 * span), round(0.29 * span))
    for centre in centres:
        place = (round(float(centre[0])), round(float(centre[1] + 0.05 * span)))
        cv2.ellipse(canvas, place, axes, 0, 0, 360, colour, width, cv2.LINE_AA)
    y = round(float(centres[0][1]))
    inner = [round(float(centres[0][0])) + axes[0], round(float(centres[1][0])) - axes[0]]
    cv2.line(canvas, (inner[0], y), (inner[1], y), colour, width, cv2.LINE_AA)
    for centre, temple, sign in zip(centres, SIDES, (-1, 1), strict=True):
        start = (round(float(centre[0])) + sign * axes[0], y)
        cv2.line(canvas, start, (round(float(points[temple, 0])), y - round(4 * LENGTH_PX)), colour, width, cv2.LINE_AA)


def _filled(there: np.ndarray) -> np.ndarray:
    """The same without its holes."""
    outside = np.pad(there.astype(np.uint8), 1)
    cv2.floodFill(outside, None, (0, 0), 2)
    return outside[1:-1, 1:-1] != 2


def _head_box(points: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Middle between the eyes, half the face's width, and its height (forehead to chin), in pixels."""
    centre = points[[corner for pair in EYE_CORNERS for corner in pair], :2].mean(0)
    half = abs(points[SIDES[1], 0] - points[SIDES[0], 0]) / 2
    return centre, float(half), float(points[CHIN, 1] - points[FOREHEAD, 1])


def _spot(place: np.ndarray, radius_px: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX].astype(np.float32)
    return np.exp(-(((columns - place[0]) ** 2 + (rows - place[1]) ** 2) / (2 * radius_px**2)))


def _soft_mask(outline: Sequence[tuple[float, float]] | np.ndarray, blur_px: float) -> np.ndarray:
    mask = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    cv2.fillPoly(mask, [np.round(np.asarray(outline)).astype(np.int32)], 255, cv2.LINE_AA)
    return cv2.GaussianBlur(mask, (0, 0), blur_px * LENGTH_PX).astype(np.float32) / 255


def _blend(canvas: np.ndarray, colour: np.ndarray, mask: np.ndarray) -> None:
    canvas += (colour - canvas) * mask[..., None]


def _stroke(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, colour: tuple, width: float) -> None:
    ends = [tuple(int(v) for v in np.round(p * 16)) for p in (start, end)]
    cv2.line(canvas, ends[0], ends[1], colour, max(1, round(width * LENGTH_PX)), cv2.LINE_AA, 4)
