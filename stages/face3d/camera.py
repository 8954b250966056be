"""The camera of a fitted face, and the projection from coefficients to pixels.

Deep3DFaceRecon's pinhole, scaled to the 256 px crop: focal length 1160 px, principal point in the middle; x right, y
down, z away from the camera, millimetres. The crop is a box of any aspect stretched to a square, so its two focal
lengths differ (`crop_focal_px`): the camera contains the stretch, and shape and pose stay metric.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stages.core.records import CROP_PX

if TYPE_CHECKING:
    from stages.face3d.model import FaceModel

FOCAL_PX = 1015.0 / 224 * CROP_PX
"""Focal length of Deep3DFaceRecon, 1015 px at 224 px. An error costs little: a true 700 px adds 0.5 mm of error."""
TO_CAMERA = np.diag([1.0, -1.0, -1.0])
"""Rotation from the model's axes (y up, z to the viewer) to the camera's, for a frontal head."""


def crop_focal_px(boxes: np.ndarray) -> np.ndarray:
    """Focal lengths (T, 2) in px along x and y of crops that show the source boxes (T, 4) xyxy as 256 px squares.

    Their product is the same for all boxes, so the distance depends on the box's area and not on its aspect.
    """
    aspect = (boxes[:, 3] - boxes[:, 1]) / (boxes[:, 2] - boxes[:, 0])
    return FOCAL_PX * np.stack([np.sqrt(aspect), 1 / np.sqrt(aspect)], axis=1)


def rotation_matrices(rotation_rad: np.ndarray) -> np.ndarray:
    """Rotation vectors (T, 3) to matrices (T, 3, 3), by Rodrigues' formula."""
    angle = np.linalg.norm(rotation_rad, axis=1)[:, None, None]
    x, y, z = (rotation_rad / np.maximum(angle[:, 0], 1e-12)).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def synthesize(model: FaceModel, id_coeff: np.ndarray, exp_coeff: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Vertices (T, V, 3) float32 in camera millimetres for one identity (K,), expressions (T, E) and poses (T, 6)."""
    pose = np.asarray(pose, np.float64)
    turn = (rotation_matrices(pose[:, :3]) @ TO_CAMERA).astype(np.float32)
    vertices = model.shape(np.asarray(id_coeff), np.asarray(exp_coeff)) @ turn.transpose(0, 2, 1)
    vertices += pose[:, None, 3:].astype(np.float32)
    return vertices


def project(vertices: np.ndarray, focal_px: np.ndarray | None = None, centre_px: float = CROP_PX / 2) -> np.ndarray:
    """Camera millimetres (T, V, 3) to x px, y px, z mm; `focal_px` (T, 2) is `crop_focal_px`'s, or a square crop's."""
    focal = np.full((1, 2), FOCAL_PX) if focal_px is None else focal_px
    projected = np.empty_like(vertices)
    projected[..., :2] = vertices[..., :2] / vertices[..., 2:] * focal[:, None].astype(vertices.dtype) + centre_px
    projected[..., 2] = vertices[..., 2]
    return projected
