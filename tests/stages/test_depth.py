"""Depth maps: metric on disk, and the 8-bit views."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.known.synthetic_clips import known_clip
from stages.depth import (
    DepthConfig,
    DepthDecodeError,
    DepthRenderer,
    decode_depth,
    depth_range,
    encode_depth,
    joygen_view,
    mouth_mask,
    normal_view,
    range_view,
)
from stages.face.landmarks import LIP_RINGS, LIPS
from stages.face3d.camera import crop_focal_px, project, synthesize
from stages.face3d.load import load_face_model
from stages.face3d.model import Part
from stages.face3d.raster import rasterize


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


def test_teeth_and_tongue_show_in_an_open_mouth_and_never_through_the_skin():
    model = load_face_model()
    part = model.triangle_part[model.triangle_part != Part.HEAD]
    is_inside = np.isin(part, (Part.TEETH, Part.MOUTH_BAG))
    people = np.random.default_rng(0).normal(0, 1, (6, 80))
    pose = np.array([[0.0, 0, 0, 0, 0, 900], [0.15, 0.4, 0, 0, 0, 900]])
    for opening in (0.0, 0.35):
        expression = np.zeros((len(pose), 52))
        expression[:, model.expression_names.index("jawOpen")] = opening
        for identity in people:
            points = project(synthesize(model, identity, expression, pose))
            depth, triangle = rasterize(points, model.face_triangles, front_only=True)
            skin = rasterize(points, model.face_triangles[~is_inside], front_only=True)[0]
            inside = (triangle > 0) & is_inside[triangle - 1]
            assert (skin[inside] == 0).all()  # nothing of it comes through the skin
            for t, frame in enumerate(points if opening else ()):
                lips_mm = np.median(model.at_landmarks(frame)[list(LIPS), 2])
                assert inside[t].sum() > 100
                assert 5 < np.median(depth[t][inside[t]]) - lips_mm < 45  # the throat is 100 behind


def test_mouth_mask_holds_the_lips_and_nothing_else(row):
    points = row["landmarks"][0].reshape(478, 3)
    mask = mouth_mask(points)
    assert mask.shape == (256, 256)
    for index, inside in ((13, True), (14, True), (1, False), (152, False), (33, False)):
        column, line = points[index, :2].round().astype(int)
        assert mask[line, column] == inside
    assert 0.005 < mask.mean() < 0.12


def test_mouth_mask_holds_all_eighty_lip_points_where_rings_cross(row):
    points = row["landmarks"][0].reshape(478, 3).copy()
    lips = [index for ring in LIP_RINGS for index in ring]
    assert len(set(lips)) == 80 and set(lips) == set(LIPS)
    before = mouth_mask(points)
    points[list(LIP_RINGS[2][12:19]), 1] += 14  # a lower lip rolled out over its edge
    mask = mouth_mask(points)
    assert mask.sum() > before.sum()
    for column, line in points[lips, :2].round().astype(int):
        assert mask[line, column]


def test_a_clips_view_has_one_scale_that_single_pixels_do_not_set():
    depth = np.random.default_rng(1).uniform(700, 800, (3, 64, 64)).astype(np.float32)
    depth[:, :8] = 0
    before = depth_range(depth)
    assert before == pytest.approx((700.5, 799.5), abs=0.5)
    depth[1, 20, 20], depth[1, 30, 30] = 100, 3000
    assert depth_range(depth) == pytest.approx(before, abs=0.1)
    np.testing.assert_array_equal(
        range_view(np.array([[0, 690.0, 700, 750, 800, 900]]), 700, 800), [[0, 255, 255, 128, 1, 1]]
    )
    assert depth_range(np.zeros((1, 4, 4))) == (0, 0)


def test_normals_are_those_of_a_plane_and_of_a_sphere():
    focal = np.array([1100.0, 1220.0])
    rows, columns = np.indices((256, 256)) + 0.5
    ray = np.stack([(columns - 128) / focal[0], (128 - rows) / focal[1], -np.ones((256, 256))], -1)
    plane = np.array([0.3, -0.2, np.sqrt(1 - 0.13)])  # n . p = -700 at a distance of some 700 mm
    depth = (-700 * plane[2] / (ray @ plane)).astype(np.float32)
    view = normal_view(depth, focal).astype(int)
    np.testing.assert_allclose(view[20:-20, 20:-20], np.broadcast_to(128 + 127 * plane, (216, 216, 3)), atol=1)
    # A sphere of 60 mm at 800 mm, stored in steps of half a millimetre.
    along, square = -ray[..., 2] * 800, (ray**2).sum(-1)
    inside = along**2 - square * (800**2 - 60**2)
    hit = inside > 0
    distance = np.where(hit, (along - np.sqrt(np.maximum(inside, 0))) / square, 0)
    ball = decode_depth(encode_depth(distance.astype(np.float32), 0.5))
    expected = (ray * distance[..., None] - [0, 0, -800]) / 60
    found = (normal_view(ball, focal).astype(float) - 128) / 127
    centre = hit & (expected[..., 2] > 0.6)
    assert centre.mean() > 0.1
    assert np.degrees(np.arccos(np.clip((found * expected).sum(-1)[centre], -1, 1))).mean() < 4
    assert not normal_view(ball, focal)[~hit].any()


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
