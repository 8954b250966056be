"""The fit recovers faces that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from benchmarks.known.synthetic_clips import known_clip, see
from stages.core.reasons import Dropped, DropReason
from stages.core.records import CROP_PX
from stages.face.crop import to_crop, to_source
from stages.face.landmarks import FACE_OVAL, LIPS
from stages.face.mouth_look import MouthConfig
from stages.face3d.camera import FOCAL_PX, crop_focal_px, project, rotation_matrices, synthesize
from stages.face3d.load import load_face_model
from stages.face3d.model import Part
from stages.fit.config import GeometryConfig
from stages.fit.fit import fit_landmarks
from stages.fit.motion import pose_accel_sigma
from stages.fit.points import FitPoints
from stages.fit.solver import ClipProblem, FramesCurvature, evaluate
from stages.geometry import FaceFitter


@pytest.fixture(scope="module")
def model():
    return load_face_model()


@pytest.fixture(scope="module")
def clip(model):
    return known_clip(model, num_frames=120, seed=3)


def noisy(landmarks: np.ndarray, noise_px: float, seed: int = 0) -> np.ndarray:
    points = landmarks.copy()
    points[..., :2] += np.random.default_rng(seed).normal(0, noise_px, points[..., :2].shape)
    return points


def relative_depth_error_mm(model, clip, fit) -> float:
    """Mean error of z over the face, each frame's common offset taken out: depth seen by one eye has none."""
    face = np.unique(model.triangles[np.isin(model.triangle_part, (Part.SKIN, Part.LIPS))])  # no mark shows a tongue
    truth = synthesize(model, clip.id_coeff, clip.exp_coeff, clip.pose)[:, face, 2]
    found = synthesize(model, fit.id_coeff, fit.exp_coeff, fit.pose)[:, face, 2]
    error = found - truth
    return float(np.abs(error - np.median(error, axis=1, keepdims=True)).mean())


def problem_of(model, clip, config: GeometryConfig) -> ClipProblem:
    points = FitPoints.of(model, config)
    target = clip.landmarks[:, :468, :2].transpose(0, 2, 1) @ points.share.T
    weight = np.random.default_rng(1).uniform(0.1, 1, (len(target), len(points.weight)))
    carried = np.zeros_like(clip.pose)
    return ClipProblem.of(points, target, crop_focal_px(clip.boxes), weight, clip.pose, carried, config)


def test_a_known_clip_is_recovered_through_one_pixel_of_noise(model, clip):
    fit = fit_landmarks(model, noisy(clip.landmarks, 1.0), clip.boxes, GeometryConfig())
    seen = see(model, fit.id_coeff, fit.exp_coeff, fit.pose, clip.boxes)
    turn = Rotation.from_rotvec(fit.pose[:, :3]) * Rotation.from_rotvec(clip.pose[:, :3]).inv()
    assert np.linalg.norm((seen - clip.landmarks)[..., :2], axis=-1).mean() < 0.5
    assert relative_depth_error_mm(model, clip, fit) < 1.0
    assert np.degrees(turn.magnitude()).mean() < 0.8
    assert np.sqrt(((fit.exp_coeff - clip.exp_coeff) ** 2).mean()) < 0.12
    assert np.sqrt(((fit.id_coeff - clip.id_coeff) ** 2).mean()) < 0.8
    # The error it reports is the noise: the median length of a two-dimensional unit normal is 1.18.
    assert np.median(fit.error_px) == pytest.approx(1.18, abs=0.1)


def test_depth_is_several_times_better_than_the_mean_face_in_the_right_pose(model, clip):
    fit = fit_landmarks(model, noisy(clip.landmarks, 1.0), clip.boxes, GeometryConfig())
    mean_face = np.zeros_like(clip.exp_coeff)
    rigid = replace(fit, id_coeff=np.zeros_like(clip.id_coeff), exp_coeff=mean_face, pose=clip.pose)
    assert relative_depth_error_mm(model, clip, fit) < relative_depth_error_mm(model, clip, rigid) / 3


def test_the_stretch_of_the_crop_does_not_reach_the_face(model):
    square, tall = (known_clip(model, 40, seed=5, aspect=aspect) for aspect in (1.0, 1.3))
    fits = [fit_landmarks(model, c.landmarks, c.boxes, GeometryConfig()) for c in (square, tall)]
    assert np.abs(fits[0].exp_coeff - fits[1].exp_coeff).mean() < 0.02
    assert np.degrees(np.abs(fits[0].pose[:, :3] - fits[1].pose[:, :3])).mean() < 0.5
    assert np.abs(fits[0].pose[:, 5] - fits[1].pose[:, 5]).mean() < 8


