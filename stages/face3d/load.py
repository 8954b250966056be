"""Face models from files.

The embedded default, `cc0`, is built by `stages.face3d.build` from public-domain data. Any other model comes as an
.npz file of the same layout (see `docs/guide/face-models.md`), or is the Basel Face Model as Deep3DFaceRecon and JoyGen
lay it out. Where a model has no landmarks, they are placed once and kept in a file beside it.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from stages.face.landmarks import NUM_FACE_POINTS
from stages.face3d.model import ACTIVATIONS, ExpressionPrior, FaceModel, FaceModelError

EMBEDDED = {"cc0": Path(__file__).parent / "face_cc0.npz"}
PLACED = ".mp468.npz"
"""Ends the name of the file beside a model that holds the landmarks placed on it."""


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
        "landmark_triangles": (NUM_FACE_POINTS,),
        "landmark_barycentric": (NUM_FACE_POINTS, 3),
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
