"""The z-buffer against an exact ray caster."""

from __future__ import annotations

import numpy as np
import pytest

from stages.face3d import raster_torch
from stages.face3d.camera import FOCAL_PX, project, synthesize
from stages.face3d.load import load_face_model
from stages.face3d.raster import NoCudaRasterizer, rasterize


def cast_rays(vertices_mm: np.ndarray, triangles: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Nearest z in mm along the rays through pixel centres, by Moeller-Trumbore in float64; inf if nothing is hit."""
    rays = np.stack([(columns + 0.5 - 128) / FOCAL_PX, (rows + 0.5 - 128) / FOCAL_PX, np.ones(len(rows))], axis=1)
    a, b, c = (vertices_mm[triangles[:, i]].astype(np.float64) for i in range(3))
    u, v = b - a, c - a
    nearest = np.full(len(rays), np.inf)
    for i, ray in enumerate(rays):
        p = np.cross(ray, v)
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1 / (u * p).sum(1)
            beta = (-a * p).sum(1) * inverse
            q = np.cross(-a, u)
            gamma = (q @ ray) * inverse
            distance = (v * q).sum(1) * inverse
        hit = (beta >= 0) & (gamma >= 0) & (beta + gamma <= 1) & (distance > 0)
        if hit.any():
            nearest[i] = distance[hit].min()
    return nearest


@pytest.fixture(scope="module")
def turned_face() -> tuple[np.ndarray, np.ndarray]:
    """A face turned by 26 degrees with an open mouth, in camera mm, and its triangles."""
    model = load_face_model()
    exp_coeff = np.zeros((1, len(model.expression)))
    exp_coeff[0, model.expression_names.index("jawOpen")] = 0.6
    pose = np.array([[0.1, 0.45, -0.1, 3.0, -5.0, 800.0]])
    return synthesize(model, np.full(len(model.identity), 0.3), exp_coeff, pose), model.triangles


def test_depth_and_coverage_are_those_of_an_exact_ray_caster(turned_face):
    vertices, triangles = turned_face
    depth, triangle_id = rasterize(project(vertices), triangles)
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 256, (2, 400))
    exact = cast_rays(vertices[0], triangles, columns, rows)
    found = depth[0, rows, columns]
    hit = np.isfinite(exact)
    assert 0.4 < hit.mean() < 0.95
    assert (hit == (found > 0)).all()
    assert (hit == (triangle_id[0, rows, columns] > 0)).all()
    np.testing.assert_allclose(found[hit], exact[hit], atol=0.01)


def test_triangle_ids_name_a_triangle_over_the_pixel(turned_face):
    vertices, triangles = turned_face
    projected = project(vertices)
    _, triangle_id = rasterize(projected, triangles)
    rows, columns = np.nonzero(triangle_id[0])
    corners = projected[0][triangles[triangle_id[0, rows, columns] - 1]][..., :2]
    assert (corners[..., 0].min(1) <= columns + 0.5).all()
    assert (corners[..., 0].max(1) >= columns + 0.5).all()
    assert (corners[..., 1].min(1) <= rows + 0.5).all()
    assert (corners[..., 1].max(1) >= rows + 0.5).all()


def test_depth_is_perspective_correct_on_a_slanted_plane():
    # x + z = 600 seen under 45 degrees: the ray of column c meets it at z = 600 / (1 + (c + .5 - 128) / f).
    plane = np.array([[[-500.0, -500, 1100], [500, -500, 100], [500, 500, 100], [-500, 500, 1100]]], np.float32)
    depth, _ = rasterize(project(plane), np.array([[0, 1, 2], [0, 2, 3]]))
    expected = 600 / (1 + (np.arange(256) + 0.5 - 128) / FOCAL_PX)
    np.testing.assert_allclose(depth[0], np.broadcast_to(expected, (256, 256)), rtol=1e-5)


def test_a_shared_edge_leaves_no_gap_and_pixel_centres_decide():
    square = np.array([[[2.0, 2, 500], [6, 2, 500], [6, 6, 500], [2, 6, 500]]], np.float32)
    depth, _ = rasterize(square, np.array([[0, 1, 2], [0, 2, 3]]), 8)
    expected = np.zeros((8, 8), np.float32)
    expected[2:6, 2:6] = 500
    np.testing.assert_allclose(depth[0], expected, rtol=1e-6)


def test_the_nearer_of_two_triangles_is_seen_whatever_their_order():
    corners = np.array([[0.0, 0], [8, 0], [0, 8]])
    near, far = (np.column_stack([corners, np.full(3, z)]) for z in (400.0, 500.0))
    vertices = np.concatenate([far, near])[None]
    for triangles in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        depth, triangle_id = rasterize(vertices, np.array(triangles), 8)
        assert depth[0, 1, 1] == pytest.approx(400)
        assert triangles[triangle_id[0, 1, 1] - 1] == [3, 4, 5]


def test_front_only_sees_a_triangle_from_one_side():
    corners = np.array([[[0.0, 0, 400], [8, 0, 400], [0, 8, 400]]], np.float32)
    clockwise, counter = np.array([[0, 1, 2]]), np.array([[0, 2, 1]])
    assert rasterize(corners, counter, 8, front_only=True)[1].any()
    assert not rasterize(corners, clockwise, 8, front_only=True)[1].any()
    assert rasterize(corners, clockwise, 8)[1].any()


def test_front_only_changes_nothing_on_a_closed_face(turned_face):
    vertices, _ = turned_face
    projected, triangles = project(vertices), load_face_model().face_triangles
    both, front = rasterize(projected, triangles)[0], rasterize(projected, triangles, front_only=True)[0]
    assert (both != front).mean() < 0.001


def test_triangles_behind_the_camera_or_far_outside_are_left_out():
    vertices = np.array([[[0.0, 0, -5], [8, 0, 400], [0, 8, 400], [1e9, 0, 400], [2e9, 9, 400], [1e9, 9, 400]]])
    depth, triangle_id = rasterize(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 8)
    assert not depth.any()
    assert not triangle_id.any()


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(T, V, 3\), got \(4, 3\)"):
        rasterize(np.zeros((4, 3)), np.zeros((1, 3), int))
    with pytest.raises(ValueError, match=r"\(F, 3\), got \(1, 4\)"):
        rasterize(np.zeros((1, 4, 3)), np.zeros((1, 4), int))


def test_cuda_equals_cpu_or_says_what_is_missing(turned_face):
    vertices, triangles = turned_face
    projected = project(vertices)
    try:
        depth, _ = rasterize(projected, triangles, device="cuda")
    except NoCudaRasterizer as error:
        assert "device=cpu" in str(error)
        return
    # nvdiffrast snaps vertices to a sixteenth of a pixel before it decides on coverage.
    cpu = rasterize(projected, triangles)[0]
    assert ((depth > 0) != (cpu > 0)).mean() < 0.001
    both = (depth > 0) & (cpu > 0)
    assert (np.abs(depth - cpu)[both] > 1).mean() < 0.001


@pytest.mark.slow
@pytest.mark.parametrize("front_only", [False, True])
def test_torch_draws_what_the_z_buffer_draws(turned_face, front_only, monkeypatch):
    monkeypatch.setattr(raster_torch, "MAX_CANDIDATES", 400_000)  # two frames at a time
    vertices, triangles = turned_face
    moved = np.concatenate([vertices + np.array([5.0 * i, -3.0 * i, 20.0 * i], np.float32) for i in range(5)])
    projected = np.ascontiguousarray(project(moved), np.float32)
    depth, triangle_id = rasterize(projected, triangles, front_only=front_only)
    found, found_id = raster_torch.rasterize_torch(projected, triangles, 256, front_only, "cpu")
    assert found.dtype == np.float32
    assert found_id.dtype == np.int32
    assert ((found > 0) != (depth > 0)).sum() <= 1  # pixel centres on an edge to the last bit
    both = (found > 0) & (depth > 0)
    np.testing.assert_allclose(found[both], depth[both], atol=0.01)
    assert (found_id != triangle_id).sum() <= 5
    rows, columns = np.nonzero(found_id[3])
    corners = projected[3][triangles[found_id[3, rows, columns] - 1]][..., :2]
    assert (corners[..., 0].min(1) <= columns + 0.5).all()
    assert (corners[..., 1].max(1) >= rows + 0.5).all()


def test_torch_leaves_out_what_the_z_buffer_leaves_out():
    vertices = np.array([[[0.0, 0, -5], [8, 0, 400], [0, 8, 400], [1e9, 0, 400], [2e9, 9, 400], [1e9, 9, 400]]])
    triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    depth, triangle_id = raster_torch.rasterize_torch(vertices.astype(np.float32), triangles, 8, False, "cpu")
    assert not depth.any()
    assert not triangle_id.any()


def test_of_two_triangles_in_one_place_the_first_is_named():
    vertices = np.array([[[0.0, 0, 400], [8, 0, 400], [0, 8, 400]]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 1, 2]], np.int32)
    assert raster_torch.rasterize_torch(vertices, triangles, 8, False, "cpu")[1].max() == 1
    assert rasterize(vertices, triangles, 8)[1].max() == 1
