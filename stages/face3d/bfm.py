"""The Basel Face Model of 2009 as Deep3DFaceRecon and JoyGen lay it out, and their 257 numbers a frame.

`BFM_model_front.mat` is the face's front in 35,709 vertices, 80 identity and 64 expression modes; where a folder holds
only what it is made of, it is made in memory. The model is licensed to each user: nothing of it comes with us.

Source: Deep3DFaceRecon_pytorch, `models/bfm.py` and `util/load_mats.py`, read and checked numerically.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.face.landmarks import NUM_FACE_POINTS
from stages.face3d.camera import TO_CAMERA, rotation_matrices
from stages.face3d.model import DEVIATIONS, FaceModel, FaceModelError, Part

FRONT = "BFM_model_front.mat"
SOURCES = (
    *("01_MorphableModel.mat", "Exp_Pca.bin", "std_exp.txt", "BFM_front_idx.mat", "BFM_exp_idx.mat"),
    "facemodel_info.mat",
)
"""What the front model is made of: Basel's own file, expressions of Guo et al., and Deep3DFaceRecon's index files."""
LANDMARKS = "index_mp468_from_mesh35709.npy"
NUM_IDENTITY, NUM_EXPRESSION, NUM_TEXTURE = 80, 64, 80
MM_PER_DM = 100.0
UM_PER_DM = 1e5
CAMERA_DISTANCE_DM = 10.0
"""The reference's head stands at the origin, its camera at z = 10 dm, looking back along z."""
_WIDTHS = (NUM_IDENTITY, NUM_EXPRESSION, NUM_TEXTURE, 3, 27, 3)
NUM_COEFFICIENTS = sum(_WIDTHS)


def read_bfm(path: Path) -> FaceModel:
    """Read `BFM_model_front.mat`, or make it of the files beside it.

    Args:
        path: the file, or its folder, which may hold, as in JoyGen, the indices of MediaPipe's landmarks.
    Returns:
        The model in mm; identity and expression coefficients are the reference's. Without landmarks where their file is
        missing or leaves some out.
    Raises:
        FaceModelError: a file is missing or ill-formed.
    """
    folder = path if path.is_dir() else path.parent
    front = folder / FRONT if path.is_dir() else path
    if front.is_file():
        arrays = _read_mat(front)
    elif front.name == FRONT:
        missing = [name for name in SOURCES if not (folder / name).is_file()]
        if missing:
            raise FaceModelError(f"{folder} holds neither {FRONT} nor all it is made of: no {', '.join(missing)}")
        arrays = transfer_bfm09(folder)
    else:
        raise FaceModelError(f"no face model {path}: give {FRONT} or the folder that holds it")
    try:
        return _model(arrays, folder)
    except (KeyError, ValueError) as error:
        raise FaceModelError(f"{front} is not the front model of Deep3DFaceRecon: {error}") from error


def _model(arrays: dict[str, Any], folder: Path) -> FaceModel:
    mean = np.asarray(arrays["meanshape"], np.float64).reshape(-1, 3)
    mean = (mean - mean.mean(0)).astype(np.float32) * np.float32(MM_PER_DM)
    triangles = np.asarray(arrays["tri"]).astype(np.int32) - 1
    if triangles.min() < 0 or triangles.max() >= len(mean):
        raise ValueError("tri names vertices that do not exist")
    a, b, c = (mean[triangles[:, i]] for i in range(3))
    if np.cross(b - a, c - a)[:, 2].sum() < 0:  # an open front: seen from the viewer it is counter-clockwise
        triangles = triangles[:, ::-1]
    landmark_triangles, landmark_barycentric = _landmarks(folder / LANDMARKS, triangles)
    return FaceModel(
        name="bfm",
        licence="Basel Face Model 2009: personal, non-commercial research; not to be passed on",
        mean=mean,
        identity=_modes(arrays["idBase"], len(mean), NUM_IDENTITY),
        expression=_modes(arrays["exBase"], len(mean), NUM_EXPRESSION),
        expression_names=tuple(f"bfm{i:02d}" for i in range(NUM_EXPRESSION)),
        triangles=np.ascontiguousarray(triangles),
        triangle_part=np.full(len(triangles), Part.SKIN, np.uint8),
        landmark_triangles=landmark_triangles,
        landmark_barycentric=landmark_barycentric,
        albedo=np.clip(np.rint(np.asarray(arrays["meantex"]).reshape(-1, 3)), 0, 255).astype(np.uint8),
        expression_prior=DEVIATIONS,
    )


def _modes(base: np.ndarray, num_vertices: int, count: int) -> np.ndarray:
    """(3V, K) in dm to (K, V, 3) in mm."""
    modes = np.asarray(base, np.float32).T.reshape(-1, num_vertices, 3) * np.float32(MM_PER_DM)
    if len(modes) != count:
        raise ValueError(f"{len(modes)} modes, expected {count}")
    return np.ascontiguousarray(modes)


