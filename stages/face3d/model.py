"""Morphable face models: a mean shape, identity and expression modes, and where MediaPipe's landmarks lie on it.

`shape = mean + identity . a + expression . b`, in millimetres; x to the right of the picture, y up, z to the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property

import numpy as np

from stages.core.weights import MissingWeights
from stages.face.landmarks import LIP_RINGS

MOUTH_RADIUS_MM = 50
"""Radius around the lips' centre, from nose to chin. Nothing farther hid lips of turned or bowed heads."""


class FaceModelError(MissingWeights):
    """A model file that is missing or not of the expected layout; the message names the file and what is wrong."""


class Part(IntEnum):
    """Part of the head that a triangle belongs to."""

    SKIN = 0
    LIPS = 1
    EYES = 2
    TEETH = 3
    MOUTH_BAG = 4
    HEAD = 5
    """Skin outside the face: skull, ears, neck. Not part of the depth maps."""


@dataclass(frozen=True)
class ExpressionPrior:
    """Prior of a model's expression coefficients, in their own unit.

    Args:
        sigma: standard deviation, about 0.
        low, high: least and largest value.
        accel_sigma: standard deviation of the second difference from frame to frame, at 25 fps.
    """

    sigma: float
    low: float
    high: float
    accel_sigma: float


ACTIVATIONS = ExpressionPrior(sigma=0.25, low=-0.3, high=1.3, accel_sigma=0.3)
"""Prior of activations. Face units are made for 0 to 1; beyond these bounds faces look unnatural.

A larger sigma follows the detector's errors: lips of drawn speakers were 0.1 mm worse at 0.3. With this acceleration
five syllables a second keep their size.
"""
DEVIATIONS = ExpressionPrior(sigma=1.0, low=-3.0, high=3.0, accel_sigma=0.5)
"""Prior of principal components, bounded at three standard deviations."""


@dataclass(frozen=True, eq=False)
class FaceModel:
    """One morphable model; two are equal only if they are the same object.

    Args:
        mean: (V, 3) float32, mm.
        identity: (K, V, 3) float32, mm at one standard deviation.
        expression: (E, V, 3) float32, mm at full activation or at one standard deviation: see `expression_prior`.
        triangles: (F, 3) int32.
        triangle_part: (F,) uint8, members of `Part`.
        landmark_triangles: (468,) int32, the triangle on which each MediaPipe landmark lies.
        landmark_barycentric: (468, 3) float32, its place in that triangle.
        albedo: (V, 3) uint8 RGB, a plausible colour of each vertex, for pictures.
    """

    name: str
    licence: str
    mean: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    expression_names: tuple[str, ...]
    triangles: np.ndarray
    triangle_part: np.ndarray
    landmark_triangles: np.ndarray
    landmark_barycentric: np.ndarray
    albedo: np.ndarray
    expression_prior: ExpressionPrior = ACTIVATIONS

    @property
    def face_triangles(self) -> np.ndarray:
        """(F', 3) triangles of the depth maps: all but skull, ears and neck."""
        return np.ascontiguousarray(self.triangles[self.triangle_part != Part.HEAD])

    @cached_property
    def face(self) -> FaceModel:
        """The part of the model in depth maps, without landmarks; its vertices take a quarter less to compute."""
        return self._only(self.triangle_part != Part.HEAD)

    @cached_property
    def mouth(self) -> FaceModel:
        """The part of `face` that may be visible between the lips: all within `MOUTH_RADIUS_MM`, at any depth."""
        face, rings = self.face, sorted({point for ring in LIP_RINGS for point in ring})
        centre = self.at_landmarks(self.mean)[rings].mean(axis=0)
        near = np.linalg.norm((face.mean - centre)[:, :2], axis=1) <= MOUTH_RADIUS_MM
        return face._only(near[face.triangles].all(axis=1))

    def person(self, id_coeff: np.ndarray) -> FaceModel:
        """The model of one person (K,), with expressions alone."""
        shape = self.shape(id_coeff, np.zeros((1, len(self.expression))))[0]
        return replace(self, mean=shape, identity=self.identity[:0])

    def _only(self, chosen: np.ndarray) -> FaceModel:
        """The model of some triangles, (F,) bool, and their vertices, without landmarks."""
        if chosen.all():
            return self
        vertices, corners = np.unique(self.triangles[chosen], return_inverse=True)
        return replace(
            self,
            mean=self.mean[vertices],
            identity=np.ascontiguousarray(self.identity[:, vertices]),
            expression=np.ascontiguousarray(self.expression[:, vertices]),
            triangles=corners.reshape(-1, 3).astype(np.int32),
            triangle_part=self.triangle_part[chosen],
            landmark_triangles=self.landmark_triangles[:0],
            landmark_barycentric=self.landmark_barycentric[:0],
            albedo=self.albedo[vertices],
        )

    def shape(self, id_coeff: np.ndarray, exp_coeff: np.ndarray) -> np.ndarray:
        """Vertices (T, V, 3) in mm for one identity (K,) and T expressions (T, E)."""
        neutral = self.mean.reshape(-1) + id_coeff.astype(np.float32) @ self.identity.reshape(-1, self.mean.size)
        moved = exp_coeff.astype(np.float32) @ self.expression.reshape(-1, self.mean.size)
        moved += neutral
        return moved.reshape(len(exp_coeff), -1, 3)

    def at_landmarks(self, values: np.ndarray) -> np.ndarray:
        """Interpolate per-vertex values (..., V, 3) at the landmarks: (..., 468, 3)."""
        corners = values[..., self.triangles[self.landmark_triangles], :]
        return np.einsum("lc,...lcd->...ld", self.landmark_barycentric, corners)
