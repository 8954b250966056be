"""What the fit looks at: the lips' landmarks one by one, the others averaged over small patches.

Neighbouring landmarks come from one network's one look and say nearly the same: their mean says it with less noise, and
the fit is twice as quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stages.core.records import CROP_PX
from stages.face.landmarks import FACE_OVAL, LIPS, NUM_FACE_POINTS
from stages.face3d.camera import TO_CAMERA, rotation_matrices
from stages.face3d.model import ExpressionPrior, FaceModel
from stages.fit.config import GeometryConfig


@dataclass(frozen=True)
class FitPoints:
    """P points of a model, in the camera's axes for a frontal head.

    Args:
        share: (P, 468) float32, how a point is made of landmarks; rows sum to 1.
        weight: (P,) float32, that of its landmarks together. is_lip: (P,) bool.
        mean: (3, P); identity: (K, 3, P); expression: (E, 3, P): float32, mm.
        expression_prior: the model's.
        landmarks: (1 + K + E, 3, 468) float32, mean, identity and expression of all landmarks.
    """

    share: np.ndarray
    weight: np.ndarray
    is_lip: np.ndarray
    mean: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    expression_prior: ExpressionPrior
    landmarks: np.ndarray

    @staticmethod
    @lru_cache(maxsize=2)
    def of(model: FaceModel, config: GeometryConfig) -> FitPoints:
        mean = model.at_landmarks(model.mean)
        lips, oval = np.array(LIPS), np.array(FACE_OVAL)
        inner = np.setdiff1d(np.arange(NUM_FACE_POINTS), [*LIPS, *FACE_OVAL])
        groups = [lips[[i]] for i in range(len(lips))]
        groups += _patches(mean, inner, config.num_patches) + _patches(mean, oval, len(oval) // 2)
        weight = np.ones(NUM_FACE_POINTS, np.float32)
        weight[lips], weight[oval] = config.lip_weight, config.oval_weight
        share = np.zeros((len(groups), NUM_FACE_POINTS), np.float32)
        for row, group in zip(share, groups, strict=True):
            row[group] = 1 / len(group)
        modes = np.concatenate([model.mean[None], model.identity, model.expression])
        landmarks = model.at_landmarks(modes) * np.diag(TO_CAMERA).astype(np.float32)
        points = over_points(landmarks, share)
        return FitPoints(
            share=share,
            weight=np.array([weight[group].sum() for group in groups], np.float32),
            is_lip=np.arange(len(groups)) < len(lips),
            mean=points[0],
            identity=points[1 : 1 + len(model.identity)],
            expression=points[1 + len(model.identity) :],
            expression_prior=model.expression_prior,
            landmarks=np.ascontiguousarray(landmarks.transpose(0, 2, 1)),
        )

    def landmarks_px(
        self, identity: np.ndarray, expression: np.ndarray, pose: np.ndarray, focal_px: np.ndarray
    ) -> np.ndarray:
        """All landmarks (T, 2, 468) as the camera sees them, for (K,), (T, E) and (T, 6)."""
        neutral = self.landmarks[0] + np.tensordot(identity, self.landmarks[1 : 1 + len(identity)], 1)
        moved = expression @ self.landmarks[1 + len(identity) :].reshape(expression.shape[1], -1)
        turn = rotation_matrices(pose[:, :3]).astype(np.float32)
        seen = turn @ (neutral + moved.reshape(-1, *neutral.shape)) + pose[:, 3:, None].astype(np.float32)
        return seen[:, :2] / seen[:, 2:] * focal_px[..., None].astype(np.float32) + np.float32(CROP_PX / 2)


def over_points(values: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Values of landmarks (..., 468, C) to those of points (..., C, P)."""
    turned = np.ascontiguousarray(np.swapaxes(values, -1, -2))
    return (turned.reshape(-1, NUM_FACE_POINTS) @ share.T).reshape(*turned.shape[:-1], -1)


def _patches(points: np.ndarray, among: np.ndarray, count: int) -> list[np.ndarray]:
    """Landmarks grouped around seeds, each of which is the one farthest from those before."""
    there, count = points[among], min(count, len(among))
    distance = np.linalg.norm(there - there[0], axis=1)
    nearest = np.zeros(len(among), int)
    for seed in range(1, count):
        from_seed = np.linalg.norm(there - there[distance.argmax()], axis=1)
        nearest[from_seed < distance] = seed
        distance = np.minimum(distance, from_seed)
    return [among[nearest == seed] for seed in range(count)]
