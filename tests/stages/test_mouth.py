from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from stages.core.records import MOUTH, Row
from stages.core.weights import WeightStore
from stages.face.crop import crop_boxes, crop_face, encode_jpeg, to_crop
from stages.face.landmarks import CHIN, LIPS_OUTER, MOUTH_CORNERS, LandmarkDetector
from stages.face.mouth_look import MouthConfig, hidden_frames, look_at_mouth
from stages.mouth import measure_mouth
from tests.stages.footage import photo

CONFIG = MouthConfig()
CHEEK = 50

Hide = Callable[[np.ndarray, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def detector(weights: WeightStore) -> Iterator[LandmarkDetector]:
    with LandmarkDetector(weights) as opened:
        yield opened


@pytest.fixture(scope="module")
def face(detector: LandmarkDetector) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crop, its landmarks (478, 3) in it, and its box."""
    found = detector(photo(), 0.0)
    assert found is not None
    box = crop_boxes(found.points[None])
    return crop_face(photo(), box[0]), to_crop(found.points[None], box)[0], box[0]


def _lips(points: np.ndarray) -> tuple[int, int, int, int]:
    x0, y0 = points[list(LIPS_OUTER), :2].min(axis=0).astype(int)
    x1, y1 = points[list(LIPS_OUTER), :2].max(axis=0).astype(int)
    return x0, y0, x1, y1


def _box(colour: tuple[int, int, int]) -> Hide:
    def hide(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
        x0, y0, x1, y1 = _lips(points)
        out = crop.copy()
        out[y0 - 15 : y1 + 15, x0 - 15 : x1 + 15] = colour
        return out

    return hide


def _hand(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Fingers of the cheek's colour, with dark lines between them, across the mouth."""
    x0, y0, x1, y1 = _lips(points)
    x, y = points[CHEEK, :2].astype(int)
    skin = crop[y - 4 : y + 4, x - 4 : x + 4].reshape(-1, 3).mean(axis=0)
    rows, columns = np.indices(crop.shape[:2])
    depth = 1 - 0.15 * np.exp(-((((rows - y0 + 0.3 * columns) % 18) - 9) ** 2) / 4)
    inside = ((columns - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((rows - (y0 + y1) / 2) / (x1 - x0)) ** 2 < 0.6
    return np.where(inside[..., None], skin * depth[..., None], crop).astype(np.uint8)


def _surgical_mask(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    out = crop.copy()
    outline = points[[195, 123, 147, 136, 152, 365, 376, 352], :2].astype(np.int32)
    cv2.fillConvexPoly(out, cv2.convexHull(outline), (190, 205, 215))
    return out


def _microphone(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = _lips(points)
    out = crop.copy()
    cv2.circle(out, ((x0 + x1) // 2, (y0 + y1) // 2 + 6), (x1 - x0) // 2, (40, 40, 42), -1)
    return out


HIDES = [_box((0, 0, 0)), _box((128, 128, 128)), _box((225, 190, 170)), _hand, _surgical_mask, _microphone]
NAMES = ["black box", "grey box", "skin box", "hand", "surgical mask", "microphone"]


def _row(face: tuple[np.ndarray, np.ndarray, np.ndarray], crops: list[np.ndarray], points: np.ndarray) -> Row:
    return {
        "face_jpeg": [encode_jpeg(crop, 90) for crop in crops],
        "landmarks": points.reshape(len(crops), -1).astype(np.float16),
        "crop_box_xyxy_px": np.repeat(face[2][None], len(crops), axis=0),
    }


def test_lips_are_seen_and_so_are_their_teeth(face: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    crop, points, _ = face
    look = look_at_mouth(crop, points, CONFIG)
    assert look.evidence > 2 * CONFIG.min_evidence
    assert look.teeth > CONFIG.min_teeth  # the photo smiles


@pytest.mark.parametrize("gain", [0.4, 0.7, 1.2])
def test_lips_are_seen_in_the_dark_and_in_the_light(
    face: tuple[np.ndarray, np.ndarray, np.ndarray], gain: float
) -> None:
    crop, points, _ = face
    lit = np.clip(crop * gain, 0, 255).astype(np.uint8)
    assert look_at_mouth(lit, points, CONFIG).evidence > CONFIG.min_evidence


def test_light_on_the_mouth_is_lightness_of_its_skin(face: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    crop, points, _ = face
    bright, dark = (look_at_mouth((crop * gain).astype(np.uint8), points, CONFIG).light for gain in (1.0, 0.1))
    assert dark < 10 < 40 < bright


@pytest.mark.parametrize("hide", HIDES, ids=NAMES)
def test_what_hides_the_mouth_is_noticed(face: tuple[np.ndarray, np.ndarray, np.ndarray], hide: Hide) -> None:
    crop, points, _ = face
    look = look_at_mouth(hide(crop, points), points, CONFIG)
    assert look.evidence < CONFIG.min_evidence


def _lettered(
    crop: np.ndarray, height_px: float, colour: tuple[int, int, int], edge: tuple[int, int, int] | None
) -> np.ndarray:
    """A line of letters, as subtitles have them, whose middle is at a height of the crop."""
    out, at = crop.copy(), (60, round(height_px) + 8)
    if edge is not None:
        cv2.putText(out, "YI QI SAN", at, cv2.FONT_HERSHEY_SIMPLEX, 0.8, edge, 6, cv2.LINE_AA)
    return cv2.putText(out, "YI QI SAN", at, cv2.FONT_HERSHEY_SIMPLEX, 0.8, colour, 2, cv2.LINE_AA)


@pytest.mark.parametrize(("colour", "edge"), [((250, 250, 250), (10, 10, 10)), ((255, 255, 255), None)])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_letters_between_lips_and_chin_hide_a_mouth(
    face: tuple[np.ndarray, np.ndarray, np.ndarray],
    share: float,
    colour: tuple[int, int, int],
    edge: tuple[int, int, int] | None,
) -> None:
    crop, points, _ = face
    lip, chin = points[[17, CHIN], 1]
    look = look_at_mouth(_lettered(crop, lip + share * (chin - lip), colour, edge), points, CONFIG)
    assert look.is_hidden(CONFIG)


def test_teeth_and_letters_under_the_chin_hide_nothing(face: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    crop, points, _ = face
    assert look_at_mouth(crop, points, CONFIG).strokes < 0.5 * CONFIG.max_strokes
    raised = points - [0, 40, 0]  # room for a line below
    below = _lettered(np.roll(crop, -40, axis=0), raised[CHIN, 1] + 14, (255, 255, 255), (0, 0, 0))
    assert not look_at_mouth(below, raised, CONFIG).is_hidden(CONFIG)


def test_a_mouth_hidden_for_half_the_clip(face: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    crop, points, _ = face
    crops = [crop] * 10 + [_hand(crop, points)] * 10
    measured = measure_mouth(_row(face, crops, np.repeat(points[None], 20, axis=0)), CONFIG)
    assert measured["mouth_visible_ratio"] == 0.5
    hidden = hidden_frames(measured, CONFIG)  # looked at: frames 2, 7, 12 and 17
    assert hidden[12:].all()
    assert not hidden[:8].any()
    assert not hidden_frames({**measured, "mouth_visible_ratio": 1.0}, CONFIG).any()


def test_a_photo_does_not_move_and_keeps_its_size(face: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    crop, points, box = face
    row = _row(face, [crop] * 5, np.repeat(points[None], 5, axis=0))
    measured = measure_mouth(row, CONFIG)
    assert measured.keys() - row.keys() == set(MOUTH.names)
    assert measured["mouth_motion"] == pytest.approx(0, abs=1e-6)
    scale = (box[2:] - box[:2]) / 256
    width = np.linalg.norm((points[MOUTH_CORNERS[0], :2] - points[MOUTH_CORNERS[1], :2]) * scale)
    assert measured["mouth_px"] == pytest.approx(width, rel=0.01)
    assert measured["teeth_ratio"] == 1


def test_motion_is_the_spread_of_the_opening_over_the_face(face: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    crop, points, _ = face
    upright = points.copy()
    upright[[13, 14, 10, 152]] = [[128, 180, 0], [128, 180, 0], [128, 40, 0], [128, 240, 0]]
    moving = np.repeat(upright[None], 4, axis=0)
    moving[1::2, 14, 1] += 20  # a tenth of the face's height, in every other frame
    measured = measure_mouth(_row(face, [crop] * 4, moving), CONFIG)
    assert measured["mouth_motion"] == pytest.approx(0.05, rel=0.01)
