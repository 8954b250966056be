"""Prepare a user's face model: ICT-FaceKit into an .npz file, landmarks for a model without any.

    python -m stages.face3d.convert FaceXModel --out ict.npz
    python -m stages.face3d.convert BFM/BFM_model_front.mat

The second writes the landmarks beside the model, where `load_face_model` finds them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from stages.core.command import command, make_parser
from stages.face3d.load import keep_landmarks, load_face_model, read_face_model
from stages.face3d.model import FaceModel, FaceModelError, Part
from stages.face3d.place_landmarks import LandmarkSearch, place_landmarks

ICT_MESH = "generic_neutral_mesh.obj"
ICT_INDICES = "vertex_indices.json"
ICT_PARTS: tuple[tuple[int, int, Part], ...] = (
    (0, 6706, Part.SKIN),  # the narrow face
    (6706, 9409, Part.HEAD),  # ears and the surroundings of the face
    (11248, 13294, Part.MOUTH_BAG),
    (14062, 17039, Part.MOUTH_BAG),  # gums and tongue
    (17039, 21451, Part.TEETH),
    (21451, 24591, Part.EYES),
)
"""Half-open spans of vertices, from ICT-FaceKit's README. Neck, eye sockets, lashes and fluids are left out."""
MM_PER_CM = 10.0
NUM_IDENTITY = 80
OUTER_LIPS_68 = range(48, 60)
COLOURS = {
    Part.SKIN: (224, 178, 150),
    Part.HEAD: (224, 178, 150),
    Part.LIPS: (176, 88, 86),
    Part.EYES: (238, 236, 232),
    Part.TEETH: (232, 226, 212),
    Part.MOUTH_BAG: (90, 35, 35),
}


def read_ict(folder: Path) -> FaceModel:
    """ICT-FaceKit Light from its `FaceXModel` folder of OBJ files, without landmarks.

    Coefficients are ICT's: identity modes at one sigma, 53 expressions of ARKit, where two of ARKit's have a left and
    a right half.

    Raises:
        FaceModelError: a file is missing or ill-formed.
    """
    try:
        indices = json.loads((folder / ICT_INDICES).read_text())
        lips = [indices["idx_to_landmark_verts"][i] for i in OUTER_LIPS_68]
        names = list(indices["expressions"])
        neutral, triangles = _read_obj(folder / ICT_MESH, with_faces=True)
        kept, triangles, part = _cut(triangles)
        files = sorted(folder.glob("identity[0-9][0-9][0-9].obj"))[:NUM_IDENTITY]
        if not files:
            raise FaceModelError(f"{folder} holds no identity000.obj")
        identity = np.stack([_read_obj(file)[0][kept] for file in files]) - neutral[kept]
        expression = np.stack([_read_obj(folder / f"{name}.obj")[0][kept] for name in names]) - neutral[kept]
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise FaceModelError(f"{folder} is no FaceXModel folder of ICT-FaceKit: {error}") from error
    mean = neutral[kept]
    part[_inside(mean, triangles, neutral[lips]) & (part == Part.SKIN)] = Part.LIPS
    albedo = np.zeros((len(kept), 3), np.uint8)
    for member, colour in COLOURS.items():
        albedo[triangles[part == member]] = colour
    middle = mean[np.unique(triangles[(part == Part.SKIN) | (part == Part.LIPS)])].mean(0)
    return FaceModel(
        name="ict",
        licence="MIT (ICT-FaceKit Light, (c) 2020 USC Institute for Creative Technologies)",
        mean=((mean - middle) * MM_PER_CM).astype(np.float32),
        identity=(identity * MM_PER_CM).astype(np.float32),
        expression=(expression * MM_PER_CM).astype(np.float32),
        expression_names=tuple(_arkit_name(name) for name in names),
        triangles=triangles,
        triangle_part=part,
        landmark_triangles=np.zeros(0, np.int32),
        landmark_barycentric=np.zeros((0, 3), np.float32),
        albedo=albedo,
    )


def _arkit_name(name: str) -> str:
    stem, _, side = name.partition("_")
    return stem + {"L": "Left", "R": "Right", "": ""}[side]


def _read_obj(path: Path, with_faces: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and, with `with_faces`, polygons cut into triangles (F, 3)."""
    vertices: list[list[str]] = []
    triangles: list[list[int]] = []
    with path.open() as file:
        for line in file:
            if line.startswith("v "):
                vertices.append(line.split()[1:4])
            elif with_faces and line.startswith("f "):
                corners = [int(corner.partition("/")[0]) - 1 for corner in line.split()[1:]]
                triangles += [[corners[0], b, c] for b, c in pairwise(corners[1:])]
    return np.array(vertices, np.float64), np.array(triangles, np.int32).reshape(-1, 3)


def _cut(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices that are kept, their triangles in the new numbers, and the part of each triangle."""
    part_of = np.full(max(end for _, end, _ in ICT_PARTS), -1)
    for start, end, part in ICT_PARTS:
        part_of[start:end] = part
    known = triangles[(triangles < len(part_of)).all(1)]
    corners = part_of[known]
    known, corners = known[(corners >= 0).all(1)], corners[(corners >= 0).all(1)]
    kept = np.unique(known)
    return kept, np.searchsorted(kept, known).astype(np.int32), corners.max(1).astype(np.uint8)


def _inside(mean: np.ndarray, triangles: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """(F,) triangles whose middle lies within a ring of points (N, 3), as seen from the front."""
    from skimage.measure import points_in_poly

    return points_in_poly(mean[triangles].mean(1)[:, :2], ring[:, :2])


def place_beside(path: Path, landmarker: Path, search: LandmarkSearch) -> FaceModel:
    """Place landmarks on a model by detection, and write them beside it; earlier ones are replaced.

    Args:
        landmarker: MediaPipe's task file.
    Raises:
        FaceModelError: the model is missing or ill-formed.
        LandmarksNotFound: the detector does not find its faces.
    """
    keep_landmarks(place_landmarks(read_face_model(path), landmarker, search)[0], path)
    return load_face_model(path)


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    from stages.core.weights import WeightStore
    from stages.face3d.build import save_face_model

    parser = make_parser("python -m stages.face3d.convert", __doc__)
    parser.add_argument("model", type=Path, help="FaceXModel folder, BFM folder, .mat or .npz")
    parser.add_argument("--out", type=Path, help="the .npz to write; needed for ICT-FaceKit")
    options = parser.parse_args(arguments)
    landmarker = WeightStore.from_environment().path("face_landmarker")
    if (options.model / ICT_MESH).is_file():
        if options.out is None:
            raise FaceModelError("ICT-FaceKit is converted: name the .npz with --out")
        model, _ = place_landmarks(read_ict(options.model), landmarker, LandmarkSearch())
    else:
        model = place_beside(options.model, landmarker, LandmarkSearch())
    if options.out is not None:
        save_face_model(options.out, model)
    print(f"{model.name}: {len(model.mean)} vertices, {len(model.triangles)} triangles, {len(model.identity)} identity")
    print(f"and {len(model.expression)} expression modes, landmarks placed; {model.licence}")


if __name__ == "__main__":
    raise SystemExit(main())
