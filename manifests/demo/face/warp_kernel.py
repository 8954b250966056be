"""The warp's inner loop, compiled by numba once per machine. Imported by `manifests.demo.face.animate` on first use."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fill_map(target: np.ndarray, source: np.ndarray, triangles: np.ndarray, map_x: np.ndarray, map_y: np.ndarray):
    """For each pixel under the mesh, write where in the portrait its colour comes from.

    Args:
        target: float32 (V, 2), the mesh in the frame.
        source: float32 (V, 2), the mesh in the portrait.
        triangles: int32 (F, 3).
        map_x, map_y: float32 (H, W), as `cv2.remap` takes them; pixels outside the mesh stay as they are.
    """
    height, width = map_x.shape
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = target[a, 0], target[a, 1]
        ux, uy = target[b, 0] - ax, target[b, 1] - ay
        vx, vy = target[c, 0] - ax, target[c, 1] - ay
        area = ux * vy - uy * vx
        if abs(area) < 1e-6:
            continue
        left = max(int(np.ceil(ax + min(ux, vx, 0.0))), 0)
        right = min(int(np.floor(ax + max(ux, vx, 0.0))), width - 1)
        top = max(int(np.ceil(ay + min(uy, vy, 0.0))), 0)
        bottom = min(int(np.floor(ay + max(uy, vy, 0.0))), height - 1)
        sx, sy = source[a, 0], source[a, 1]
        sux, suy = source[b, 0] - sx, source[b, 1] - sy
        svx, svy = source[c, 0] - sx, source[c, 1] - sy
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                px, py = column - ax, row - ay
                beta = (px * vy - py * vx) / area
                gamma = (ux * py - uy * px) / area
                if beta >= -1e-4 and gamma >= -1e-4 and beta + gamma <= 1.0001:
                    map_x[row, column] = sx + beta * sux + gamma * svx
                    map_y[row, column] = sy + beta * suy + gamma * svy
