"""Fit a morphable face model to a clip's landmarks: one identity, and an expression and a pose for every frame.

The camera is Deep3DFaceRecon's pinhole, scaled to the 256 px crop: focal length 1160 px, principal point in the middle;
x right, y down, z away from the camera, millimetres. The crop is a box of any aspect stretched to a square, so its two
focal lengths differ (`crop_focal_px`): the stretch lives in the camera, and shape and pose stay metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stages.core.records import CROP_PX, NUM_LANDMARKS, Dropped, DropReason, Row
from stages.face3d.model import NUM_FIT_LANDMARKS, load_face_model
from stages.mouth import MouthConfig, hidden_frames

if TYPE_CHECKING:
    from stages.face3d.model import FaceModel

FOCAL_PX = 1015.0 / 224 * CROP_PX
"""Deep3DFaceRecon: 1015 px at 224 px. A wrong focal length costs little: a true 700 px gives 0.5 mm more error."""
TO_CAMERA = np.diag([1.0, -1.0, -1.0])
"""From the model's axes (y up, z to the viewer) to the camera's, for a frontal head."""
FACE_OVAL = (
    *(10, 21, 54, 58, 67, 93, 103, 109, 127, 132, 136, 148, 149, 150, 152, 162, 172, 176),
    *(234, 251, 284, 288, 297, 323, 332, 338, 356, 361, 365, 377, 378, 379, 389, 397, 400, 454),
)
"""MediaPipe's contour points: they slide along the silhouette as the head turns, so they say little."""
LIPS = (
    *(0, 11, 12, 13, 14, 15, 16, 17, 37, 38, 39, 40, 41, 42, 61, 62, 72, 73, 74, 76),
    *(77, 78, 80, 81, 82, 84, 85, 86, 87, 88, 89, 90, 91, 95, 96, 146, 178, 179, 180, 181),
    *(183, 184, 185, 191, 267, 268, 269, 270, 271, 272, 291, 292, 302, 303, 304, 306, 307, 308, 310, 311),
    *(312, 314, 315, 316, 317, 318, 319, 320, 321, 324, 325, 375, 402, 403, 404, 405, 407, 408, 409, 415),
)
"""MediaPipe's 80 lip points: four rings of twenty."""


@dataclass(frozen=True)
class GeometryConfig:
    """How the model is fitted. The sigmas are standard deviations of Gaussian priors."""

    model: str = "cc0"  # name of an embedded model, or the path of an .npz file or of BFM_model_front.mat
    method: str = "landmarks"  # fitted here; or deep3d: by Deep3DFaceRecon's network, which the user supplies
    device: str = "auto"  # of deep3d's network: cpu, cuda or auto
    chunk_frames: int = 32  # frames that deep3d's network sees at a time
    landmark_sigma_px: float = 3.0  # detector error on rendered faces: 2-3 px, most of it the same in every frame
    robust_px: float = 6.0  # beyond it an error counts linearly: two sigmas
    oval_weight: float = 0.05  # contour points were 12 mm off where inner ones were 2 mm
    lip_weight: float = 2.0  # the mouth is what the depth is for
    hidden_trust: float = 0.02  # of lips that a hand or a microphone hides: neighbouring frames and the prior decide
    guessed_trust: float = 0.001  # of landmarks that track interpolated: all of them together count half of one
    identity_frames: float = 8.0  # a clip of any length says as much of the identity as so many independent frames
    rotation_accel_sigma_rad: float = 0.02  # per frame^2
    translation_accel_sigma_mm: float = 1.5  # per frame^2, across the picture
    distance_accel_sigma_mm: float = 3.0  # per frame^2, along the line of sight
    burst: float = 2.0  # how far above its rms a head may accelerate: it moves by fits and starts
    num_patches: int = 120  # of the 352 landmarks beside lips and outline
    num_identity_frames: int = 10  # frames that the identity is found from, spread over the clip
    num_guide_frames: int = 6  # frames whose curvature leads the conjugate gradients
    max_steps: int = 8
    max_conjugate_steps: int = 6
    conjugate_tolerance: float = 0.03  # share of the first expected fall at which conjugate gradients stop
    min_step_length: float = 0.1
    tolerance: float = 0.01  # relative gain of the objective below which the fit stops


@dataclass(frozen=True)
class FaceFit:
    """A fitted clip.

    Args:
        id_coeff: (K,) float32, standard deviations.
        exp_coeff: (T, E) float32, activations.
        pose: (T, 6) float32: rotation vector in rad, translation in mm, model to camera.
        error_px: (T, 468) float32, reprojection error of each landmark in crop pixels.
        lip_sigma_mm: expected error of the lips' depth against the rest of the face.
    """

    id_coeff: np.ndarray
    exp_coeff: np.ndarray
    pose: np.ndarray
    error_px: np.ndarray
    lip_sigma_mm: float


