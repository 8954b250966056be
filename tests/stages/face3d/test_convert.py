"""ICT-FaceKit's folder into a model, on a synthetic folder of its format; and landmarks placed once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.face3d.build import save_face_model
from stages.face3d.convert import main, place_beside, read_ict
from stages.face3d.load import PLACED, load_face_model
from stages.face3d.model import FaceModelError, Part
from stages.face3d.place_landmarks import LandmarkSearch

NUM_VERTICES = 26_719
NAMES = ["browInnerUp_L", "browInnerUp_R", "jawOpen", "mouthSmile_L"]


def write_obj(path: Path, vertices: np.ndarray, faces: list[list[int]]) -> None:
    lines = ["mtllib ICTFaceModelMaterial.mtl", *(f"v {x:.15f} {y:.15f} {z:.15f}" for x, y, z in vertices)]
    lines += ["vt 0.1 0.2", "usemtl M_Face", *(" ".join(["f", *(f"{i + 1}/1" for i in face)]) for face in faces)]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One quad a part, 15 cm before the origin as in the true files; two identities, four expressions."""
    folder = tmp_path_factory.mktemp("FaceXModel")
    neutral = np.zeros((NUM_VERTICES, 3))
    quads = []
    for place, start in enumerate((0, 4, 9000, 9500, 11248, 14062, 17039, 21451, 25351)):
        x, y = 3.0 * (place % 3), 3.0 * (place // 3)
        neutral[start : start + 4] = [[x, y, 15], [x + 1, y, 15], [x + 1, y + 1, 15], [x, y + 1, 15]]
        quads.append([start, start + 1, start + 2, start + 3])
    landmarks = np.zeros(68, int)
    landmarks[48:60] = np.arange(5000, 5012)  # a ring around the second quad
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    neutral[5000:5012] = np.stack([3.5 + np.cos(angle), 0.5 + np.sin(angle), np.full(12, 15)], 1)
    write_obj(folder / "generic_neutral_mesh.obj", neutral, quads)
    for i in range(2):
        write_obj(folder / f"identity{i:03d}.obj", neutral + np.array([0.1 * (i + 1), 0, 0]), quads)
    for i, name in enumerate(NAMES):
        write_obj(folder / f"{name}.obj", neutral + np.array([0, 0.01 * (i + 1), 0]), quads)
    about = {"expressions": NAMES, "idx_to_landmark_verts": landmarks.tolist()}
    (folder / "vertex_indices.json").write_text(json.dumps(about))
    return folder


@pytest.mark.slow
def test_parts_are_kept_by_their_vertices_and_quads_are_cut(folder):
    model = read_ict(folder)
    parts = [Part(part) for part in model.triangle_part]
    expected = [Part.SKIN, Part.LIPS, Part.HEAD, Part.MOUTH_BAG, Part.MOUTH_BAG, Part.TEETH, Part.EYES]
    assert parts == [part for part in expected for _ in range(2)]  # neck and lashes are left out
    assert len(model.mean) == 7 * 4
    a, b, c = (model.mean[model.triangles[:, i]] for i in range(3))
    np.testing.assert_allclose(np.cross(b - a, c - a)[:, 2], 100, rtol=1e-4)  # mm^2, counter-clockwise


def test_modes_are_differences_in_millimetres_with_arkits_names(folder):
    model = read_ict(folder)
    assert model.expression_names == ("browInnerUpLeft", "browInnerUpRight", "jawOpen", "mouthSmileLeft")
    np.testing.assert_allclose(model.identity, np.broadcast_to([[[1, 0, 0]], [[2, 0, 0]]], (2, 28, 3)), atol=1e-5)
    np.testing.assert_allclose(model.expression[:, 0, 1], [0.1, 0.2, 0.3, 0.4], atol=1e-5)
    skin = model.mean[model.triangles[model.triangle_part <= Part.LIPS]]
    np.testing.assert_allclose((skin.reshape(-1, 3).min(0) + skin.reshape(-1, 3).max(0)) / 2, 0, atol=1e-4)
    assert "MIT" in model.licence


def test_a_folder_that_lacks_a_file_is_refused(folder, tmp_path):
    with pytest.raises(FaceModelError, match="no FaceXModel folder"):
        read_ict(tmp_path)
    for name in ("generic_neutral_mesh.obj", "vertex_indices.json", "identity000.obj"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(FaceModelError, match=r"browInnerUp_L\.obj"):
        read_ict(tmp_path)
    (tmp_path / "identity000.obj").unlink()
    with pytest.raises(FaceModelError, match="no identity000"):
        read_ict(tmp_path)


def test_landmarks_are_placed_and_kept_beside_the_model(weights, tmp_path):
    model, bare, other = load_face_model(), tmp_path / "bare.npz", tmp_path / "other.npz"
    unplaced = replace(model, landmark_triangles=np.zeros(0, int), landmark_barycentric=np.zeros((0, 3)))
    save_face_model(bare, unplaced)
    with pytest.raises(FaceModelError, match=r"no MediaPipe landmarks: run python -m stages\.face3d\.convert"):
        load_face_model(bare)
    placed = place_beside(bare, weights.path("face_landmarker"), LandmarkSearch(num_faces=12))
    distance = np.linalg.norm(placed.at_landmarks(model.mean) - model.at_landmarks(model.mean), axis=1)
    assert np.median(distance) < 1.5
    assert load_face_model(bare) is placed
    save_face_model(other, replace(unplaced, mean=model.mean + 1))
    (tmp_path / f"bare.npz{PLACED}").rename(tmp_path / f"other.npz{PLACED}")
    with pytest.raises(FaceModelError, match="no MediaPipe landmarks"):  # they are another shape's
        load_face_model(other)


def test_the_command_says_what_is_missing(folder, tmp_path, capsys):
    assert main([str(folder)]) == 2
    assert "--out" in capsys.readouterr().err
    assert main([str(tmp_path / "none.npz")]) == 2
    assert "no face model" in capsys.readouterr().err
