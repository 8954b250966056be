"""Meshes to depth and triangle ids in torch alone: for CUDA without nvdiffrast, and the same on a CPU.

Every triangle lists the pixels of its bounding box; of all triangles over a pixel the one with the largest 1/z wins.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NEAR_MM = 1.0
EDGE = 2e-6
"""Tolerance for rounding, in barycentric units: else a pixel centre on a shared edge can miss both neighbours."""
MAX_CANDIDATES = 2_000_000
"""Largest number of pixels of bounding boxes held at a time, in 420 MB. A 256 px face has 150,000."""


def rasterize_torch(
    vertices: np.ndarray, triangles: np.ndarray, size: int, front_only: bool, device: str
) -> tuple[np.ndarray, np.ndarray]:
    """Like `stages.face3d.raster.rasterize`, for float32 vertices (T, V, 3) and int32 triangles (F, 3)."""
    points, corners = torch.from_numpy(vertices).to(device), torch.from_numpy(triangles).long().to(device)
    depth = torch.zeros(len(vertices), size, size, device=device)
    triangle_id = torch.zeros(len(vertices), size, size, dtype=torch.int32, device=device)
    boxes, counts = _boxes(points, corners, size, front_only)
    held = counts.sum(1).cumsum(0).cpu()
    start = 0
    while start < len(vertices):
        before = int(held[start - 1]) if start else 0
        end = max(start + 1, int(torch.searchsorted(held, before + MAX_CANDIDATES, right=True)))
        part = slice(start, end)
        _draw(points[part], corners, boxes[part], counts[part], depth[part], triangle_id[part])
        start = end
    return depth.cpu().numpy(), triangle_id.cpu().numpy()


def _boxes(points: Tensor, corners: Tensor, size: int, front_only: bool) -> tuple[Tensor, Tensor]:
    """Left, top, width (T, F, 3) of each triangle's pixels, and their number (T, F); 0 if it is not drawn."""
    seen = points[:, corners]  # (T, F, 3 corners, 3)
    u, v = seen[:, :, 1, :2] - seen[:, :, 0, :2], seen[:, :, 2, :2] - seen[:, :, 0, :2]
    area = u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
    low = (seen[..., :2].amin(2) - 0.5).ceil().clamp(0, size)
    high = (seen[..., :2].amax(2) - 0.5).floor().clamp(-1, size - 1)
    extent = (high - low + 1).clamp(min=0).long()
    drawn = (area < 0 if front_only else area != 0) & (seen[..., 2].amin(2) >= NEAR_MM)
    return torch.cat([low.long(), extent[..., :1]], -1), extent.prod(-1) * drawn


def _draw(points: Tensor, corners: Tensor, boxes: Tensor, counts: Tensor, depth: Tensor, triangle_id: Tensor) -> None:
    """Fill `depth` and `triangle_id` (T, size, size) of a few frames."""
    size = depth.shape[-1]
    which = torch.repeat_interleave(torch.arange(counts.numel(), device=counts.device), counts.flatten())
    first = counts.flatten().cumsum(0) - counts.flatten()
    place = torch.arange(len(which), device=counts.device) - first[which]
    left, top, width = boxes.reshape(-1, 3)[which].unbind(-1)
    column, row = left + place % width, top + place // width
    frame, triangle = which // counts.shape[1], which % counts.shape[1]
    a, b, c = points[frame[:, None], corners[triangle]].unbind(1)
    # Relative to vertex a: fewer digits lost than in absolute pixel coordinates.
    u, v = b[:, :2] - a[:, :2], c[:, :2] - a[:, :2]
    p = torch.stack([column, row], -1) + 0.5 - a[:, :2]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    beta, gamma = (p[:, 0] * v[:, 1] - p[:, 1] * v[:, 0]) / area, (u[:, 0] * p[:, 1] - u[:, 1] * p[:, 0]) / area
    at_a, at_b, at_c = 1 / a[:, 2], 1 / b[:, 2], 1 / c[:, 2]
    inside = (beta >= -EDGE) & (gamma >= -EDGE) & (beta + gamma <= 1 + EDGE)
    nearness = (at_a + beta * (at_b - at_a) + gamma * (at_c - at_a))[inside]
    pixel = ((frame * size + row) * size + column)[inside]
    best = torch.zeros(depth.numel(), device=depth.device).scatter_reduce_(0, pixel, nearness, "amax")
    wins = nearness == best[pixel]
    none = torch.iinfo(torch.int32).max
    ids = torch.full((depth.numel(),), none, dtype=torch.int32, device=depth.device)
    ids.scatter_reduce_(
        0, pixel[wins], (triangle[inside][wins] + 1).int(), "amin"
    )  # the first among equals, as on the CPU
    depth.copy_(torch.where(best > 0, 1 / best, 0).view_as(depth))
    triangle_id.copy_(torch.where(ids == none, 0, ids).view_as(triangle_id))
