"""Colours from frames that were drawn with known ones."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.known.synthetic_clips import known_clip
from stages.face3d.camera import crop_focal_px, project, synthesize
from stages.face3d.load import load_face_model
from stages.face3d.raster import rasterize
from stages.face3d.texture import paint, sample_colours, vertex_normals


@pytest.fixture(scope="module")
def drawn():
    """Five frames of a turning head whose colours run with its height and depth."""
    model = load_face_model()
    clip = known_clip(model, num_frames=5, seed=2)
    vertices = synthesize(model, clip.id_coeff, clip.exp_coeff, clip.pose)
    projected = project(vertices, crop_focal_px(clip.boxes))
    _, triangle_id = rasterize(projected, model.face_triangles, front_only=True)
    low, high = model.mean.min(0), model.mean.max(0)
    colours = 40 + 160 * (model.mean - low) / (high - low)
    frames = [paint(p, model.face_triangles, t, colours) for p, t in zip(projected, triangle_id, strict=True)]
    return model, np.rint(frames).astype(np.uint8), vertices, projected, triangle_id, colours


def test_colours_come_back_where_they_were_seen_and_the_rest_is_plausible(drawn):
    model, frames, vertices, projected, triangle_id, colours = drawn
    found = sample_colours(model, frames, vertices, projected, triangle_id).astype(float)
    seen = np.zeros(len(model.mean), bool)
    for ids, mesh in zip(triangle_id, vertices, strict=True):
        corners = model.face_triangles[np.unique(ids[ids > 0]) - 1]
        facing = np.zeros(len(seen), bool)
        facing[corners] = True
        seen |= facing & (vertex_normals(mesh, model.triangles)[:, 2] < -0.6)
    assert 0.15 < seen.mean() < 0.8
    error = np.abs(found - colours)[seen]
    assert np.median(error) < 1.5
    assert np.percentile(error, 95) < 12  # at the mesh's rim a colour is mixed with what lies behind
    assert (found[~seen].std(0) > 0).all()


def test_one_bad_frame_of_five_changes_nothing_much(drawn):
    model, frames, vertices, projected, triangle_id, _ = drawn
    before = sample_colours(model, frames, vertices, projected, triangle_id).astype(int)
    covered = frames.copy()
    covered[2] = 255  # a hand over the whole face
    after = sample_colours(model, covered, vertices, projected, triangle_id).astype(int)
    assert np.median(np.abs(after - before)) <= 2


def test_a_face_that_no_frame_shows_keeps_the_models_colours(drawn):
    model, frames, vertices, projected, triangle_id, _ = drawn
    found = sample_colours(model, frames, vertices, projected, np.zeros_like(triangle_id))
    np.testing.assert_array_equal(found, model.albedo)


def test_painting_is_linear_along_a_slanted_plane():
    plane = np.array([[-500.0, -500, 1100], [500, -500, 100], [500, 500, 100], [-500, 500, 1100]], np.float32)
    triangles, projected = np.array([[0, 1, 2], [0, 2, 3]]), project(plane[None])
    depth, triangle_id = rasterize(projected, triangles)
    painted = paint(projected[0], triangles, triangle_id[0], plane)  # paints each pixel with its place in space
    np.testing.assert_allclose(painted[..., 2], depth[0], rtol=1e-4)
    np.testing.assert_allclose(painted[..., 0] + painted[..., 2], 600, rtol=1e-4)


def test_normals_of_a_face_point_outwards():
    model = load_face_model()
    normals = vertex_normals(model.mean, model.triangles)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    nose = model.mean[:, 2].argmax()
    assert normals[nose, 2] > 0.7
