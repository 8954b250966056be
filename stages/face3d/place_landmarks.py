"""Where MediaPipe's 468 landmarks lie on any morphable model, found by looking.

Random faces of the model are drawn, the detector marks them, each mark is traced back through the triangle-id image
to a point of the mean face, and the geometric median over all faces is the landmark. Needs no canonical mesh, and
cancels what the detector sees wrongly on average. The points of the face oval slide along the silhouette and are vague.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stages.core.command import UserError
from stages.core.records import CROP_PX
from stages.face.landmarks import NUM_FACE_POINTS
from stages.face3d.camera import FOCAL_PX, project, synthesize
from stages.face3d.model import FaceModel, Part
from stages.face3d.raster import rasterize

OUTER_PARTS = (Part.SKIN, Part.LIPS, Part.HEAD)


class LandmarksNotFound(UserError):
    """The detector found too few of the drawn faces to place the landmarks."""


@dataclass(frozen=True)
class LandmarkSearch:
    """How faces are drawn for the detector."""

    num_faces: int = 300
    seed: int = 1
    size_px: int = 512
    distance_mm: float = 900.0
    yaw_sigma_rad: float = 0.2
    pitch_sigma_rad: float = 0.12
    roll_sigma_rad: float = 0.05
    place_sigma_mm: tuple[float, float, float] = (8.0, 8.0, 60.0)
    identity_sigma: float = 0.8
    min_found: float = 0.8  # share of drawn faces


def place_landmarks(model: FaceModel, task_file: Path, search: LandmarkSearch) -> tuple[FaceModel, np.ndarray]:
    """The model with its landmarks, and the median distance in mm of single sightings from each landmark (468,)."""
    rng = np.random.default_rng(search.seed)
    sightings = np.full((search.num_faces, NUM_FACE_POINTS, 3), np.nan)
    with _detector(task_file) as detect:
        for sighting in sightings:
            id_coeff = rng.normal(0, search.identity_sigma, len(model.identity))
            exp_coeff = _random_expression(model, rng)
            rotation = rng.normal(0, [search.pitch_sigma_rad, search.yaw_sigma_rad, search.roll_sigma_rad])
            place = rng.normal([0, 0, search.distance_mm], search.place_sigma_mm)
            vertices = synthesize(model, id_coeff, exp_coeff[None], np.concatenate([rotation, place])[None])
            focal_px = np.full((1, 2), FOCAL_PX * search.size_px / CROP_PX)
            projected = project(vertices, focal_px, centre_px=search.size_px / 2)
            _, triangle_id = rasterize(projected, model.triangles, search.size_px)
            background = rng.integers(60, 200, 3)
            marks = detect(shade(model, vertices[0], projected[0], triangle_id[0], background))
            if marks is not None:
                sighting[:] = _trace(model, projected[0], triangle_id[0], marks)
    found = np.isfinite(sightings).any((1, 2)).mean()
    if found < search.min_found:
        raise LandmarksNotFound(f"the detector found {found:.0%} of the drawn faces")
    centres = _mirrored_mean(np.stack([_geometric_median(sightings[:, i]) for i in range(NUM_FACE_POINTS)]))
    spread_mm = np.nanmedian(np.linalg.norm(sightings - centres, axis=-1), axis=0)
    triangles, barycentric = _nearest_on_surface(model, centres)
    return replace(model, landmark_triangles=triangles, landmark_barycentric=barycentric), spread_mm


@dataclass(frozen=True)
class Light:
    """One far lamp and light from everywhere.

    Args:
        direction: to the lamp, in the camera's axes (x right, y down, z away).
        ambient: share of the light that comes from everywhere.
    """

    direction: tuple[float, float, float] = (-0.3, -0.5, -1.0)
    ambient: float = 0.35


def shade(
    model: FaceModel,
    vertices: np.ndarray,
    projected: np.ndarray,
    triangle_id: np.ndarray,
    background: np.ndarray,
    light: Light = Light(),
) -> np.ndarray:
    """A lit picture (H, W, 3) uint8 RGB of one face, from its vertices (V, 3) in camera mm and as drawn."""
    corners = vertices[model.triangles]
    face_normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normal, model.triangles[:, corner], face_normal)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    lamp = np.array(light.direction) / np.linalg.norm(light.direction)
    colour = model.albedo * np.clip(light.ambient + (1 - light.ambient) * normal @ lamp, 0.15, 1)[:, None]
    picture = np.broadcast_to(np.asarray(background, np.float64), (*triangle_id.shape, 3)).copy()
    seen = triangle_id > 0
    rows, columns = np.nonzero(seen)
    triangles = model.triangles[triangle_id[seen] - 1]
    share = _barycentric(projected[triangles][..., :2], np.stack([columns + 0.5, rows + 0.5], -1))
    picture[seen] = np.einsum("nc,ncd->nd", share, colour[triangles])
    return np.clip(picture, 0, 255).astype(np.uint8)


def _random_expression(model: FaceModel, rng: np.random.Generator) -> np.ndarray:
    """Mostly calm, with a part-open jaw: the inner lips can be told apart only when they part."""
    exp_coeff = rng.uniform(0, 0.35, len(model.expression)) * (rng.random(len(model.expression)) < 0.12)
    names = list(model.expression_names)
    if "jawOpen" in names:
        exp_coeff[names.index("jawOpen")] = rng.uniform(0.0, 0.4)
    return exp_coeff


@contextmanager
def _detector(task_file: Path) -> Iterator[Callable[[np.ndarray], np.ndarray | None]]:
    """A function from a picture to its landmarks (468, 2) in pixels, or None where no face is found."""
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions

    def detect(picture: np.ndarray) -> np.ndarray | None:
        found = landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture)))
        if not found.face_landmarks:
            return None
        height, width = picture.shape[:2]
        return np.array([(p.x * width, p.y * height) for p in found.face_landmarks[0][:NUM_FACE_POINTS]])

    options = FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(task_file)))
    with FaceLandmarker.create_from_options(options) as landmarker:
        yield detect


def _barycentric(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Affine coordinates (N, 3) of image points (N, 2) in triangles (N, 3, 2)."""
    u, v, p = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    beta = (p[:, 0] * v[:, 1] - p[:, 1] * v[:, 0]) / area
    gamma = (u[:, 0] * p[:, 1] - u[:, 1] * p[:, 0]) / area
    return np.stack([1 - beta - gamma, beta, gamma], -1)


