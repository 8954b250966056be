"""The z-buffer's inner loop, compiled by numba once per machine. Imported by `stages.raster` on first use."""

from __future__ import annotations

import numba
import numpy as np

NEAR_MM = np.float32(1.0)
EDGE = np.float32(2e-6)
"""Room for rounding, in triangles: without it a pixel centre on a shared edge can miss both neighbours."""


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def z_buffer(
    vertices: np.ndarray, triangles: np.ndarray, front_only: bool, depth: np.ndarray, triangle_id: np.ndarray
) -> None:
    """Fill `depth` (mm, 0 = none) and `triangle_id` (index + 1, 0 = none) for (T, V, 3) projected vertices."""
    num_frames, height, width = depth.shape
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    last_column, last_row = np.float32(width - 1), np.float32(height - 1)
    for frame in range(num_frames):
        inverse, ids, points = depth[frame], triangle_id[frame], vertices[frame]
        inverse[:] = zero
        ids[:] = 0
        for t in range(len(triangles)):
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
            # Relative to vertex a: fewer digits lost than in absolute pixel coordinates.
            ux, uy, vx, vy = points[b, 0] - ax, points[b, 1] - ay, points[c, 0] - ax, points[c, 1] - ay
            area = ux * vy - uy * vx
            if area == zero or (front_only and area > zero):
                continue
            bz, cz = points[b, 2], points[c, 2]
            if min(az, bz, cz) < NEAR_MM:
                continue
            # Pixel centres lie at +.5; clamp before the cast so that far outside points cannot overflow it.
            left = int(max(np.ceil(ax + min(ux, vx, zero) - half), zero))
            right = int(min(np.floor(ax + max(ux, vx, zero) - half), last_column))
            top = int(max(np.ceil(ay + min(uy, vy, zero) - half), zero))
            bottom = int(min(np.floor(ay + max(uy, vy, zero) - half), last_row))
            if left > right or top > bottom:
                continue
            scale = one / area
            at_a = one / az
            to_b, to_c = one / bz - at_a, one / cz - at_a
            beta_dx, gamma_dx = vy * scale, -uy * scale
            beta_dy, gamma_dy = -vx * scale, ux * scale
            near_dx = beta_dx * to_b + gamma_dx * to_c
            x_first = np.float32(left) + half - ax
            for row in range(top, bottom + 1):
                y = np.float32(row) + half - ay
                beta_row, gamma_row = beta_dy * y + beta_dx * x_first, gamma_dy * y + gamma_dx * x_first
                near_row = at_a + beta_row * to_b + gamma_row * to_c
                for column in range(left, right + 1):
                    x = np.float32(column - left)
                    beta, gamma = beta_row + beta_dx * x, gamma_row + gamma_dx * x
                    nearness = near_row + near_dx * x
                    inside = (beta >= -EDGE) & (gamma >= -EDGE) & (beta + gamma <= one + EDGE)
                    if inside & (nearness > inverse[row, column]):
                        inverse[row, column] = nearness
                        ids[row, column] = t + 1
        for row in range(height):
            for column in range(width):
                if ids[row, column]:
                    inverse[row, column] = one / inverse[row, column]