def test_outliers_hardly_matter(model, clip):
    points = noisy(clip.landmarks, 1.0)
    rng = np.random.default_rng(1)
    wrong = rng.random(points.shape[:2]) < 0.05
    points[wrong, :2] += rng.uniform(-60, 60, (wrong.sum(), 2))
    fit = fit_landmarks(model, points, clip.boxes, GeometryConfig())
    assert relative_depth_error_mm(model, clip, fit) < 1.5
    assert np.median(fit.error_px) < 1.5


@pytest.mark.slow
def test_lips_that_are_not_trusted_are_taken_from_the_frames_around(model, clip):
    points, lips = noisy(clip.landmarks, 0.5), list(LIPS)
    hidden = slice(50, 60)
    points[hidden, lips, :2] += [10.0, 14.0]
    trust = np.ones((len(points), 468))
    trust[hidden, lips] = 0.02
    truth = synthesize(model, clip.id_coeff, clip.exp_coeff, clip.pose)

    def lip_error_mm(trust: np.ndarray | None) -> float:
        fit = fit_landmarks(model, points, clip.boxes, GeometryConfig(), trust)
        offset = model.at_landmarks(synthesize(model, fit.id_coeff, fit.exp_coeff, fit.pose) - truth)[hidden, lips, :2]
        return float(np.linalg.norm(offset, axis=-1).mean())

    assert lip_error_mm(trust) < lip_error_mm(None) / 2


@pytest.mark.slow
def test_the_expected_error_is_that_of_the_lips(model):
    expected, found = [], []
    for seed in range(6):
        clip = known_clip(model, 20, seed=20 + seed)
        config = GeometryConfig(landmark_sigma_px=3.0, identity_frames=20.0, num_identity_frames=20)
        may_be = model.expression_prior
        drawn = np.random.default_rng(seed).normal(0, may_be.sigma, clip.exp_coeff.shape)
        clip.exp_coeff[:] = drawn.clip(may_be.low, may_be.high)
        points = see(model, clip.id_coeff, clip.exp_coeff, clip.pose, clip.boxes)
        fit = fit_landmarks(model, noisy(points, 3.0, seed), clip.boxes, config)
        vertices = (synthesize(model, c.id_coeff, c.exp_coeff, c.pose) for c in (fit, clip))
        depth, truth = (model.at_landmarks(v)[..., 2] for v in vertices)
        others = np.setdiff1d(np.arange(468), LIPS)
        error = depth - truth
        found.append(np.mean((error[:, list(LIPS)] - error[:, others].mean(1, keepdims=True)) ** 2))
        expected.append(fit.lip_sigma_mm**2)
    assert 0.6 < np.sqrt(np.mean(found) / np.mean(expected)) < 1.6


def test_a_still_head_stays_still(model):
    clip = known_clip(model, 50, seed=7)
    still = see(model, clip.id_coeff, np.repeat(clip.exp_coeff[:1], 50, 0), np.repeat(clip.pose[:1], 50, 0), clip.boxes)
    fit = fit_landmarks(model, noisy(still, 0.5), clip.boxes, GeometryConfig())
    vertices = synthesize(model, fit.id_coeff, fit.exp_coeff, fit.pose)[:, np.unique(model.face_triangles)]
    across = (vertices - vertices.mean(0))[..., :2]
    assert np.sqrt((across**2).mean()) < 0.1


def test_a_still_head_stays_still_in_the_source_though_its_crop_moves(model):
    clip = known_clip(model, 60, seed=7)
    rng = np.random.default_rng(2)
    sway_px = gaussian_filter1d(rng.normal(0, 4, (60, 4)), 1.0, axis=0)  # 2 px rms
    still = see(model, clip.id_coeff, np.repeat(clip.exp_coeff[:1], 60, 0), np.repeat(clip.pose[:1], 60, 0), clip.boxes)
    boxes = clip.boxes + sway_px
    points = noisy(to_crop(to_source(still, clip.boxes), boxes), 0.5)
    fit = fit_landmarks(model, points, boxes, GeometryConfig())
    vertices = synthesize(model, fit.id_coeff, fit.exp_coeff, fit.pose)[:, np.unique(model.face_triangles)]
    source_px = to_source(project(vertices, crop_focal_px(boxes)), boxes)[..., :2]
    mm_per_px = clip.pose[0, 5] * CROP_PX / FOCAL_PX / np.sqrt(np.prod(clip.boxes[0, 2:] - clip.boxes[0, :2]))
    assert np.sqrt(((source_px - source_px.mean(0)) ** 2).mean()) * mm_per_px < 0.1


