"""The Basel model's files and the reference's 257 numbers, on synthetic files of the true shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from scipy.spatial import Delaunay

from stages.face3d.bfm import FRONT, LANDMARKS, Coefficients, transfer_bfm09
from stages.face3d.camera import project, synthesize
from stages.face3d.load import load_face_model
from stages.face3d.model import DEVIATIONS, FaceModelError

NUM_VERTICES, NUM_TRIANGLES = 35_709, 70_789


def dome(num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """A face-sized dome in dm, seen from +z, and its triangles counter-clockwise from there."""
    k = np.arange(num_vertices) + 0.5
    radius, angle = np.sqrt(k / num_vertices), k * np.pi * (3 - np.sqrt(5))
    x, y = 0.8 * radius * np.cos(angle), radius * np.sin(angle)
    triangles = Delaunay(np.stack([x, y], 1)).simplices
    a, b, c = (np.stack([x, y], 1)[triangles[:, i]] for i in range(3))
    clockwise = (b - a)[:, 0] * (c - a)[:, 1] < (b - a)[:, 1] * (c - a)[:, 0]
    triangles[clockwise] = triangles[clockwise, ::-1]
    return np.stack([x, y, 1 - radius**2], 1), triangles


def front_arrays(seed: int = 0) -> dict[str, Any]:
    """Keys, shapes and conventions of BFM_model_front.mat."""
    rng = np.random.default_rng(seed)
    mean, triangles = dome(NUM_VERTICES)
    wide = 3 * NUM_VERTICES
    return {
        "meanshape": (mean + np.array([0.1, -0.2, 0.3])).reshape(1, wide),
        "meantex": rng.uniform(0, 255, (1, wide)),
        "idBase": rng.normal(0, 0.02, (wide, 80)).astype(np.float32),
        "exBase": rng.normal(0, 0.01, (wide, 64)).astype(np.float32),
        "texBase": np.zeros((wide, 80), np.float32),
        "tri": triangles[:NUM_TRIANGLES] + 1,
        "point_buf": np.ones((NUM_VERTICES, 8), np.int32),
        "keypoints": np.arange(1, 69)[None],
        "frontmask2_idx": np.arange(1, 27_661)[:, None],
        "tri_mask2": triangles[:54_681] + 1,
        "skinmask": np.ones((1, NUM_VERTICES)),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """As JoyGen lays it out."""
    folder = tmp_path_factory.mktemp("BFM")
    arrays = front_arrays()
    assert arrays["tri"].shape == (NUM_TRIANGLES, 3)
    savemat(folder / FRONT, arrays)
    used = np.unique(arrays["tri"]) - 1
    np.save(folder / LANDMARKS, used[:: len(used) // 468][:468])
    return folder


def reference_projection(arrays: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """Column and row in the reference's 224 px picture, and z in dm, as its formulas stand, in float64."""
    shape = arrays["meanshape"].reshape(-1, 3)
    shape = (shape - shape.mean(0)).reshape(-1)
    shape = (shape + arrays["idBase"].astype(np.float64) @ values[:80]).reshape(-1)
    shape = (shape + arrays["exBase"].astype(np.float64) @ values[80:144]).reshape(-1, 3)
    x, y, z = values[224:227]
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    moved = shape @ (about_z @ about_y @ about_x).T + values[254:]
    moved[:, 2] = 10 - moved[:, 2]
    u, v = 1015 * moved[:, 0] / moved[:, 2] + 112, 1015 * moved[:, 1] / moved[:, 2] + 112
    return np.stack([u, 224 - v, moved[:, 2]], 1)


def random_values(count: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (count, 257))
    values[:, 224:227] = rng.uniform(-0.7, 0.7, (count, 3))
    values[:, 254:] = rng.normal(0, [0.1, 0.1, 1.0], (count, 3))
    return values


@pytest.mark.slow
def test_the_front_model_is_read_in_millimetres_about_its_middle(folder):
    model = load_face_model(folder)
    assert load_face_model(folder / FRONT).name == model.name == "bfm"
    assert model.expression_prior == DEVIATIONS
    assert model.mean.shape == (NUM_VERTICES, 3)
    assert model.identity.shape == (80, NUM_VERTICES, 3)
    assert model.expression.shape == (64, NUM_VERTICES, 3)
    np.testing.assert_allclose(model.mean.mean(0), 0, atol=1e-3)
    assert np.ptp(model.mean[:, 1]) == pytest.approx(200, abs=1)
    assert "non-commercial" in model.licence


def test_drawing_the_257_numbers_is_the_references_projection(folder):
    arrays, values = front_arrays(), random_values(3)
    model, given = load_face_model(folder), Coefficients.unpack(values)
    for frame in range(3):
        vertices = synthesize(model, given.identity[frame], given.expression[frame : frame + 1], given.pose()[[frame]])
        found = project(vertices)[0] * [224 / 256, 224 / 256, 0.01]
        np.testing.assert_allclose(found, reference_projection(arrays, values[frame]), atol=2e-3)


def test_257_numbers_unpack_and_pack_to_themselves():
    values = random_values(5)
    parts = Coefficients.unpack(values)
    assert parts.light.shape == (5, 3, 9)
    np.testing.assert_array_equal(parts.pack(), values.astype(np.float32))
    again = Coefficients.of(values[0, :80], parts.expression, parts.pose())
    np.testing.assert_allclose(again.angle_rad, parts.angle_rad, atol=1e-9)
    np.testing.assert_allclose(again.translation_dm, parts.translation_dm, atol=1e-9)
    np.testing.assert_array_equal(again.pack()[:, 80:144], values[:, 80:144].astype(np.float32))
    with pytest.raises(ValueError, match=r"\(T, 257\), got \(5, 256\)"):
        Coefficients.unpack(values[:, 1:])


