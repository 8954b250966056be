"""The z-buffer's inner loop, compiled by numba once per machine. Imported by `stages.face3d.raster` on first use.

Triangles are filled row by row between their edges, so only covered pixels are visited. An edge is computed from its
upper end in every triangle, so neighbours agree on it to the last bit and leave no gap.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

NEAR_MM = np.float32(1.0)
HALF = np.float32(0.5)
FAST = {"contract", "nsz"}
Edge = tuple[Any, Any, Any]
"""Upper end x, y, and the step to the right in a row."""
Plane = tuple[Any, Any, Any, Any, Any]
"""1/z at a point, the point x, y, and the slopes along x and y."""


@numba.njit(nogil=True, fastmath=FAST, error_model="numpy")
def first_centre(place: np.float32, size: int) -> int:
    """The first pixel whose centre is at `place` or beyond; clamped before the cast against overflow."""
    return int(min(max(np.ceil(place - HALF), np.float32(0)), np.float32(size)))


@numba.njit(nogil=True, fastmath=FAST, error_model="numpy")
def first_centre_beyond(place: np.float32, size: int) -> int:
    """The first pixel whose centre is beyond `place`; negative before the picture."""
    return int(min(np.floor(place + HALF), np.float32(size)))


@numba.njit(nogil=True, fastmath=FAST, error_model="numpy")
def edge(x: np.float32, y: np.float32, to_x: np.float32, to_y: np.float32) -> Edge:
    """The edge from its upper end to its lower one."""
    return x, y, (to_x - x) / (to_y - y) if to_y > y else np.float32(0)


@numba.njit(nogil=True, fastmath=FAST, error_model="numpy")
def fill_rows(
    inverse: np.ndarray, ids: np.ndarray, number: int, rows: tuple[int, int], sides: tuple[Edge, Edge], plane: Plane
) -> None:
    """Fill half-open rows between two edges with a plane of 1/z, where it is nearer than the present surface."""
    (left_x, left_y, left_dx), (right_x, right_y, right_dx) = sides
    at, x, y, near_dx, near_dy = plane
    width = inverse.shape[1]
    for row in range(rows[0], rows[1]):
        centre = np.float32(row) + HALF
        first = first_centre(left_x + left_dx * (centre - left_y), width)
        last = first_centre_beyond(right_x + right_dx * (centre - right_y), width)
        nearness = at + near_dy * (centre - y) + near_dx * (np.float32(first) + HALF - x)
        for column in range(first, last):
            if nearness > inverse[row, column]:
                inverse[row, column] = nearness
                ids[row, column] = number
            nearness += near_dx


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def z_buffer(
    vertices: np.ndarray, triangles: np.ndarray, front_only: bool, depth: np.ndarray, triangle_id: np.ndarray
) -> None:
    """Fill `depth` (mm, 0 = none) and `triangle_id` (index + 1, 0 = none) for (T, V, 3) projected vertices."""
    num_frames, height, _ = depth.shape
    zero, one = np.float32(0), np.float32(1)
    nearness_of = np.empty(vertices.shape[1], np.float32)
    for frame in range(num_frames):
        inverse, ids, points = depth[frame], triangle_id[frame], vertices[frame]
        inverse[:] = zero
        ids[:] = 0
        for i in range(len(points)):
            nearness_of[i] = one / points[i, 2] if points[i, 2] >= NEAR_MM else zero
        for t in range(len(triangles)):
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
            ux, uy, vx, vy = bx - ax, by - ay, cx - ax, cy - ay
            area = ux * vy - uy * vx
            if area == zero or (front_only and area > zero):
                continue
            at_a, at_b, at_c = nearness_of[a], nearness_of[b], nearness_of[c]
            if at_a * at_b * at_c == zero:
                continue
            near_dx = (vy * (at_b - at_a) - uy * (at_c - at_a)) / area
            near_dy = (ux * (at_c - at_a) - vx * (at_b - at_a)) / area
            plane = (at_a, ax, ay, near_dx, near_dy)
            # From top to bottom: a, b, c.
            if by < ay:
                ax, ay, bx, by = bx, by, ax, ay
            if cy < by:
                bx, by, cx, cy = cx, cy, bx, by
                if by < ay:
                    ax, ay, bx, by = bx, by, ax, ay
            middle, end = first_centre(by, height), first_centre_beyond(cy, height)
            long, upper, lower = edge(ax, ay, cx, cy), edge(ax, ay, bx, by), edge(bx, by, cx, cy)
            long_is_left = bx > ax + long[2] * (by - ay)
            for rows, short in (((first_centre(ay, height), min(middle, end)), upper), ((middle, end), lower)):
                sides = (long, short) if long_is_left else (short, long)
                fill_rows(inverse, ids, t + 1, rows, sides, plane)
        pixels = inverse.reshape(-1)
        for i in range(len(pixels)):
            pixels[i] = one / pixels[i] if pixels[i] > zero else zero