def test_a_head_may_move_as_much_as_it_does():
    config = GeometryConfig()
    most = np.array([config.rotation_accel_sigma_rad] * 3 + [config.translation_accel_sigma_mm] * 2)
    noise = np.random.default_rng(0).normal(0, 1, (100, 6)) * [1e-3, 1e-3, 1e-3, 0.05, 0.05, 0.2]
    shaken = noise + np.sin(np.arange(100))[:, None] * [0.2, 0.2, 0.2, 20, 20, 20]
    assert (pose_accel_sigma(noise, config)[:5] < most / 20).all()
    assert (pose_accel_sigma(shaken, config)[:5] == most).all()
    assert (pose_accel_sigma(noise[:2], config)[:5] == most).all()


def test_a_quick_mouth_is_not_smoothed_away(model):
    clip = known_clip(model, 75, seed=9)
    jaw = model.expression_names.index("jawOpen")
    clip.exp_coeff[:] = 0
    clip.exp_coeff[:, jaw] = 0.3 - 0.3 * np.cos(2 * np.pi * 5 * np.arange(75) / 25)  # 5 syllables a second
    points = see(model, clip.id_coeff, clip.exp_coeff, clip.pose, clip.boxes)
    fit = fit_landmarks(model, noisy(points, 0.5), clip.boxes, GeometryConfig())
    found = fit.exp_coeff[:, jaw]
    assert np.corrcoef(found, clip.exp_coeff[:, jaw])[0, 1] > 0.98
    assert found.std() > 0.8 * clip.exp_coeff[:, jaw].std()


def test_held_expressions_leave_the_identity_to_be_found(model):
    clip = known_clip(model, 30, seed=17)
    calm = see(model, clip.id_coeff, np.zeros_like(clip.exp_coeff), clip.pose, clip.boxes)
    held = replace(model, expression_prior=replace(model.expression_prior, low=0.0, high=0.0))
    fit = fit_landmarks(held, calm, clip.boxes, GeometryConfig())
    assert np.median(fit.error_px) < 0.3
    assert np.sqrt(((fit.id_coeff - clip.id_coeff) ** 2).mean()) < 0.8


def test_expressions_keep_to_their_range(model, clip):
    narrow = replace(model, expression_prior=replace(model.expression_prior, low=-0.05, high=0.4))
    fit = fit_landmarks(narrow, clip.landmarks, clip.boxes, GeometryConfig())
    assert fit.exp_coeff.min() >= np.float32(-0.05)
    assert fit.exp_coeff.max() <= np.float32(0.4)
    assert (fit.exp_coeff == np.float32(0.4)).any()


@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_short_clips_fit_too(model, num_frames):
    clip = known_clip(model, num_frames, seed=11)
    fit = fit_landmarks(model, clip.landmarks, clip.boxes, GeometryConfig())
    assert fit.pose.shape == (num_frames, 6)
    assert np.median(fit.error_px) < 1.0


def test_the_gradient_is_that_of_the_objective(model):
    clip = known_clip(model, 4, seed=13)
    problem = problem_of(model, clip, GeometryConfig(robust_px=3.0))
    rng = np.random.default_rng(0)
    identity = rng.normal(0, 0.3, 80)
    frames = np.concatenate([rng.uniform(0, 0.3, (4, 52)), clip.pose + rng.normal(0, 0.01, (4, 6))], axis=1)
    here = evaluate(problem, identity, frames)
    direction = rng.normal(size=frames.shape) * np.concatenate([np.full(52, 0.1), [0.01] * 3, [1.0] * 3])
    step = 1e-2
    ahead, behind = (evaluate(problem, identity, frames + s * step * direction).objective for s in (1, -1))
    assert (here.frames_gradient * direction).sum() == pytest.approx((ahead - behind) / (2 * step), rel=2e-2)
    along = rng.normal(size=80)
    ahead, behind = (evaluate(problem, identity + s * step * along, frames).objective for s in (1, -1))
    assert here.identity_gradient @ along == pytest.approx((ahead - behind) / (2 * step), rel=2e-2)


