"""Depth maps: metric on disk, and the 8-bit views."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stages.depth import (
    DepthConfig,
    DepthDecodeError,
    DepthRenderer,
    decode_depth,
    encode_depth,
    joygen_view,
    mouth_mask,
)
from stages.face_model import load_face_model
from stages.geometry import crop_focal_px, project, synthesize
from tests.stages.synthetic_clips import known_clip


@pytest.fixture(scope="module")
def row():
    clip = known_clip(load_face_model(), num_frames=3, seed=1)
    return {
        "id_coeff": clip.id_coeff,
        "exp_coeff": clip.exp_coeff,
        "pose": clip.pose,
        "crop_box_xyxy_px": clip.boxes,
        "landmarks": clip.landmarks.reshape(3, -1),
        "geometry_model": "cc0",
    }


def test_a_map_comes_back_to_a_twentieth_of_a_millimetre():
    depth = np.random.default_rng(0).uniform(600, 900, (256, 256)).astype(np.float32)
    depth[:100] = 0
    again = decode_depth(encode_depth(depth))
    assert again.dtype == np.float32
    assert np.abs(again - depth).max() <= 0.051
    assert (again[:100] == 0).all()


def test_coarser_precision_rounds_to_its_multiples():
    depth = np.array([[0, 700.2, 700.3, 812.74]], np.float32)
    np.testing.assert_allclose(decode_depth(encode_depth(depth, 0.5)), [[0, 700, 700.5, 812.5]], atol=1e-3)


def test_depths_beyond_sixteen_bits_are_refused():
    with pytest.raises(ValueError, match=r"6553\.5 mm"):
        encode_depth(np.full((4, 4), 7000.0))
    with pytest.raises(ValueError, match="6553"):
        encode_depth(np.full((4, 4), -1.0))


@pytest.mark.parametrize("bad", [b"", b"no picture", cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()])
def test_bytes_that_are_no_depth_map_are_refused(bad):
    with pytest.raises(DepthDecodeError, match="not a 16-bit depth PNG"):
        decode_depth(bad)


def test_joygen_view_is_the_references_formula():
    depth = np.array([[0.0, 9.0, 9.5], [10.0, 9.2, 0.0]])
    # 255 - (d - 9) / (1 + 1e-8) * 255, cut to whole numbers.
    np.testing.assert_array_equal(joygen_view(depth), [[0, 255, 127], [0, 204, 0]])
    assert joygen_view(np.zeros((2, 2))).max() == 0


def test_mouth_mask_holds_the_lips_and_nothing_else(row):
    points = row["landmarks"][0].reshape(478, 3)
    mask = mouth_mask(points)
    assert mask.shape == (256, 256)
    for index, inside in ((13, True), (14, True), (1, False), (152, False), (33, False)):
        column, line = points[index, :2].round().astype(int)
        assert mask[line, column] == inside
    assert 0.005 < mask.mean() < 0.12


def test_the_stage_draws_each_frame_where_its_landmarks_are(row):
    model = load_face_model()
    out = DepthRenderer(DepthConfig(precision_mm=0.1, chunk_frames=2))(row)
    assert set(out) - set(row) == {"depth"}
    assert len(out["depth"]) == 3
    vertices = synthesize(model, row["id_coeff"], row["exp_coeff"], row["pose"])
    points = project(model.at_landmarks(vertices), crop_focal_px(row["crop_box_xyxy_px"]))
    for png, seen in zip(out["depth"], points, strict=True):
        depth = decode_depth(png)
        for index in (1, 5, 50, 280, 199, 9):  # nose, cheeks, chin, brow: nothing lies before them
            x, y, z = seen[index]
            assert depth[int(y), int(x)] == pytest.approx(z, abs=2.5)
        assert 0.3 < (depth > 0).mean() < 0.95


def test_a_stored_frame_stays_small(row):
    sizes = [len(png) for png in DepthRenderer(DepthConfig())(row)["depth"]]
    assert max(sizes) < 20_000


def test_a_clip_fitted_with_another_model_is_refused(row):
    with pytest.raises(ValueError, match=r"'bfm'.*'cc0'"):
        DepthRenderer(DepthConfig())(row | {"geometry_model": "bfm"})
