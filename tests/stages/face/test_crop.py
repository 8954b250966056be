from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from stages.face.crop import crop_boxes, crop_face, decode_jpeg, encode_jpeg, paste_face, to_crop, to_source
from stages.face.landmarks import CHIN, RIGID

BRIDGE = 195


def _face(num_frames: int) -> np.ndarray:
    """(T, 478, 3): a face at rest, its outline an ellipse around (400, 300), its nose's bridge at (400, 280)."""
    angle = np.linspace(0, 2 * np.pi, 478, endpoint=False)
    points = np.stack([400 + 100 * np.sin(angle), 300 + 140 * np.cos(angle), np.zeros(478)], axis=1)
    points[CHIN] = 400, 440, 0
    points[list(RIGID)] = 400, 260, 0
    points[BRIDGE] = 400, 280, 0
    return np.repeat(points[None].astype(np.float32), num_frames, axis=0)


def test_the_half_line_is_mid_face_and_the_chin_the_lower_edge() -> None:
    x0, y0, x1, y1 = crop_boxes(_face(1))[0]
    assert y1 == pytest.approx(440)
    assert (y0 + y1) / 2 == pytest.approx(280)
    assert (x0, x1) == pytest.approx((300, 500), abs=0.1)


def test_an_opening_jaw_moves_in_the_crop_and_not_the_crop_with_the_jaw() -> None:
    points = _face(75)
    drop = 12 * np.sin(np.arange(75) * 2 * np.pi / 8) ** 2
    points[:, CHIN, 1] += drop
    boxes = crop_boxes(points)
    assert np.ptp(boxes[15:-15], axis=0).max() < 0.5
    chin = to_crop(points, boxes)[:, CHIN, 1]
    assert chin.max() <= 256.5
    assert np.corrcoef(chin, drop)[0, 1] > 0.99


def test_the_box_follows_the_head_without_lag() -> None:
    points = _face(50)
    points[..., 0] += 5 * np.arange(50)[:, None]
    boxes = crop_boxes(points)
    assert np.allclose(np.diff(boxes[10:-10, 0]), 5, atol=0.01)
    assert boxes[25, 0] == pytest.approx(300 + 5 * 25, abs=0.2)


def test_a_shaking_outline_does_not_shake_the_box() -> None:
    points = _face(100)
    points[..., :2] += np.random.default_rng(0).normal(0, 1.5, points[..., :2].shape).astype(np.float32)
    boxes = crop_boxes(points)
    assert np.abs(np.diff(boxes, n=2, axis=0)).mean() < 0.5


def test_a_pixel_lands_where_its_landmark_does() -> None:
    rgb = np.zeros((300, 400, 3), np.uint8)
    rgb[120:124, 200:204] = 255
    box = np.array([151.3, 40.7, 279.3, 210.2], np.float32)
    crop = crop_face(rgb, box).astype(float)[..., 0]
    y, x = np.indices(crop.shape)
    centre = np.array([(crop * (x + 0.5)).sum(), (crop * (y + 0.5)).sum()]) / crop.sum()
    expected = to_crop(np.array([[[202.0, 122.0, 0.0]]]), box[None])[0, 0, :2]
    assert centre == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("side", [100, 256, 700])
def test_paste_undoes_crop(side: int) -> None:
    rgb = np.tile(data.astronaut(), (2, 2, 1))
    box = np.array([60.4, 30.2, 60.4 + side, 30.2 + side], np.float32)
    back = paste_face(rgb, crop_face(rgb, box), box, np.ones((256, 256), np.float32))
    inside = (slice(31, int(box[3])), slice(61, int(box[2])))
    assert np.abs(back[inside].astype(int) - rgb[inside]).mean() < (6 if side > 256 else 2)
    outside = np.ones(rgb.shape[:2], bool)
    outside[30 : int(np.ceil(box[3])), 60 : int(np.ceil(box[2]))] = False
    assert np.array_equal(back[outside], rgb[outside])


def test_paste_follows_its_mask() -> None:
    rgb = np.full((300, 300, 3), 10, np.uint8)
    mask = np.zeros((256, 256), np.float32)
    mask[128:] = 1
    out = paste_face(rgb, np.full((256, 256, 3), 200, np.uint8), np.array([20, 20, 276, 276]), mask)
    assert (out[20 + 130 : 276, 20:276] == 200).all()
    assert (out[: 20 + 126] == 10).all()


def test_a_box_that_leaves_the_frame_repeats_the_edge() -> None:
    rgb = np.zeros((100, 100, 3), np.uint8)
    rgb[:, 0] = 200
    crop = crop_face(rgb, np.array([-50, 0, 50, 100]))
    assert (crop[:, :120] == 200).all()
    assert (crop[:, 140:] == 0).all()
    whole = paste_face(rgb, crop, np.array([-50, 0, 50, 100]), np.ones((256, 256)))
    assert np.abs(whole[:, 5:].astype(int) - rgb[:, 5:]).max() <= 1
    away = paste_face(rgb, crop, np.array([200, 200, 300, 300]), np.ones((256, 256)))
    assert np.array_equal(away, rgb)


def test_crop_pixels_and_back() -> None:
    points = np.random.default_rng(0).uniform(0, 500, (4, 478, 3)).astype(np.float32)
    boxes = np.array([[100, 50, 300, 450]] * 4, np.float32)
    crop = to_crop(points, boxes)
    assert crop[..., 2] == pytest.approx(points[..., 2] * (256 / 200 + 256 / 400) / 2, rel=1e-5)
    assert to_source(crop, boxes) == pytest.approx(points, abs=1e-3)


def test_jpeg_keeps_the_colours_apart() -> None:
    rgb = np.full((64, 64, 3), (200, 40, 90), np.uint8)
    assert np.abs(decode_jpeg(encode_jpeg(rgb, 90)).astype(int) - rgb).max() <= 6
    with pytest.raises(ValueError, match="no JPEG"):
        decode_jpeg(b"not a picture")