class FaceFitter:
    """Adds the GEOMETRY columns, `id_coeff`, `exp_coeff` and `pose` to a clip with landmarks."""

    def __init__(self, config: GeometryConfig, mouth: MouthConfig) -> None:
        self.config, self.mouth = config, mouth
        self.model = load_face_model(config.model)

    def __call__(self, row: Row) -> Row:
        landmarks = np.asarray(row["landmarks"], np.float32).reshape(-1, NUM_LANDMARKS, 3)
        boxes = np.asarray(row["crop_box_xyxy_px"], np.float64)
        is_lip = np.isin(np.arange(NUM_FIT_LANDMARKS), LIPS)
        trust = np.ones((len(landmarks), NUM_FIT_LANDMARKS), np.float32)
        trust[np.outer(hidden_frames(row, self.mouth), is_lip)] = self.config.hidden_trust
        trust[~np.asarray(row["face_found"], bool)] = self.config.guessed_trust
        fit = fit_landmarks(self.model, landmarks, boxes, self.config, trust)
        return {
            **row,
            "id_coeff": fit.id_coeff,
            "exp_coeff": fit.exp_coeff,
            "pose": fit.pose,
            "geometry_model": self.model.name,
            "fit_error_px": float(np.median(fit.error_px)),
            "fit_error_mm": fit.lip_sigma_mm,
        }


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


def fit_landmarks(
    model: FaceModel,
    landmarks: np.ndarray,
    boxes: np.ndarray,
    config: GeometryConfig,
    trust: np.ndarray | None = None,
) -> FaceFit:
    """Fit a clip.

    Args:
        landmarks: (T, 468 or more, 3) MediaPipe points in crop pixels; z is used only for the first guess of the pose.
        boxes: (T, 4) xyxy, what of the source the crops show.
        trust: (T, 468) in 0-1, less where something hides the face; all are trusted without.
    Raises:
        Dropped: FIT_ERROR if there is no frame, or the landmarks are not finite.
    """
    from stages.fit.motion import carried_pose
    from stages.fit.points import FitPoints, over_points
    from stages.fit.solver import ClipProblem, known_frames, solve

    marks, focal_px = np.asarray(landmarks[:, :NUM_FIT_LANDMARKS], np.float32), crop_focal_px(boxes)
    if len(marks) == 0:
        raise Dropped(DropReason.FIT_ERROR, "the clip has no frame with landmarks")
    if not np.isfinite(marks).all():
        raise Dropped(DropReason.FIT_ERROR, "landmarks are not finite")
    points = FitPoints.of(model, config)
    target = over_points(marks, points.share)
    weight = np.tile(points.weight, (len(marks), 1))
    if trust is not None:
        weight *= trust.astype(np.float32) @ points.share.T
    pose = first_pose(points.mean.T @ TO_CAMERA, target.transpose(0, 2, 1), focal_px, points.weight)
    known = known_frames(weight)
    pose = np.stack([np.interp(np.arange(len(pose)), known, column[known]) for column in pose.T], axis=1)
    problem = ClipProblem.of(points, target[:, :2], focal_px, weight, pose, carried_pose(boxes, pose), config)
    found = solve(problem, pose, points.is_lip)
    num_expression = len(model.expression)
    identity, expression = found.identity.astype(np.float32), found.frames[:, :num_expression].astype(np.float32)
    fit_pose = found.frames[:, num_expression:].astype(np.float32)
    seen = points.landmarks_px(identity, expression, fit_pose, focal_px)
    error_px = np.linalg.norm(seen - marks[..., :2].transpose(0, 2, 1), axis=1)
    return FaceFit(identity, expression, fit_pose, error_px, found.lip_sigma_mm)


def first_pose(shape: np.ndarray, points: np.ndarray, focal_px: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Poses (T, 6) that lay a rigid shape (468, 3) on landmarks (T, 468, 3), trusting MediaPipe's z for the turn.

    The face is flat against its distance, so landmarks over focal length are the shape up to one scale, the inverse of
    the distance (least squares, Umeyama 1991).
    """
    from scipy.spatial.transform import Rotation

    scale = np.concatenate([focal_px, np.full((len(focal_px), 1), FOCAL_PX)], axis=1)[:, None]
    seen = (points - [CROP_PX / 2, CROP_PX / 2, 0]) / scale
    share = weight / weight.sum()
    model = shape @ TO_CAMERA
    seen_centre, model_centre = np.einsum("l,tld->td", share, seen), share @ model
    model = model - model_centre
    covariance = np.einsum("l,tli,lj->tij", share, seen - seen_centre[:, None], model)
    u, s, vt = np.linalg.svd(covariance)
    s[:, 2] *= np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    turn = u @ vt
    distance = (share @ (model**2).sum(1)) / s.sum(1)
    centre = np.concatenate([seen_centre[:, :2], np.ones((len(seen), 1))], axis=1) * distance[:, None]
    return np.concatenate([Rotation.from_matrix(turn).as_rotvec(), centre - turn @ model_centre], axis=1)
