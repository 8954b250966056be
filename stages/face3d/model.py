"""Morphable face models: a mean shape, identity and expression modes, and where MediaPipe's landmarks lie on it.

`shape = mean + identity . a + expression . b`, in millimetres; x to the right of the picture, y up, z to the viewer.
The embedded default, `cc0`, is built by `stages.face3d.build` from public-domain data. Any other model comes as an
.npz file of the same layout (see `docs/geometry.md`), or is the Basel Face Model as Deep3DFaceRecon and JoyGen lay it
out. Where a model has no landmarks, they are placed once and kept in a file beside it.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.weights import MissingWeights
from stages.face.landmarks import LIP_RINGS

EMBEDDED = {"cc0": Path(__file__).parent / "face_cc0.npz"}
PLACED = ".mp468.npz"
"""Ends the name of the file beside a model that holds the landmarks placed on it."""
NUM_FIT_LANDMARKS = 468
"""MediaPipe's face mesh without the ten iris points that follow it."""
MOUTH_RADIUS_MM = 50
"""Around the lips' centre, from the nose to the chin. Nothing farther hid lips of turned or bowed heads."""


class FaceModelError(MissingWeights):
    """A model file that is missing or not of the expected layout; the message names the file and what is wrong."""


class Part(IntEnum):
    """What a triangle belongs to."""

    SKIN = 0
    LIPS = 1
    EYES = 2
    TEETH = 3
    MOUTH_BAG = 4
    HEAD = 5
    """Skin outside the face: skull, ears, neck. Not part of the depth maps."""


@dataclass(frozen=True)
class ExpressionPrior:
    """What a model's expression coefficients may be, in its own unit.

    Args:
        sigma: standard deviation, about 0.
        low: least value. high: most.
        accel_sigma: standard deviation of the second difference from frame to frame, at 25 fps.
    """

    sigma: float
    low: float
    high: float
    accel_sigma: float


ACTIVATIONS = ExpressionPrior(sigma=0.25, low=-0.3, high=1.3, accel_sigma=0.3)
"""Face units are made for 0 to 1; beyond this they stop looking like faces. A looser sigma follows the detector's
errors: lips of drawn speakers were 0.1 mm worse at 0.3. So five syllables a second keep their size."""
DEVIATIONS = ExpressionPrior(sigma=1.0, low=-3.0, high=3.0, accel_sigma=0.5)
"""Of principal components: three standard deviations either way."""


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
        """What depth maps show, without landmarks; its vertices take a quarter less to compute."""
        return self._only(self.triangle_part != Part.HEAD)

    @cached_property
    def mouth(self) -> FaceModel:
        """What may show within the lips of a depth map: of `face`, all within `MOUTH_RADIUS_MM` before or behind."""
        face, rings = self.face, sorted({point for ring in LIP_RINGS for point in ring})
        centre = self.at_landmarks(self.mean)[rings].mean(axis=0)
        near = np.linalg.norm((face.mean - centre)[:, :2], axis=1) <= MOUTH_RADIUS_MM
        return face._only(near[face.triangles].all(axis=1))

    def person(self, id_coeff: np.ndarray) -> FaceModel:
        """The model of one person (K,): what is left to choose are the expressions."""
        shape = self.shape(id_coeff, np.zeros((1, len(self.expression))))[0]
        return replace(self, mean=shape, identity=self.identity[:0])

    def _only(self, chosen: np.ndarray) -> FaceModel:
        """Some triangles (F,) bool and their vertices, without landmarks."""
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


def load_face_model(name_or_path: str | Path = "cc0") -> FaceModel:
    """Load an embedded model by name or a user's by path; one instance per process.

    Args:
        name_or_path: an .npz file, or `BFM_model_front.mat` or the folder that holds it.
    Raises:
        FaceModelError: the file is missing or ill-formed, or has no landmarks.
    """
    return _load(EMBEDDED.get(str(name_or_path), Path(name_or_path)))


@lru_cache(maxsize=2)
def _load(path: Path) -> FaceModel:
    model = _with_kept_landmarks(read_face_model(path), path)
    if not len(model.landmark_triangles):
        raise FaceModelError(
            f"{path} has no MediaPipe landmarks: run python -m stages.face3d.convert {path}, which places them"
        )
    problem = _problem(model)
    if problem:
        raise FaceModelError(f"{path} is no usable face model: {problem}")
    return model