def test_the_indices_of_joygen_are_landmarks_at_their_vertices(folder):
    model = load_face_model(folder)
    vertices = np.load(folder / LANDMARKS)
    np.testing.assert_allclose(model.at_landmarks(model.mean), model.mean[vertices], atol=1e-4)


def test_triangles_that_face_away_are_turned(tmp_path):
    mean, triangles = dome(600)
    write_small(tmp_path / FRONT, mean, triangles[:, ::-1])
    np.save(tmp_path / LANDMARKS, np.unique(triangles)[:468])
    model = load_face_model(tmp_path)
    a, b, c = (model.mean[model.triangles[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def write_small(file: Path, mean: np.ndarray, triangles: np.ndarray, **changed: Any) -> None:
    wide = mean.size
    arrays = {"meanshape": mean.reshape(1, -1), "meantex": np.full((1, wide), 128.0), "tri": triangles + 1}
    arrays |= {"idBase": np.zeros((wide, 80)), "exBase": np.zeros((wide, 64)), "texBase": np.zeros((wide, 80))}
    savemat(file, {key: value for key, value in {**arrays, **changed}.items() if value is not None})


def test_what_is_wrong_with_the_files_is_named(tmp_path):
    with pytest.raises(FaceModelError, match=r"neither BFM_model_front\.mat nor all it is made of: no 01_Morphable"):
        load_face_model(tmp_path)
    with pytest.raises(FaceModelError, match=r"nor all it is made of"):
        load_face_model(tmp_path / FRONT)
    with pytest.raises(FaceModelError, match=r"no face model .*other\.mat"):
        load_face_model(tmp_path / "other.mat")
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"  # version 2 in the machine's order: HDF5 follows
    (tmp_path / FRONT).write_bytes(header.ljust(512, b"\0"))
    with pytest.raises(FaceModelError, match=r"BFM_model_front\.mat is of MATLAB 7\.3, .* save it again with -v7"):
        load_face_model(tmp_path)
    (tmp_path / FRONT).write_bytes(b"not MATLAB's" * 20)
    with pytest.raises(FaceModelError, match=r"BFM_model_front\.mat is no MATLAB file"):
        load_face_model(tmp_path)
    mean, triangles = dome(600)
    write_small(tmp_path / "a.mat", mean, triangles, exBase=None)
    with pytest.raises(FaceModelError, match="exBase"):
        load_face_model(tmp_path / "a.mat")
    write_small(tmp_path / "b.mat", mean, triangles, idBase=np.zeros((mean.size, 79)))
    with pytest.raises(FaceModelError, match="79 modes, expected 80"):
        load_face_model(tmp_path / "b.mat")
    write_small(tmp_path / "c.mat", mean, triangles)
    with pytest.raises(FaceModelError, match=r"no MediaPipe landmarks: run python -m stages\.face3d\.convert"):
        load_face_model(tmp_path / "c.mat")
    np.save(tmp_path / LANDMARKS, np.r_[-1, np.arange(467)])  # GeneFace's file leaves some out
    with pytest.raises(FaceModelError, match="no MediaPipe landmarks"):
        load_face_model(tmp_path / "c.mat")


def test_the_front_model_is_made_of_basels_file_as_the_reference_makes_it(tmp_path):
    """A tiny Basel model: 9 vertices, of which the expressions know 7 and the front 5."""
    rng = np.random.default_rng(3)
    full, in_exp, front = 9, np.array([8, 0, 1, 2, 4, 5, 7]), np.array([6, 0, 3, 2, 5])
    basel = {"shapeMU": rng.normal(0, 5e4, (27, 1)), "texMU": rng.uniform(0, 255, (27, 1))}
    for kind in ("shape", "tex"):
        basel |= {f"{kind}PC": rng.normal(size=(27, 199)), f"{kind}EV": rng.uniform(1, 9, (199, 1))}
    savemat(tmp_path / "01_MorphableModel.mat", basel)
    expression = rng.normal(size=(79, 7, 3)).astype(np.float32)
    deviation = rng.uniform(1, 9, 79)
    with (tmp_path / "Exp_Pca.bin").open("wb") as file:
        np.array([79], np.int32).tofile(file)
        np.full(21, 1e9, np.float32).tofile(file)
        expression.tofile(file)
    np.savetxt(tmp_path / "std_exp.txt", deviation)
    savemat(tmp_path / "BFM_front_idx.mat", {"idx": front[:, None] + 1})
    savemat(tmp_path / "BFM_exp_idx.mat", {"trimIndex": in_exp[:, None] + 1})
    savemat(tmp_path / "facemodel_info.mat", {"tri": np.array([[1, 2, 3]]), "keypoints": np.arange(1, 69)[None]})
    made = transfer_bfm09(tmp_path)
    assert made["idBase"].shape == (15, 80)
    assert made["exBase"].shape == (15, 64)
    for new, in_expression in enumerate(front):
        old = in_exp[in_expression]
        assert old < full
        for axis in range(3):
            mode = 17
            expected = basel["shapePC"][3 * old + axis, mode] * basel["shapeEV"][mode, 0] / 1e5
            assert made["idBase"][3 * new + axis, mode] == pytest.approx(expected)
            expected = expression[mode, in_expression, axis] * deviation[mode] / 1e5
            assert made["exBase"][3 * new + axis, mode] == pytest.approx(expected, rel=1e-6)
            assert made["meanshape"][0, 3 * new + axis] == pytest.approx(basel["shapeMU"][3 * old + axis, 0] / 1e5)
            assert made["meantex"][0, 3 * new + axis] == pytest.approx(basel["texMU"][3 * old + axis, 0])
    assert made["tri"].tolist() == [[1, 2, 3]]
