"""Pictures of a head of the face model: geometry, smooth normals and light at every pixel, once per person."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.face3d.model import FaceModel, Part
from stages.face3d.raster import rasterize


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in front of the face: model axes (x right, y up, z to the viewer, mm) to pixels."""

    size_px: int
    focal_px: float
    distance_mm: float
    centre_y: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) mm to x px, y px, distance mm."""
        depth = self.distance_mm - points[..., 2]
        x = self.focal_px * points[..., 0] / depth + self.size_px / 2
        y = -self.focal_px * points[..., 1] / depth + self.size_px * self.centre_y
        return np.stack([x, y, depth], axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Surface:
    """What the camera sees at each of (S, S) pixels; zero where there is nothing.

    Args:
        depth: float32, mm.
        triangle: int32, index plus one.
        position, normal: float32 (S, S, 3), model axes.
        value: float32 (S, S), a per-vertex quantity.
    """

    depth: np.ndarray
    triangle: np.ndarray
    position: np.ndarray
    normal: np.ndarray
    value: np.ndarray

    @property
    def there(self) -> np.ndarray:
        return self.triangle > 0


def see(vertices: np.ndarray, triangles: np.ndarray, camera: Camera, value: np.ndarray) -> Surface:
    """Render one mesh (V, 3) with a quantity (V,) to carry along."""
    projected = camera.project(vertices)
    depth, ids = (image[0] for image in rasterize(projected[None], triangles, camera.size_px))
    rows, columns = np.nonzero(ids)
    corners = triangles[ids[rows, columns] - 1]
    weight = _perspective_weights(projected[corners], columns + 0.5, rows + 0.5)
    normals = vertex_normals(vertices, triangles)
    size = (camera.size_px, camera.size_px)
    images = []
    for quantity in (vertices, normals, value[:, None]):
        image = np.zeros((*size, quantity.shape[1]), np.float32)
        image[rows, columns] = np.einsum("nc,ncd->nd", weight, quantity[corners])
        images.append(image)
    position, normal, carried = images
    normal /= np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-6)
    return Surface(depth, ids, position, normal, carried[..., 0])


def _perspective_weights(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N, 3) barycentric weights in space of pixels inside projected triangles (N, 3, 3)."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ux, uy, vx, vy = b[:, 0] - a[:, 0], b[:, 1] - a[:, 1], c[:, 0] - a[:, 0], c[:, 1] - a[:, 1]
    px, py = x - a[:, 0], y - a[:, 1]
    area = ux * vy - uy * vx
    beta, gamma = (px * vy - py * vx) / area, (ux * py - uy * px) / area
    weight = np.stack([1 - beta - gamma, beta, gamma], axis=1) / corners[..., 2]
    return weight / weight.sum(1, keepdims=True)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals, weighted by the area of the triangles around."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    facing = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, triangles[:, k], facing)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def open_air(depth: np.ndarray, reach_px: float, depth_mm: float = 9.0) -> np.ndarray:
    """(S, S) in 0.45-1: how little a pixel lies in a hollow of its surroundings, which would shade it.

    What lies three hollows deep or more belongs to another part of the head (an ear beside a cheek) and is lit.
    """
    there = (depth > 0).astype(np.float32)
    around = wide_blur(depth, reach_px) / np.maximum(wide_blur(there, reach_px), 1e-3)
    behind = (depth - around) / depth_mm
    return (1 - 0.55 * np.clip(behind, 0, 1) * np.clip(3 - behind, 0, 1)).astype(np.float32)


def wide_blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """A Gaussian of many pixels, taken on a smaller picture: the same to the eye for a tenth of the time."""
    step = max(1, int(sigma_px / 3))
    size = image.shape[1::-1]
    small = cv2.resize(image, (size[0] // step, size[1] // step), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma_px / step), size, interpolation=cv2.INTER_LINEAR)


def mottle(size_px: int, scale_px: float, random: np.random.Generator) -> np.ndarray:
    """(S, S) smooth noise, mean 0, deviation 1, with features of this size."""
    cells = max(4, int(size_px / scale_px) + 3)
    coarse = random.normal(size=(cells, cells)).astype(np.float32)
    fine = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    return (fine - fine.mean()) / fine.std()


def part_weight(model: FaceModel, part: Part) -> np.ndarray:
    """(V,) share of the triangles around a vertex that belong to a part."""
    count, of_part = np.zeros(len(model.mean)), np.zeros(len(model.mean))
    for k in range(3):
        np.add.at(count, model.triangles[:, k], 1)
        np.add.at(of_part, model.triangles[model.triangle_part == part][:, k], 1)
    return of_part / np.maximum(count, 1)
