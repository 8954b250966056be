"""The fit's inner loops over frames and landmarks, compiled by numba once per machine.

Landmarks are rotated and translated by the frame's pose, and projected by a pinhole at the crop's middle. Coordinates
come before points, so that the loops over points vectorise.
An error of e px costs weight * r^2 * (sqrt(1 + e^2 / r^2) - 1): quadratic within r = `robust_px`, linear beyond.
"""

from __future__ import annotations

import numba
import numpy as np

from stages.core.records import CROP_PX

MIDDLE_PX = np.float32(CROP_PX / 2)


@numba.njit(cache=True, nogil=True, fastmath=True)
def landmark_pull(shape, turn, translation, focal_px, target, weight, robust_px, pull, turned, twist, error_px):
    """Cost and its derivatives by shape (`pull`: T, 3, L), left rotation and translation (`twist`: T, 6)."""
    one = np.float32(1)
    scale = one / (robust_px * robust_px)
    cost = 0.0
    for t in range(len(shape)):
        r = turn[t]
        fx, fy = focal_px[t, 0], focal_px[t, 1]
        tx, ty, tz = translation[t, 0], translation[t, 1], translation[t, 2]
        rx = ry = rz = sx = sy = sz = frame_cost = np.float32(0)
        for i in range(shape.shape[2]):
            mx, my, mz = shape[t, 0, i], shape[t, 1, i], shape[t, 2, i]
            ax = r[0, 0] * mx + r[0, 1] * my + r[0, 2] * mz
            ay = r[1, 0] * mx + r[1, 1] * my + r[1, 2] * mz
            az = r[2, 0] * mx + r[2, 1] * my + r[2, 2] * mz
            turned[t, 0, i], turned[t, 1, i], turned[t, 2, i] = ax, ay, az
            near = one / (az + tz)
            u, v = (ax + tx) * near, (ay + ty) * near
            ex, ey = fx * u + MIDDLE_PX - target[t, 0, i], fy * v + MIDDLE_PX - target[t, 1, i]
            square = ex * ex + ey * ey
            spread = np.sqrt(one + square * scale)
            w = weight[t, i] / spread
            frame_cost += weight[t, i] * (spread - one)
            error_px[t, i] = np.sqrt(square)
            gx, gy = w * ex * fx * near, w * ey * fy * near
            gz = -(gx * u + gy * v)
            pull[t, 0, i] = r[0, 0] * gx + r[1, 0] * gy + r[2, 0] * gz
            pull[t, 1, i] = r[0, 1] * gx + r[1, 1] * gy + r[2, 1] * gz
            pull[t, 2, i] = r[0, 2] * gx + r[1, 2] * gy + r[2, 2] * gz
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
    """Curvature of the landmark errors times a direction: `moved` (T, 3, L), in the model, and `motion` (T, 6)."""
    one = np.float32(1)
    scale = one / (robust_px * robust_px)
    for t in range(len(moved)):
        r = turn[t]
        fx, fy = focal_px[t, 0], focal_px[t, 1]
        tx, ty, tz = translation[t, 0], translation[t, 1], translation[t, 2]
        ox, oy, oz, mx, my, mz = motion[t]
        rx = ry = rz = sx = sy = sz = np.float32(0)
        for i in range(moved.shape[2]):
            dx, dy, dz = moved[t, 0, i], moved[t, 1, i], moved[t, 2, i]
            ax, ay, az = turned[t, 0, i], turned[t, 1, i], turned[t, 2, i]
            px = r[0, 0] * dx + r[0, 1] * dy + r[0, 2] * dz + oy * az - oz * ay + mx
            py = r[1, 0] * dx + r[1, 1] * dy + r[1, 2] * dz + oz * ax - ox * az + my
            pz = r[2, 0] * dx + r[2, 1] * dy + r[2, 2] * dz + ox * ay - oy * ax + mz
            near = one / (az + tz)
            u, v = (ax + tx) * near, (ay + ty) * near
            w = weight[t, i] / np.sqrt(one + error_px[t, i] * error_px[t, i] * scale)
            gx = w * (fx * near) * (fx * near) * (px - u * pz)
            gy = w * (fy * near) * (fy * near) * (py - v * pz)
            gz = -(gx * u + gy * v)
            pull[t, 0, i] = r[0, 0] * gx + r[1, 0] * gy + r[2, 0] * gz
            pull[t, 1, i] = r[0, 1] * gx + r[1, 1] * gy + r[2, 1] * gz
            pull[t, 2, i] = r[0, 2] * gx + r[1, 2] * gy + r[2, 2] * gz
            rx += ay * gz - az * gy
            ry += az * gx - ax * gz
            rz += ax * gy - ay * gx
            sx += gx
            sy += gy
            sz += gz
        twist[t, 0], twist[t, 1], twist[t, 2] = rx, ry, rz
        twist[t, 3], twist[t, 4], twist[t, 5] = sx, sy, sz


@numba.njit(cache=True, nogil=True, fastmath=True)
def landmark_slopes(basis, turn, turned, translation, focal_px, weight, error_px, robust_px, jacobian, slopes):
    """Jacobian of one frame's points in the picture by each mode and the pose, times the root of their weight.

    Args:
        basis: (3, M, L) modes. jacobian: (3, 3), of the rotation. slopes: (M + 6, 2, L), filled.
    """
    one = np.float32(1)
    num_modes, num_points = basis.shape[1], basis.shape[2]
    x, y = np.empty((2, 3, num_points), np.float32)
    for i in range(num_points):
        ax, ay, az = turned[0, i], turned[1, i], turned[2, i]
        near = one / (az + translation[2])
        u, v = (ax + translation[0]) * near, (ay + translation[1]) * near
        ratio = error_px[i] / robust_px
        root = np.sqrt(weight[i] / np.sqrt(one + ratio * ratio))
        fx, fy = focal_px[0] * near * root, focal_px[1] * near * root
        for k in range(3):
            x[k, i] = fx * (turn[0, k] - u * turn[2, k])
            y[k, i] = fy * (turn[1, k] - v * turn[2, k])
            jx, jy, jz = jacobian[0, k], jacobian[1, k], jacobian[2, k]
            dx, dy, dz = jy * az - jz * ay, jz * ax - jx * az, jx * ay - jy * ax
            slopes[num_modes + k, 0, i] = fx * (dx - u * dz)
            slopes[num_modes + k, 1, i] = fy * (dy - v * dz)
        slopes[num_modes + 3, 0, i], slopes[num_modes + 3, 1, i] = fx, 0
        slopes[num_modes + 4, 0, i], slopes[num_modes + 4, 1, i] = 0, fy
        slopes[num_modes + 5, 0, i], slopes[num_modes + 5, 1, i] = -fx * u, -fy * v
    for m in range(num_modes):
        for i in range(num_points):
            bx, by, bz = basis[0, m, i], basis[1, m, i], basis[2, m, i]
            slopes[m, 0, i] = bx * x[0, i] + by * x[1, i] + bz * x[2, i]
            slopes[m, 1, i] = bx * y[0, i] + by * y[1, i] + bz * y[2, i]
