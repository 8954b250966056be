"""The fit's inner loops over frames and landmarks, compiled by numba once per machine.

Landmarks are turned by the frame's rotation and moved by its translation, and seen by a pinhole at the crop's middle.
An error of e px costs weight * r^2 * (sqrt(1 + e^2 / r^2) - 1): quadratic within r = `robust_px`, linear beyond.
"""

from __future__ import annotations

import numba
import numpy as np

from pipeline.records import CROP_PX

MIDDLE_PX = np.float32(CROP_PX / 2)


@numba.njit(cache=True, nogil=True, fastmath=True)
def landmark_pull(shape, turn, translation, focal_px, target, weight, robust_px, pull, turned, twist, error_px):
    """Cost and its derivatives by shape (`pull`: T, L, 3), left rotation and translation (`twist`: T, 6)."""
    one = np.float32(1)
    scale = one / (robust_px * robust_px)
    cost = 0.0
    for t in range(len(shape)):
        r = turn[t]
        fx, fy = focal_px[t, 0], focal_px[t, 1]
        tx, ty, tz = translation[t, 0], translation[t, 1], translation[t, 2]
        rx = ry = rz = sx = sy = sz = frame_cost = np.float32(0)
        for i in range(shape.shape[1]):
            mx, my, mz = shape[t, i, 0], shape[t, i, 1], shape[t, i, 2]
            ax = r[0, 0] * mx + r[0, 1] * my + r[0, 2] * mz
            ay = r[1, 0] * mx + r[1, 1] * my + r[1, 2] * mz
            az = r[2, 0] * mx + r[2, 1] * my + r[2, 2] * mz
            turned[t, i, 0], turned[t, i, 1], turned[t, i, 2] = ax, ay, az
            near = one / (az + tz)
            u, v = (ax + tx) * near, (ay + ty) * near
            ex, ey = fx * u + MIDDLE_PX - target[t, i, 0], fy * v + MIDDLE_PX - target[t, i, 1]
            square = ex * ex + ey * ey
            spread = np.sqrt(one + square * scale)
            w = weight[t, i] / spread
            frame_cost += weight[t, i] * (spread - one)
            error_px[t, i] = np.sqrt(square)
            gx, gy = w * ex * fx * near, w * ey * fy * near
            gz = -(gx * u + gy * v)
            pull[t, i, 0] = r[0, 0] * gx + r[1, 0] * gy + r[2, 0] * gz
            pull[t, i, 1] = r[0, 1] * gx + r[1, 1] * gy + r[2, 1] * gz
            pull[t, i, 2] = r[0, 2] * gx + r[1, 2] * gy + r[2, 2] * gz
            rx += ay * gz - az * gy
            ry += az * gx - ax * gz
            rz += ax * gy - ay * gx
            sx += gx
            sy += gy
            sz += gz
        twist[t, 0], twist[t, 1], twist[t, 2] = rx, ry, rz
        twist[t, 3], twist[t, 4], twist[t, 5] = sx, sy, sz
        cost += frame_cost
    return cost / scale


@numba.njit(cache=True, nogil=True, fastmath=True)
def landmark_bend(moved, motion, turn, turned, translation, focal_px, weight, error_px, robust_px, pull, twist):
    """Curvature of the landmark errors times a direction: `moved` (T, L, 3), in the model, and `motion` (T, 6)."""
    one = np.float32(1)
    scale = one / (robust_px * robust_px)
    for t in range(len(moved)):
        r = turn[t]
        fx, fy = focal_px[t, 0], focal_px[t, 1]
        tx, ty, tz = translation[t, 0], translation[t, 1], translation[t, 2]
        ox, oy, oz, mx, my, mz = motion[t]
        rx = ry = rz = sx = sy = sz = np.float32(0)
        for i in range(moved.shape[1]):
            dx, dy, dz = moved[t, i, 0], moved[t, i, 1], moved[t, i, 2]
            ax, ay, az = turned[t, i, 0], turned[t, i, 1], turned[t, i, 2]
            px = r[0, 0] * dx + r[0, 1] * dy + r[0, 2] * dz + oy * az - oz * ay + mx
            py = r[1, 0] * dx + r[1, 1] * dy + r[1, 2] * dz + oz * ax - ox * az + my
            pz = r[2, 0] * dx + r[2, 1] * dy + r[2, 2] * dz + ox * ay - oy * ax + mz
            near = one / (az + tz)
            u, v = (ax + tx) * near, (ay + ty) * near
            w = weight[t, i] / np.sqrt(one + error_px[t, i] * error_px[t, i] * scale)
            gx = w * (fx * near) * (fx * near) * (px - u * pz)
            gy = w * (fy * near) * (fy * near) * (py - v * pz)
            gz = -(gx * u + gy * v)
            pull[t, i, 0] = r[0, 0] * gx + r[1, 0] * gy + r[2, 0] * gz
            pull[t, i, 1] = r[0, 1] * gx + r[1, 1] * gy + r[2, 1] * gz
            pull[t, i, 2] = r[0, 2] * gx + r[1, 2] * gy + r[2, 2] * gz
            rx += ay * gz - az * gy
            ry += az * gx - ax * gz
            rz += ax * gy - ay * gx
            sx += gx
            sy += gy
            sz += gz
        twist[t, 0], twist[t, 1], twist[t, 2] = rx, ry, rz
        twist[t, 3], twist[t, 4], twist[t, 5] = sx, sy, sz
