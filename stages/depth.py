"""Metric depth maps of a fitted clip in the 256 px crop, and the reference's view of them.

They are stored as 16-bit PNG in tenths of a millimetre of distance from the camera, 0 without a face, so frames and
clips are comparable. `joygen_view` makes the 8-bit picture that the reference's models read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import pyarrow as pa

from stages.core.ranges import one_of, ranged
from stages.core.records import CROP_PX, Row
from stages.face.landmarks import LIP_RINGS
from stages.face3d.camera import crop_focal_px, project, synthesize
from stages.face3d.load import load_face_model
from stages.face3d.raster import rasterize

STEPS_PER_MM = 10
PNG_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 4, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)
"""PNG level and filter with the smallest files under 3 ms; level 9 takes 80 ms for a sixth less."""


class DepthDecodeError(Exception):
    """Bytes that are not a 16-bit depth PNG."""


@dataclass(frozen=True)
class DepthConfig:
    """Settings of the depth maps."""

    model: str = "cc0"  # Face model that the clip was fitted with; the same as geometry.model
    device: str = one_of("cpu", "cuda")  # Device that draws the depth
    # Step of the stored depth. 0.5 mm is as fine as 8 bits over a face's 110 mm; 0.1 takes half as much space again
    precision_mm: float = ranged(0.5, above=0)
    chunk_frames: int = ranged(64, low=1)  # Frames drawn at a time, 3,600 vertices and 256x256 px each


class DepthRenderer:
    """Adds `depth`, one PNG a frame, to a clip with a fit."""

    def __init__(self, config: DepthConfig) -> None:
        self.config = config
        self.model = load_face_model(config.model).face

    def __call__(self, row: Row) -> Row:
        if row["geometry_model"] != self.model.name:
            raise ValueError(f"the clip was fitted with {row['geometry_model']!r}, depth is set to {self.model.name!r}")
        focal_px = crop_focal_px(np.asarray(row["crop_box_xyxy_px"], np.float64))
        exp_coeff, pose = np.asarray(row["exp_coeff"]), np.asarray(row["pose"])
        pngs: list[bytes] = []
        for start in range(0, len(pose), self.config.chunk_frames):
            part = slice(start, start + self.config.chunk_frames)
            depth_mm = self.render(np.asarray(row["id_coeff"]), exp_coeff[part], pose[part], focal_px[part])
            pngs.extend(encode_depth(frame, self.config.precision_mm) for frame in depth_mm)
        return {**row, "depth": pngs}

    def render(
        self, id_coeff: np.ndarray, exp_coeff: np.ndarray, pose: np.ndarray, focal_px: np.ndarray | None = None
    ) -> np.ndarray:
        """Depth maps (T, 256, 256) float32 in mm, 0 without a face; arguments as for `synthesize` and `project`."""
        projected = project(synthesize(self.model, id_coeff, exp_coeff, pose), focal_px)
        device: Literal["cpu", "cuda"] = "cuda" if self.config.device == "cuda" else "cpu"
        return rasterize(projected, self.model.triangles, CROP_PX, device=device, front_only=True)[0]


def encode_depth(depth_mm: np.ndarray, precision_mm: float = 1 / STEPS_PER_MM) -> bytes:
    """(H, W) mm to 16-bit PNG bytes; tenths of a millimetre, up to 6553.5 mm.

    Args:
        precision_mm: step to which depths are rounded; a coarser one gives smaller files.
    Raises:
        ValueError: a depth does not fit 16 bits.
    """
    steps = np.rint(np.rint(depth_mm / precision_mm) * (precision_mm * STEPS_PER_MM))
    if not ((steps >= 0) & (steps <= np.iinfo(np.uint16).max)).all():
        raise ValueError(f"depth must be within 0-6553.5 mm, got {depth_mm.min():.1f}-{depth_mm.max():.1f}")
    done, png = cv2.imencode(".png", steps.astype(np.uint16), PNG_OPTIONS)
    if not done:
        raise ValueError(f"OpenCV could not encode a depth map of shape {depth_mm.shape}")
    return png.tobytes()


def decode_depth(png: bytes | pa.Buffer) -> np.ndarray:
    """16-bit PNG bytes to (H, W) float32 mm, 0 = none.

    Raises:
        DepthDecodeError: the bytes are no 16-bit one-channel PNG.
    """
    steps = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) if len(png) else None
    if steps is None or steps.dtype != np.uint16 or steps.ndim != 2:
        raise DepthDecodeError(f"not a 16-bit depth PNG: {len(png)} bytes starting {bytes(png[:8])!r}")
    return steps.astype(np.float32) / STEPS_PER_MM


def joygen_view(depth_mm: np.ndarray) -> np.ndarray:
    """The reference's picture of one depth map: uint8 (H, W), nearest 255, farthest 0, background 0.

    Bit-exact: `trunc(255 - (d - min) / (max - min + 1e-8) * 255)` over `d > 0`, in the map's own precision. It depends
    on the two extreme pixels of each frame, so its scale jumps from frame to frame.
    """
    view = np.zeros(depth_mm.shape, np.uint8)
    seen = depth_mm > 0
    if seen.any():
        depth = depth_mm[seen]
        near, far = depth.min(), depth.max()
        view[seen] = (255 - (depth - near) / (far - near + 1e-8) * 255).astype(np.uint8)
    return view


def depth_range(depth_mm: np.ndarray, percent: float = 0.5) -> tuple[float, float]:
    """Nearest and farthest depth of a clip without extreme pixels, so that silhouettes and teeth do not set the scale.

    Args:
        depth_mm: (T, H, W), 0 = none.
        percent: percentage of the face's pixels beyond each end.
    """
    seen = depth_mm[depth_mm > 0]
    if not len(seen):
        return 0.0, 0.0
    near, far = np.percentile(seen, [percent, 100 - percent])
    return float(near), float(far)


def range_view(depth_mm: np.ndarray, near_mm: float, far_mm: float) -> np.ndarray:
    """One depth map as uint8 (H, W) on a clip's scale: nearest 255, farthest 1, no face 0.

    Unlike `joygen_view` a depth has the same brightness in every frame of the clip.
    """
    share = np.clip((far_mm - depth_mm) / max(far_mm - near_mm, 1e-6), 0, 1)
    return np.where(depth_mm > 0, np.rint(1 + 254 * share), 0).astype(np.uint8)


def normal_view(depth_mm: np.ndarray, focal_px: np.ndarray, blur_px: float = 2.0) -> np.ndarray:
    """Surface normal at each pixel of one depth map: uint8 (H, W, 3), 128 + 127 n; 0 where unknown.

    Args:
        focal_px: (2,) along x and y, from `crop_focal_px`.
        blur_px: sigma of a Gaussian blur of the depth, which is stored in steps.
    Returns:
        The normal n has unit length: x to the right of the picture, y up, z to the viewer.
    """
    seen = (depth_mm > 0).astype(np.float32)
    weight = cv2.GaussianBlur(seen, (0, 0), blur_px)
    depth = cv2.GaussianBlur(depth_mm, (0, 0), blur_px) / np.maximum(weight, 1e-6)
    rows, columns = np.indices(depth.shape) + 0.5
    height, width = depth.shape
    points = np.stack(
        [(columns - width / 2) / focal_px[0], (height / 2 - rows) / focal_px[1], -np.ones_like(depth)], -1
    )
    points *= depth[..., None]
    up, right = -np.gradient(points, axis=0), np.gradient(points, axis=1)
    normal = np.cross(right, up)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    known = cv2.erode(seen, np.ones((3, 3), np.uint8)) > 0
    return np.where(known[..., None], np.rint(128 + 127 * normal), 0).astype(np.uint8)


def mouth_mask(landmarks: np.ndarray, size_px: int = CROP_PX) -> np.ndarray:
    """The mouth region, bool (size, size): the union of the four rings of lip landmarks (478, 2 or 3) in crop pixels.

    It is nearly always that of the outer ring; where rings of pressed or turned lips cross, no point is left out.
    """
    mask = np.zeros((size_px, size_px), np.uint8)
    for ring in LIP_RINGS:
        cv2.fillPoly(mask, [np.rint(np.asarray(landmarks, np.float32)[list(ring), :2]).astype(np.int32)], (1,))
    return mask > 0
