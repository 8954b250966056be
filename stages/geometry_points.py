"""What the fit looks at: the lips' landmarks one by one, the others averaged over small patches.

Neighbouring landmarks come from one network's one look and say nearly the same: their mean says it with less noise, and
the fit is twice as quick.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.face_model import NUM_FIT_LANDMARKS, FaceModel
from stages.geometry import FACE_OVAL, LIPS, TO_CAMERA, GeometryConfig


@dataclass(frozen=True)
class FitPoints:
    """P points of a model, in the camera's axes for a frontal head.

    Args:
        share: (P, 468) float32, how a point is made of landmarks; rows sum to 1.
        weight: (P,) float32, that of its landmarks together. is_lip: (P,) bool.
        mean: (P, 3); identity: (K, P, 3); expression: (E, P, 3): float32, mm.
    """

    share: np.ndarray
    weight: np.ndarray
    is_lip: np.ndarray
    mean: np.ndarray
    identity: np.ndarray
    expression: np.ndarray

    @staticmethod
    def of(model: FaceModel, config: GeometryConfig) -> FitPoints:
        mean = model.at_landmarks(model.mean)
        lips, oval = np.array(LIPS), np.array(FACE_OVAL)
        inner = np.setdiff1d(np.arange(NUM_FIT_LANDMARKS), [*LIPS, *FACE_OVAL])
        groups = [lips[[i]] for i in range(len(lips))]
        groups += _patches(mean, inner, config.num_patches) + _patches(mean, oval, len(oval) // 2)
        weight = np.ones(NUM_FIT_LANDMARKS, np.float32)
        weight[lips], weight[oval] = config.lip_weight, config.oval_weight
        share = np.zeros((len(groups), NUM_FIT_LANDMARKS), np.float32)
        for row, group in zip(share, groups, strict=True):
            row[group] = 1 / len(group)
        to_camera = TO_CAMERA.astype(np.float32)
        return FitPoints(
            share=share,
            weight=np.array([weight[group].sum() for group in groups], np.float32),
            is_lip=np.arange(len(groups)) < len(lips),
            mean=share @ mean @ to_camera,
            identity=share @ model.at_landmarks(model.identity) @ to_camera,
            expression=share @ model.at_landmarks(model.expression) @ to_camera,
        )


def _patches(points: np.ndarray, among: np.ndarray, count: int) -> list[np.ndarray]:
    """Landmarks grouped around seeds, each of which is the one farthest from those before."""
    there = points[among]
    distance = np.linalg.norm(there - there[0], axis=1)
    nearest = np.zeros(len(among), int)
    for seed in range(1, count):
        from_seed = np.linalg.norm(there - there[distance.argmax()], axis=1)
        nearest[from_seed < distance] = seed
        distance = np.minimum(distance, from_seed)
    return [among[nearest == seed] for seed in range(count)]
