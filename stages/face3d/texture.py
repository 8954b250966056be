"""Vertex colours of a clip's face, sampled from its frames; and meshes painted with vertex values."""

from __future__ import annotations

import cv2
import numpy as np

from stages.face3d.model import FaceModel

MIN_FACING = 0.35
"""Least cosine between a vertex's normal and the line of sight, 70 degrees; beyond it its colour is smeared."""


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3) of one mesh (V, 3), weighted by area; outward where triangles are counter-clockwise."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    of_triangle = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], of_triangle)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def paint(projected: np.ndarray, triangles: np.ndarray, triangle_id: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Vertex values interpolated over one drawn mesh.

    Args:
        projected: (V, 3) x px, y px, z mm, as it was drawn.
        triangles: (F, 3), as they were drawn.
        triangle_id: (H, W), from `rasterize`.
        values: (V, C) float.
    Returns:
        (H, W, C) float32, interpolated in perspective; 0 where there is no triangle.
    """
    rows, columns = np.nonzero(triangle_id)
    corners = triangles[triangle_id[rows, columns] - 1]
    x, y, z = np.moveaxis(projected[corners], -1, 0)
    ux, uy, vx, vy = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0], x[:, 2] - x[:, 0], y[:, 2] - y[:, 0]
    px, py = columns + 0.5 - x[:, 0], rows + 0.5 - y[:, 0]
    area = ux * vy - uy * vx
    beta, gamma = (px * vy - py * vx) / area, (ux * py - uy * px) / area
    share = np.stack([1 - beta - gamma, beta, gamma], axis=1) / z
    share /= share.sum(1, keepdims=True)
    painted = np.zeros((*triangle_id.shape, values.shape[1]), np.float32)
    painted[rows, columns] = np.einsum("nc,ncd->nd", share, values[corners])
    return painted


def sample_colours(
    model: FaceModel, frames: np.ndarray, vertices: np.ndarray, projected: np.ndarray, triangle_id: np.ndarray
) -> np.ndarray:
    """The median colour of each vertex over the frames that see it well.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        vertices: (T, V, 3) camera mm, and `projected` (T, V, 3) x px, y px, z mm.
        triangle_id: (T, H, W) of `model.face_triangles`.
    Returns:
        (V, 3) uint8 RGB. A vertex that no frame sees has its neighbours' colour; far from visible vertices it has the
        model's, in the light of the others.
    """
    triangles = model.face_triangles
    seen_colours = np.full((len(frames), len(model.mean), 3), np.nan, np.float32)
    for frame, mesh, points, ids, colours in zip(frames, vertices, projected, triangle_id, seen_colours, strict=True):
        seen = np.zeros(len(model.mean), bool)
        seen[triangles[np.unique(ids[ids > 0]) - 1]] = True
        sight = -mesh / np.linalg.norm(mesh, axis=1, keepdims=True)
        seen &= (vertex_normals(mesh, model.triangles) * sight).sum(1) > MIN_FACING
        seen &= ((points[:, :2] > 0) & (points[:, :2] < frame.shape[1::-1])).all(1)
        if not seen.any():
            continue
        x, y = points[seen, :2].astype(np.float32).T - np.float32(0.5)
        colours[seen] = cv2.remap(frame, x[None], y[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
    known = np.asarray(np.isfinite(seen_colours).any((0, 2)))
    albedo = model.albedo.astype(np.float32)
    if not known.any():
        return model.albedo
    median = np.nanmedian(seen_colours[:, known], axis=0)
    gain = np.median(median, axis=0) / np.maximum(np.median(albedo[known], axis=0), 1)
    colours = albedo * gain
    colours[known] = median
    _spread(colours, known, model.triangles)
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)


def _spread(colours: np.ndarray, known: np.ndarray, triangles: np.ndarray, steps: int = 6) -> None:
    """Spread known colours (V, 3) to neighbouring vertices, edge by edge outwards."""
    from scipy.sparse import coo_array

    known = known.copy()
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    joined = coo_array((np.ones(len(ends), np.float32), (ends[:, 0], ends[:, 1])), (len(known), len(known))).tocsr()
    joined = joined + joined.T
    for _ in range(steps):
        count = joined @ known.astype(np.float32)
        reached = ~known & (count > 0)
        colours[reached] = (joined @ (colours * known[:, None]))[reached] / count[reached, None]
        known |= reached
