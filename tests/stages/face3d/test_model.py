"""The embedded face model as a measured object, and the loader's refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial import KDTree

from stages.face3d.build import save_face_model
from stages.face3d.load import load_face_model
from stages.face3d.model import ACTIVATIONS, ExpressionPrior, FaceModelError, Part

INNER_EYE_CORNERS, OUTER_EYE_CORNERS, MOUTH_CORNERS = (133, 362), (33, 263), (61, 291)
NOSE_TIP, FOREHEAD, CHIN, UPPER_LIP, LOWER_LIP = 1, 10, 152, 13, 14


@pytest.fixture(scope="module")
def model():
    return load_face_model("cc0")


@pytest.fixture(scope="module")
def landmarks(model):
    return model.at_landmarks(model.mean)


def test_it_has_the_promised_counts(model):
    assert model.identity.shape == (80, *model.mean.shape)
    assert model.expression.shape == (52, *model.mean.shape)
    assert len(set(model.expression_names)) == 52
    assert {"jawOpen", "mouthPucker", "mouthSmileLeft", "eyeBlinkRight"} <= set(model.expression_names)
    assert model.landmark_triangles.shape == (468,)
    assert "CC0" in model.licence


def test_it_is_a_face_in_millimetres(landmarks):
    eyes = (landmarks[list(INNER_EYE_CORNERS)] + landmarks[list(OUTER_EYE_CORNERS)]) / 2
    assert np.linalg.norm(eyes[0] - eyes[1]) == pytest.approx(63, abs=3)  # adults: 63 mm on average
    assert np.linalg.norm(np.subtract(*landmarks[list(MOUTH_CORNERS)])) == pytest.approx(50, abs=8)
    assert 140 < landmarks[FOREHEAD, 1] - landmarks[CHIN, 1] < 185  # landmark 10 is high on the forehead


def test_landmarks_lie_where_mediapipe_has_them(landmarks):
    # x to the right of the picture, where MediaPipe's 33 is the left eye; y up; z to the viewer.
    assert landmarks[33, 0] < landmarks[133, 0] < landmarks[NOSE_TIP, 0] < landmarks[362, 0] < landmarks[263, 0]
    assert landmarks[FOREHEAD, 1] > landmarks[33, 1] > landmarks[NOSE_TIP, 1] > landmarks[UPPER_LIP, 1]
    assert landmarks[UPPER_LIP, 1] >= landmarks[LOWER_LIP, 1] > landmarks[CHIN, 1]
    assert landmarks[:, 2].argmax() in {1, 4, 5, 19, 44, 274}
    assert abs(landmarks[[NOSE_TIP, FOREHEAD, CHIN, UPPER_LIP, LOWER_LIP], 0]).max() < 1.5


def test_landmarks_lie_on_the_outer_surface(model):
    assert set(model.triangle_part[model.landmark_triangles]) <= {Part.SKIN, Part.LIPS, Part.HEAD}
    np.testing.assert_allclose(model.landmark_barycentric.sum(1), 1, atol=1e-5)
    assert model.landmark_barycentric.min() >= 0


def test_mean_is_symmetric(model):
    distance, _ = KDTree(model.mean).query(model.mean * [-1, 1, 1])
    assert distance.max() < 0.01


def test_identity_modes_are_ordered_and_keep_faces_plausible(model):
    tongue = model.expression[model.expression_names.index("tongueOut")].any(1)  # it only follows
    energy = (model.identity[:, ~tongue].astype(np.float64) ** 2).sum((1, 2))
    assert (np.diff(energy) <= energy[:-1] * 0.01).all()
    assert 0.5 < np.linalg.norm(model.identity[0], axis=1).mean() < 6


def test_jaw_open_drops_the_lower_lip_and_leaves_the_upper(model, landmarks):
    coefficient = np.zeros((1, 52))
    coefficient[0, model.expression_names.index("jawOpen")] = 1
    moved = model.at_landmarks(model.shape(np.zeros(80), coefficient))[0] - landmarks
    assert -50 < moved[LOWER_LIP, 1] < -15
    assert abs(moved[UPPER_LIP, 1]) < 4
    assert abs(moved[33]).max() < 0.5


def test_left_and_right_are_the_persons_own(model, landmarks):
    smile = model.at_landmarks(model.expression[model.expression_names.index("mouthSmileLeft")])
    assert np.linalg.norm(smile[291]) > 5 * np.linalg.norm(smile[61])


def test_triangles_face_outwards(model, landmarks):
    lips = model.triangles[model.triangle_part == Part.LIPS]
    a, b, c = (model.mean[lips[:, i]] for i in range(3))
    towards_viewer = np.cross(b - a, c - a)[:, 2] > 0
    assert towards_viewer.mean() > 0.7


def test_saved_models_load_again(model, tmp_path):
    save_face_model(tmp_path / "mine.npz", model)
    again = load_face_model(tmp_path / "mine.npz")
    np.testing.assert_array_equal(again.mean, model.mean)
    np.testing.assert_allclose(again.identity, model.identity, atol=0.02)
    np.testing.assert_allclose(again.expression, model.expression, atol=0.01)
    np.testing.assert_array_equal(again.landmark_triangles, model.landmark_triangles)
    assert again.expression_names == model.expression_names
    assert again.expression_prior == model.expression_prior == ACTIVATIONS


def test_a_model_says_what_its_expressions_may_be(model, tmp_path):
    prior = ExpressionPrior(sigma=2.0, low=-5.0, high=6.0, accel_sigma=0.7)
    save_face_model(tmp_path / "own.npz", replace(model, expression_prior=prior))
    assert load_face_model(tmp_path / "own.npz").expression_prior == prior
    with np.load(tmp_path / "own.npz") as file:
        arrays: dict[str, Any] = dict(file)
    about = json.loads(str(arrays["about"]))
    del about["expression_prior"]["low"]
    np.savez(tmp_path / "part.npz", **arrays | {"about": np.array(json.dumps(about))})
    with pytest.raises(FaceModelError, match=r"part\.npz is no face model: .*'low'"):
        load_face_model(tmp_path / "part.npz")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FaceModelError, match=r"no face model .*bfm\.npz"):
        load_face_model(tmp_path / "bfm.npz")


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(FaceModelError, match=r"text\.npz is no face model"):
        load_face_model(tmp_path / "text.npz")


def test_a_missing_array_and_a_wrong_shape_are_named(model, tmp_path):
    save_face_model(tmp_path / "whole.npz", model)
    with np.load(tmp_path / "whole.npz") as file:
        arrays: dict[str, Any] = dict(file)
    np.savez(tmp_path / "short.npz", **{k: v for k, v in arrays.items() if k != "triangles"})
    with pytest.raises(FaceModelError, match="triangles"):
        load_face_model(tmp_path / "short.npz")
    about = json.loads(str(arrays["about"]))
    about["expression_names"] = about["expression_names"][:-1]
    np.savez(tmp_path / "names.npz", **arrays | {"about": np.array(json.dumps(about))})
    with pytest.raises(FaceModelError, match="expression has shape"):
        load_face_model(tmp_path / "names.npz")
    np.savez(tmp_path / "far.npz", **arrays | {"triangles": arrays["triangles"] + 9})
    with pytest.raises(FaceModelError, match="vertices that do not exist"):
        load_face_model(tmp_path / "far.npz")


def test_the_face_alone_is_the_same_face(model):
    face, rng = model.face, np.random.default_rng(0)
    identity, expression = rng.normal(size=len(model.identity)), rng.uniform(0, 1, (2, len(model.expression)))
    whole, alone = (one.shape(identity, expression) for one in (model, face))
    np.testing.assert_allclose(alone[:, face.triangles], whole[:, model.face_triangles], atol=1e-4)
    assert len(face.mean) == len(np.unique(model.face_triangles)) < len(model.mean) and face.face is face