def test_the_curvature_is_symmetric_and_positive(model):
    clip = known_clip(model, 6, seed=15)
    problem = problem_of(model, clip, GeometryConfig())
    frames = np.concatenate([clip.exp_coeff, clip.pose], axis=1)
    curvature = FramesCurvature(problem, evaluate(problem, clip.id_coeff, frames))
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, *frames.shape))
    assert (curvature.times(one) * other).sum() == pytest.approx((curvature.times(other) * one).sum(), rel=1e-3)
    assert (curvature.times(one) * one).sum() > 0


def test_landmark_groups_are_mediapipes():
    assert len(set(FACE_OVAL)) == 36
    assert len(set(LIPS)) == 80
    assert not set(FACE_OVAL) & set(LIPS)


def test_rotation_matrices_are_rotations():
    vectors = np.array([[0.0, 0, 0], [0.3, -0.2, 0.1], [0, np.pi / 2, 0]])
    np.testing.assert_allclose(rotation_matrices(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)


def test_a_frontal_face_looks_at_the_camera(model):
    vertices = synthesize(model, np.zeros(80), np.zeros((1, 52)), np.array([[0.0, 0, 0, 0, 0, 800]]))
    points = project(model.at_landmarks(vertices))[0]
    assert points[10, 1] < points[152, 1]  # forehead above chin, y down
    assert points[33, 0] < points[263, 0]
    assert points[1, 2] < points[234, 2]  # the nose is nearer than the ear


def test_focal_lengths_follow_the_stretch_and_keep_their_product():
    focal = crop_focal_px(np.array([[0.0, 0, 200, 200], [10, 20, 110, 220]]))
    np.testing.assert_allclose(focal[0], [FOCAL_PX, FOCAL_PX])
    assert focal[1, 0] / focal[1, 1] == pytest.approx(2)
    assert focal[1].prod() == pytest.approx(FOCAL_PX**2)


def test_the_stage_adds_its_columns_and_keeps_the_row(model, clip):
    row = {
        "source_id": "known",
        "landmarks": clip.landmarks.reshape(len(clip.landmarks), -1).astype(np.float16),
        "crop_box_xyxy_px": clip.boxes.astype(np.float32),
        "face_found": np.ones(len(clip.landmarks), bool),
        "face_jpeg": [b""] * len(clip.landmarks),
        "mouth_visible_ratio": 1.0,
    }
    before = set(row)
    out = FaceFitter(GeometryConfig(), MouthConfig())(row)
    assert set(row) == before
    assert set(out) - before == {"id_coeff", "exp_coeff", "pose", "geometry_model", "fit_error_px", "fit_error_mm"}
    assert out["geometry_model"] == "cc0"
    assert out["fit_error_px"] < 0.5
    assert 0.1 < out["fit_error_mm"] < 5
    assert out["exp_coeff"].shape == (120, 52)


def test_frames_without_landmarks_of_their_own_are_taken_from_the_frames_around(model, clip):
    points = noisy(clip.landmarks, 0.5)
    lost = slice(50, 54)
    points[lost, :, :2] += [9.0, -12.0]
    row = {
        "landmarks": points.reshape(len(points), -1),
        "crop_box_xyxy_px": clip.boxes,
        "face_found": np.ones(len(points), bool),
        "face_jpeg": [b""] * len(points),
        "mouth_visible_ratio": 1.0,
    }
    truth = model.at_landmarks(synthesize(model, clip.id_coeff, clip.exp_coeff, clip.pose))

    def error_px(row) -> float:
        fit = FaceFitter(GeometryConfig(), MouthConfig())(row)
        found = model.at_landmarks(synthesize(model, fit["id_coeff"], fit["exp_coeff"], fit["pose"]))
        seen, true = (project(v, crop_focal_px(clip.boxes))[lost, :, :2] for v in (found, truth))
        return float(np.linalg.norm(seen - true, axis=-1).mean())

    known = row["face_found"].copy()
    known[lost] = False
    assert error_px(row) > 10
    assert error_px({**row, "face_found": known}) < 3


@pytest.mark.parametrize(
    ("landmarks", "detail"), [(np.zeros((0, 478, 3)), "no frame"), (np.full((3, 478, 3), np.nan), "not finite")]
)
def test_landmarks_that_cannot_be_used_are_a_fault(model, landmarks, detail):
    with pytest.raises(Dropped, match=detail) as caught:
        fit_landmarks(model, landmarks, np.tile([0.0, 0, 256, 256], (len(landmarks), 1)), GeometryConfig())
    assert caught.value.reason == DropReason.FIT_ERROR
