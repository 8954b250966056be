"""One clip fitted: its landmarks to one identity, and an expression and a pose for every frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stages.core.reasons import Dropped, DropReason
from stages.core.records import CROP_PX
from stages.face.landmarks import NUM_FACE_POINTS
from stages.face3d.camera import FOCAL_PX, TO_CAMERA, crop_focal_px
from stages.fit.config import GeometryConfig

if TYPE_CHECKING:
    from stages.face3d.model import FaceModel


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

    marks, focal_px = np.asarray(landmarks[:, :NUM_FACE_POINTS], np.float32), crop_focal_px(boxes)
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