def read_face_model(path: Path) -> FaceModel:
    """A model as its file has it, with no landmarks if the file has none.

    Raises:
        FaceModelError: the file is missing or ill-formed.
    """
    if path.is_dir() or path.suffix == ".mat":
        from stages.face3d.bfm import read_bfm

        return read_bfm(path)
    if not path.is_file():
        raise FaceModelError(
            f"no face model {path}: give one of {', '.join(EMBEDDED)}, the path of an .npz file, or a folder with "
            "BFM_model_front.mat"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        return _from_arrays(arrays, json.loads(str(arrays["about"])))
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise FaceModelError(f"{path} is no face model: {error}") from error


def keep_landmarks(model: FaceModel, path: Path) -> Path:
    """Write the landmarks placed on a model to a file beside it, where `load_face_model` looks first."""
    beside = path.with_name(path.name + PLACED)
    part = beside.with_name(f".{beside.name}.part.npz")
    np.savez(
        part,
        digest=np.array(_shape_digest(model)),
        landmark_triangles=model.landmark_triangles,
        landmark_barycentric=model.landmark_barycentric,
    )
    return part.replace(beside)


def _with_kept_landmarks(model: FaceModel, path: Path) -> FaceModel:
    """Landmarks placed on this very shape go before those that the model came with."""
    beside = path.with_name(path.name + PLACED)
    if not beside.is_file():
        return model
    with np.load(beside, allow_pickle=False) as file:
        if str(file["digest"]) != _shape_digest(model):
            return model
        triangles, barycentric = file["landmark_triangles"], file["landmark_barycentric"]
    return replace(model, landmark_triangles=triangles, landmark_barycentric=barycentric)


def _shape_digest(model: FaceModel) -> str:
    return hashlib.sha256(model.mean.tobytes() + model.triangles.tobytes()).hexdigest()


def _from_arrays(arrays: dict[str, np.ndarray], about: dict[str, Any]) -> FaceModel:
    return FaceModel(
        name=about["name"],
        licence=about["licence"],
        mean=arrays["mean"].astype(np.float32),
        identity=_modes(arrays, "identity"),
        expression=_modes(arrays, "expression"),
        expression_names=tuple(about["expression_names"]),
        triangles=arrays["triangles"].astype(np.int32),
        triangle_part=arrays["triangle_part"].astype(np.uint8),
        landmark_triangles=arrays.get("landmark_triangles", np.zeros(0)).astype(np.int32),
        landmark_barycentric=arrays.get("landmark_barycentric", np.zeros((0, 3))).astype(np.float32),
        albedo=arrays["albedo"].astype(np.uint8),
        expression_prior=ExpressionPrior(**about.get("expression_prior", asdict(ACTIVATIONS))),
    )


def _modes(arrays: dict[str, np.ndarray], key: str) -> np.ndarray:
    """Modes stand as integers with one step in mm per mode, or as floats in mm without steps."""
    modes = arrays[key].astype(np.float32)
    step = arrays.get(f"{key}_step_mm")
    return modes if step is None else modes * step.astype(np.float32)[:, None, None]


def _problem(model: FaceModel) -> str | None:
    num_vertices, num_triangles = len(model.mean), len(model.triangles)
    expected = {
        "mean": (num_vertices, 3),
        "identity": (len(model.identity), num_vertices, 3),
        "expression": (len(model.expression_names), num_vertices, 3),
        "triangles": (num_triangles, 3),
        "triangle_part": (num_triangles,),
        "landmark_triangles": (NUM_FIT_LANDMARKS,),
        "landmark_barycentric": (NUM_FIT_LANDMARKS, 3),
        "albedo": (num_vertices, 3),
    }
    for key, shape in expected.items():
        found = getattr(model, key).shape
        if found != shape:
            return f"{key} has shape {found}, expected {shape}"
    if model.triangles.min() < 0 or model.triangles.max() >= num_vertices:
        return "triangles name vertices that do not exist"
    if model.landmark_triangles.min() < 0 or model.landmark_triangles.max() >= num_triangles:
        return "landmark_triangles name triangles that do not exist"
    if not all(np.isfinite(getattr(model, key)).all() for key in ("mean", "identity", "expression")):
        return "mean or modes are not finite"
    return None
