from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from stages.core.records import IDENTITY
from stages.core.weights import WeightStore
from stages.face.crop import crop_face, encode_jpeg, to_crop
from stages.face.landmarks import LandmarkDetector
from stages.identity import (
    ARCFACE_TEMPLATE,
    IdentityChecker,
    IdentityConfig,
    align_face,
    fit_similarity,
    identity_similarity,
)
from tests.stages.footage import clip_of, photo


@pytest.fixture(scope="module")
def checker(weights: WeightStore) -> IdentityChecker:
    return IdentityChecker(IdentityConfig(num_frames=4), weights)


@pytest.fixture(scope="module")
def detector(weights: WeightStore) -> Iterator[LandmarkDetector]:
    with LandmarkDetector(weights) as opened:
        yield opened


def test_similarity_is_found_again() -> None:
    source = np.random.default_rng(0).uniform(0, 100, (5, 2))
    turn = 1.7 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    matrix = fit_similarity(source, source @ turn.T + (3, -8))
    assert matrix == pytest.approx(np.column_stack([turn, [3, -8]]))


def test_alignment_undoes_the_stretch_of_the_crop() -> None:
    """Five white dots in a frame, cropped by a box twice as high as wide, come to lie on the template."""
    frame = np.zeros((400, 400, 3), np.uint8)
    points = np.array([[150, 150], [210, 150], [180, 190], [155, 225], [205, 225]], np.float64)
    for x, y in points.astype(int):
        frame[y - 3 : y + 3, x - 3 : x + 3] = 255
    box = np.array([120, 60, 240, 300], np.float64)
    face = align_face(crop_face(frame, box), box, points, ARCFACE_TEMPLATE, 112)[..., 0].astype(float)
    placed = points @ fit_similarity(points, ARCFACE_TEMPLATE)[:, :2].T
    placed += fit_similarity(points, ARCFACE_TEMPLATE)[:, 2]
    for x, y in placed:
        patch = face[int(y) - 6 : int(y) + 7, int(x) - 6 : int(x) + 7]
        rows, columns = np.indices(patch.shape) + 0.5
        centre = ((patch * columns).sum() / patch.sum() + int(x) - 6, (patch * rows).sum() / patch.sum() + int(y) - 6)
        assert centre == pytest.approx((x, y), abs=0.3)


def test_two_people_who_share_a_clip_are_not_alike() -> None:
    """To the mean of all frames both would be .71 alike."""
    one, other = np.eye(8)[0], np.eye(8)[1]
    assert identity_similarity(np.stack([one] * 4 + [other] * 4)) == pytest.approx(0)
    assert identity_similarity(np.stack([one] * 7 + [other])) == pytest.approx(0)
    assert identity_similarity(np.stack([one] * 8)) == pytest.approx(1)
    assert identity_similarity(one[None]) == pytest.approx(1)


def test_one_person(checker: IdentityChecker, detector: LandmarkDetector) -> None:
    pictures = [photo(), photo()[:, ::-1].copy(), (photo() * 0.7).astype(np.uint8), np.roll(photo(), 30, axis=1)]
    row = clip_of(detector, pictures)
    measured = checker(row)
    assert measured.keys() - row.keys() == set(IDENTITY.names)
    assert measured["identity_min_sim"] > 0.7
    assert measured["face_embedding"].shape == (512,)
    assert measured["face_embedding"].dtype == np.float16
    assert np.linalg.norm(measured["face_embedding"].astype(np.float32)) == pytest.approx(1, abs=1e-3)
    assert measured["gender"] == "female"
    assert 0.5 < measured["gender_prob"] <= 1
    assert 20 < measured["age_years"] < 60


def test_a_clip_of_one_frame(checker: IdentityChecker, detector: LandmarkDetector) -> None:
    assert checker(clip_of(detector, [photo()]))["identity_min_sim"] == pytest.approx(1, abs=1e-4)


def test_embedding_does_not_depend_on_how_the_face_was_cropped(
    checker: IdentityChecker, detector: LandmarkDetector
) -> None:
    row = clip_of(detector, [photo()])
    box = row["crop_box_xyxy_px"].copy()
    wide = box + np.array([[-30, 0, 30, 0]], np.float32)
    face = detector(photo(), 0.0)
    assert face is not None
    other = {
        **row,
        "face_jpeg": [encode_jpeg(crop_face(photo(), wide[0]), 90)],
        "landmarks": to_crop(face.points[None], wide).reshape(1, -1),
        "crop_box_xyxy_px": wide,
    }
    pair = [checker(clip)["face_embedding"].astype(np.float32) for clip in (row, other)]
    assert pair[0] @ pair[1] > 0.9