def _trace(model: FaceModel, projected: np.ndarray, triangle_id: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Points of the mean face (468, 3) in mm under the marks; NaN beside the face or inside mouth and eyes."""
    size = len(triangle_id)
    pixel = np.floor(marks).astype(int)
    inside = ((pixel >= 0) & (pixel < size)).all(1)
    pixel = np.clip(pixel, 0, size - 1)
    hit = triangle_id[pixel[:, 1], pixel[:, 0]] - 1
    valid = inside & (hit >= 0) & np.isin(model.triangle_part[np.maximum(hit, 0)], OUTER_PARTS)
    corners = model.triangles[np.maximum(hit, 0)]
    share = np.clip(_barycentric(projected[corners][..., :2].astype(np.float64), marks), 0, 1)
    share = share / projected[corners][..., 2]
    share /= share.sum(1, keepdims=True)
    points = np.einsum("lc,lcd->ld", share, model.mean[corners])
    points[~valid] = np.nan
    return points


def _geometric_median(points: np.ndarray) -> np.ndarray:
    """Weiszfeld's iteration over the finite rows of (N, 3)."""
    points = points[np.isfinite(points).all(1)]
    centre = np.median(points, axis=0)
    for _ in range(50):
        weight = 1 / np.maximum(np.linalg.norm(points - centre, axis=1), 1e-3)
        centre = weight @ points / weight.sum()
    return centre


def _mirrored_mean(points: np.ndarray, tolerance_mm: float = 5.0) -> np.ndarray:
    """Average each point with the mirror image of its twin, where two points are each other's nearest mirror image."""
    mirrored = points * [-1, 1, 1]
    distance = np.linalg.norm(points[:, None] - mirrored[None], axis=-1)
    twin = distance.argmin(1)
    mutual = (twin[twin] == np.arange(len(points))) & (distance.min(1) < tolerance_mm)
    return np.where(mutual[:, None], (points + mirrored[twin]) / 2, points)


def _nearest_on_surface(model: FaceModel, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangle and barycentric coordinates of the outer surface's point nearest to each point."""
    candidates = np.flatnonzero(np.isin(model.triangle_part, OUTER_PARTS))
    corners = model.mean[model.triangles[candidates]].astype(np.float64)
    triangles, barycentric = np.empty(len(points), np.int32), np.empty((len(points), 3), np.float32)
    for i, point in enumerate(points):
        share = _closest_barycentric(corners, point)
        distance = np.linalg.norm(np.einsum("nc,ncd->nd", share, corners) - point, axis=1)
        best = int(distance.argmin())
        triangles[i], barycentric[i] = candidates[best], share[best]
    return triangles, barycentric


def _closest_barycentric(corners: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Barycentric coordinates (N, 3) of the place in each triangle (N, 3, 3) that is closest to a point."""
    u, v, p = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], point - corners[:, 0]
    uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    pu, pv = (p * u).sum(1), (p * v).sum(1)
    area = np.maximum(uu * vv - uv * uv, 1e-12)
    beta, gamma = (vv * pu - uv * pv) / area, (uu * pv - uv * pu) / area
    inside = np.stack([1 - beta - gamma, beta, gamma], -1)
    options, distances = [inside], [np.where((inside >= 0).all(1), 0.0, np.inf)]
    for a, b in ((0, 1), (1, 2), (2, 0)):
        edge = corners[:, b] - corners[:, a]
        along = ((point - corners[:, a]) * edge).sum(1) / np.maximum((edge * edge).sum(1), 1e-12)
        share = np.zeros_like(inside)
        share[:, b] = np.clip(along, 0, 1)
        share[:, a] = 1 - share[:, b]
        options.append(share)
        distances.append(np.linalg.norm(np.einsum("nc,ncd->nd", share, corners) - point, axis=1))
    return np.stack(options)[np.argmin(distances, axis=0), np.arange(len(corners))]
