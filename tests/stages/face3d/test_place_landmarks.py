"""Landmarks are placed by what the real detector sees on drawn faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.face.landmarks import FACE_OVAL
from stages.face3d.load import load_face_model
from stages.face3d.place_landmarks import LandmarkSearch, LandmarksNotFound, place_landmarks


def test_a_few_faces_place_landmarks_near_those_of_the_committed_model(weights):
    model = load_face_model()
    unplaced = replace(
        model, landmark_triangles=np.zeros(0, np.int32), landmark_barycentric=np.zeros((0, 3), np.float32)
    )
    placed, spread_mm = place_landmarks(unplaced, weights.path("face_landmarker"), LandmarkSearch(num_faces=12))
    distance = np.linalg.norm(placed.at_landmarks(model.mean) - model.at_landmarks(model.mean), axis=1)
    inner = np.setdiff1d(np.arange(468), FACE_OVAL)
    assert np.median(distance[inner]) < 1.5
    assert np.percentile(distance[inner], 95) < 5
    assert np.median(spread_mm[inner]) < 3


def test_faces_too_far_to_be_found_are_said_to_be(weights):
    search = LandmarkSearch(num_faces=3, distance_mm=60_000)
    with pytest.raises(LandmarksNotFound, match="0% of the drawn faces"):
        place_landmarks(load_face_model(), weights.path("face_landmarker"), search)