def _landmarks(file: Path, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks that are vertices, as corners of triangles; none where the file is not there or leaves some out."""
    vertices = np.load(file, allow_pickle=False).astype(np.int64).reshape(-1) if file.is_file() else np.zeros(0)
    if len(vertices) != NUM_FACE_POINTS or vertices.min() < 0:
        return np.zeros(0, np.int32), np.zeros((0, 3), np.float32)
    hits = [np.argwhere(triangles == vertex) for vertex in vertices]
    if not all(len(hit) for hit in hits):
        raise ValueError(f"{file.name} names vertices without a triangle")
    barycentric = np.zeros((NUM_FACE_POINTS, 3), np.float32)
    barycentric[np.arange(NUM_FACE_POINTS), [hit[0, 1] for hit in hits]] = 1
    return np.array([hit[0, 0] for hit in hits], np.int32), barycentric


def _read_mat(file: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(file)
    except NotImplementedError as error:  # what SciPy raises for MATLAB's newer container, HDF5
        raise FaceModelError(f"{file} is of MATLAB 7.3, which SciPy does not read: save it again with -v7") from error
    except (MatReadError, ValueError, TypeError) as error:
        raise FaceModelError(f"{file} is no MATLAB file that SciPy reads: {error}") from error


def transfer_bfm09(folder: Path) -> dict[str, Any]:
    """The arrays of `BFM_model_front.mat` from the files it is made of, named in `SOURCES`.

    Raises:
        FaceModelError: a file is ill-formed.
    """
    basel, info = _read_mat(folder / "01_MorphableModel.mat"), _read_mat(folder / "facemodel_info.mat")
    try:
        with (folder / "Exp_Pca.bin").open("rb") as file:
            dim = int(np.fromfile(file, np.int32, 1)[0])
            numbers = np.fromfile(file, np.float32)
        expression = numbers.reshape(1 + dim, -1, 3)[1:]  # the first is their mean, which the reference leaves out
        deviation = np.loadtxt(folder / "std_exp.txt").reshape(-1)
        in_exp = _read_mat(folder / "BFM_front_idx.mat")["idx"].astype(np.int64).reshape(-1) - 1
        in_basel = _read_mat(folder / "BFM_exp_idx.mat")["trimIndex"].astype(np.int64).reshape(-1)[in_exp] - 1

        def scaled(base: str, values: str, count: int) -> np.ndarray:
            modes = basel[base][:, :count] * basel[values].reshape(-1)[:count]
            return modes.reshape(-1, 3, count)[in_basel].reshape(-1, count)

        exp_base = (expression * deviation[:, None, None])[:NUM_EXPRESSION, in_exp].reshape(NUM_EXPRESSION, -1).T
        return {
            "meanshape": basel["shapeMU"].reshape(-1, 3)[in_basel].reshape(1, -1) / UM_PER_DM,
            "meantex": basel["texMU"].reshape(-1, 3)[in_basel].reshape(1, -1),
            "idBase": scaled("shapePC", "shapeEV", NUM_IDENTITY) / UM_PER_DM,
            "exBase": exp_base / UM_PER_DM,
            "texBase": scaled("texPC", "texEV", NUM_TEXTURE),
            **{key: value for key, value in info.items() if not key.startswith("__")},
        }
    except (KeyError, ValueError, IndexError) as error:
        raise FaceModelError(f"{folder} does not hold the files of Deep3DFaceRecon: {error}") from error


@dataclass(frozen=True)
class Coefficients:
    """The reference's numbers for T frames.

    Args:
        identity: (T, 80) and expression (T, 64), texture (T, 80): standard deviations.
        angle_rad: (T, 3) pitch, yaw, roll: points are turned by Rz Ry Rx.
        light: (T, 3, 9) spherical harmonics of each colour, beside the constant 0.8 of the first.
        translation_dm: (T, 3) x to the right, y up, z to the viewer; the camera stands at z = 10 dm.
    """

    identity: np.ndarray
    expression: np.ndarray
    texture: np.ndarray
    angle_rad: np.ndarray
    light: np.ndarray
    translation_dm: np.ndarray

    @staticmethod
    def unpack(values: np.ndarray) -> Coefficients:
        """From (T, 257)."""
        if values.ndim != 2 or values.shape[1] != NUM_COEFFICIENTS:
            raise ValueError(f"coefficients must be (T, {NUM_COEFFICIENTS}), got {values.shape}")
        parts = np.split(values, np.cumsum(_WIDTHS)[:-1], axis=1)
        parts[4] = parts[4].reshape(-1, 3, 9)
        return Coefficients(*parts)

    @staticmethod
    def of(id_coeff: np.ndarray, exp_coeff: np.ndarray, pose: np.ndarray) -> Coefficients:
        """From a fit with this model: identity (80,), expression (T, 64), pose (T, 6); mean texture and plain light.

        The reference's camera then draws the clip's crop, unstretched.
        """
        from scipy.spatial.transform import Rotation

        count = len(pose)
        turn = TO_CAMERA @ rotation_matrices(np.asarray(pose[:, :3], np.float64)) @ TO_CAMERA
        from_camera = np.asarray(pose[:, 3:], np.float64) / MM_PER_DM - [0, 0, CAMERA_DISTANCE_DM]
        return Coefficients(
            identity=np.tile(id_coeff, (count, 1)),
            expression=np.asarray(exp_coeff),
            texture=np.zeros((count, NUM_TEXTURE)),
            angle_rad=Rotation.from_matrix(turn).as_euler("xyz"),
            light=np.zeros((count, 3, 9)),
            translation_dm=from_camera @ TO_CAMERA,
        )

    def pack(self) -> np.ndarray:
        """(T, 257) float32: identity, expression, texture, angle, light, translation."""
        light = self.light.reshape(len(self.light), -1)
        parts = (self.identity, self.expression, self.texture, self.angle_rad, light, self.translation_dm)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def pose(self) -> np.ndarray:
        """(T, 6) as a fit has it: rotation vector in rad and translation in mm, model to camera."""
        from scipy.spatial.transform import Rotation

        turn = TO_CAMERA @ Rotation.from_euler("xyz", self.angle_rad).as_matrix() @ TO_CAMERA
        place = (self.translation_dm @ TO_CAMERA + [0, 0, CAMERA_DISTANCE_DM]) * MM_PER_DM
        return np.concatenate([Rotation.from_matrix(turn).as_rotvec(), place], axis=1)
