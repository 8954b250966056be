from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from stages.core.weights import WeightStore
from stages.face.faces import FaceFinder, shorter_sides
from stages.face.landmarks import CHIN, FOREHEAD, LandmarkDetector, head_angles
from tests.stages.footage import blank, photo, place


@pytest.fixture(scope="module")
def detector(weights: WeightStore) -> Iterator[LandmarkDetector]:
    with LandmarkDetector(weights) as opened:
        yield opened


def _height(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[FOREHEAD, :2] - points[CHIN, :2]))


def test_finder_gives_boxes_in_source_pixels_largest_first(weights: WeightStore) -> None:
    frame = place(blank(540, 960), photo(), (300, 60), 1.0)
    frame = place(frame, photo(), (60, 300), 0.4)
    boxes = FaceFinder(weights)(frame)
    assert len(boxes) == 2
    sides = shorter_sides(boxes)
    assert sides[0] == pytest.approx(sides[1] / 0.4, rel=0.2)
    assert boxes[0, 0] > 300 > boxes[1, 2]
    assert FaceFinder(weights)(blank(200, 300)).shape == (0, 4)


def test_landmarks_of_a_photo(detector: LandmarkDetector) -> None:
    detector.reset()
    face = detector(photo(), 0.0)
    assert face is not None
    assert face.points.shape == (478, 3)
    assert face.points.dtype == np.float32
    assert face.blendshapes.shape == (52,)
    assert face.transform.shape == (4, 4)
    assert 0.3 < _height(face.points) / np.ptp(face.points[:, 1]) < 1.01


def test_a_small_face_in_a_large_frame_is_found_where_it_is(detector: LandmarkDetector) -> None:
    """MediaPipe alone finds none in it: the face is a fifteenth of the frame's width."""
    detector.reset()
    alone = detector(photo(), 0.0)
    assert alone is not None
    scale = 0.9
    detector.reset()
    small = detector(place(blank(1080, 1920), photo(), (1300, 500), scale), 0.0)
    assert small is not None
    expected = alone.points[:, :2] * scale + (1300, 500)
    assert np.abs(small.points[:, :2] - expected).mean() < 0.03 * np.ptp(expected[:, 0])


def test_a_view_of_a_larger_picture_is_taken(detector: LandmarkDetector) -> None:
    padded = np.pad(photo(), ((0, 0), (0, 12), (0, 0)))
    detector.reset()
    assert detector(padded[:, :-12], 0.0) is not None


def test_no_face_is_none_and_the_face_is_found_when_it_comes(detector: LandmarkDetector) -> None:
    detector.reset()
    assert detector(blank(512, 512), 0.0) is None
    assert detector(photo(), 0.04) is not None
    assert detector(blank(512, 512), 0.08) is None


def test_a_new_clip_is_measured_as_by_a_new_detector(detector: LandmarkDetector) -> None:
    detector.reset()
    first = detector(photo(), 0.0)
    for k in range(1, 4):
        detector(np.roll(photo(), 8 * k, axis=1), k / 25)
    again = detector(photo(), 0.0)  # time went back
    assert first is not None
    assert again is not None
    assert np.array_equal(first.points, again.points)


def test_landmarks_are_not_smoothed_over_time(detector: LandmarkDetector) -> None:
    """A step of 2 px is seen at once; MediaPipe's own filter shows half of it."""
    detector.reset()
    for k in range(4):
        before = detector(photo(), k / 25)
    after = detector(np.roll(photo(), 2, axis=1), 4 / 25)
    assert before is not None
    assert after is not None
    assert (after.points - before.points)[:, 0].mean() == pytest.approx(2, abs=0.3)


def test_the_window_follows_a_face_that_wanders(detector: LandmarkDetector) -> None:
    detector.reset()
    middles = []
    for k in range(10):
        face = detector(place(blank(720, 1600), photo(), (40 + 110 * k, 120), 0.5), k / 25)
        assert face is not None
        middles.append(face.points[:, 0].mean())
    assert np.diff(middles) == pytest.approx(np.full(9, 110), abs=6)


@pytest.mark.parametrize(
    ("axis", "column"),
    [((0, 1, 0), 0), ((1, 0, 0), 1), ((0, 0, 1), 2)],
)
def test_angles_of_known_rotations(axis: tuple[int, int, int], column: int) -> None:
    degrees = np.array([0.0, 12.0, -25.0])
    transforms = np.repeat(np.eye(4)[None], 3, axis=0)
    for transform, angle in zip(transforms, degrees, strict=True):
        transform[:3, :3] = 1.7 * cv2.Rodrigues(np.radians(angle) * np.array(axis, float))[0]
    angles = head_angles(transforms)
    assert angles[:, column] == pytest.approx(degrees, abs=1e-4)
    assert np.delete(angles, column, axis=1) == pytest.approx(0, abs=1e-4)


def test_roll_of_a_turned_photo(detector: LandmarkDetector) -> None:
    angles = []
    for degrees in (-15, 0, 15):
        turn = cv2.getRotationMatrix2D((256, 256), degrees, 1.0)  # anticlockwise as seen
        detector.reset()
        face = detector(cv2.warpAffine(photo(), turn, (512, 512), borderMode=cv2.BORDER_REPLICATE), 0.0)
        assert face is not None
        angles.append(head_angles(face.transform[None])[0, 2])
    assert np.diff(angles) == pytest.approx([15, 15], abs=3)
