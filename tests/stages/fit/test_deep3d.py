"""Deep3DFaceRecon's network with random weights, its alignment, and the way from its camera to ours."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as f

from pipeline.job.plan import STAGES
from pipeline.rules.config import load_config
from stages.core.tensors import UnsafeWeights
from stages.core.weights import MissingWeights, WeightStore
from stages.face.crop import decode_jpeg
from stages.face3d.bfm import FRONT, LANDMARKS, Coefficients
from stages.face3d.camera import crop_focal_px, project, synthesize
from stages.face3d.load import load_face_model
from stages.fit.config import GeometryConfig
from stages.fit.deep3d import (
    FIVE_LANDMARKS,
    FIVE_POINTS,
    Deep3dError,
    Deep3dFitter,
    Deep3dRegressor,
    Placement,
    carry_over,
    lay_in,
    place,
)
from stages.fit.deep3d_network import ReconNetwork
from tests.stages.face3d.test_bfm import dome, write_small

BOX = np.array([40.0, 30, 240, 260])


def random_state() -> dict[str, Tensor]:
    """A state dict with the published checkpoint's names and shapes, and statistics that keep numbers small."""
    torch.manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"backbone.conv1.weight": (64, 3, 7, 7)}
    norms = {"backbone.bn1": 64}
    channels = 64
    for layer, depth in enumerate((3, 4, 6, 3), 1):
        width = 32 << layer
        for i in range(depth):
            name = f"backbone.layer{layer}.{i}"
            shapes |= {f"{name}.conv1.weight": (width, channels, 1, 1), f"{name}.conv2.weight": (width, width, 3, 3)}
            shapes |= {f"{name}.conv3.weight": (4 * width, width, 1, 1)}
            norms |= {f"{name}.bn1": width, f"{name}.bn2": width, f"{name}.bn3": 4 * width}
            if i == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * width, channels, 1, 1)
                norms[f"{name}.downsample.1"] = 4 * width
            channels = 4 * width
    state = {name: torch.randn(shape) / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()}
    for name, width in norms.items():
        state |= {f"{name}.weight": torch.rand(width) + 0.5, f"{name}.bias": torch.randn(width) / 10}
        state |= {f"{name}.running_mean": torch.randn(width) / 10, f"{name}.running_var": torch.rand(width) + 0.5}
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)
    for i, width in enumerate((80, 64, 80, 3, 27, 2, 1)):
        state[f"final_layers.{i}.weight"] = torch.randn(width, 2048, 1, 1) / 4000
        state[f"final_layers.{i}.bias"] = torch.randn(width) / 20
    return state


def by_hand(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The reference's forward pass, a line an operation."""

    def normed(name: str, x: Tensor) -> Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scale = state[f"{name}.weight"] / torch.sqrt(variance + 1e-5)
        return x * scale[:, None, None] + (state[f"{name}.bias"] - mean * scale)[:, None, None]

    x = f.relu(normed("backbone.bn1", f.conv2d(x, state["backbone.conv1.weight"], stride=2, padding=3)))
    x = f.max_pool2d(x, 3, 2, 1)
    for layer, depth in enumerate((3, 4, 6, 3), 1):
        for i in range(depth):
            name, stride = f"backbone.layer{layer}.{i}", 2 if layer > 1 and i == 0 else 1
            inner = f.relu(normed(f"{name}.bn1", f.conv2d(x, state[f"{name}.conv1.weight"])))
            inner = f.conv2d(inner, state[f"{name}.conv2.weight"], stride=stride, padding=1)
            inner = f.conv2d(f.relu(normed(f"{name}.bn2", inner)), state[f"{name}.conv3.weight"])
            if i == 0:
                x = f.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
                x = normed(f"{name}.downsample.1", x)
            x = f.relu(normed(f"{name}.bn3", inner) + x)
    x = x.mean((2, 3))
    heads = [x @ state[f"final_layers.{i}.weight"][:, :, 0, 0].T + state[f"final_layers.{i}.bias"] for i in range(7)]
    return torch.cat(heads, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A user's folder: the checkpoint as it was saved in training, and a small Basel model."""
    folder = tmp_path_factory.mktemp("user")
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))]).state_dict()
    scheduler = {"step_size": 10, "gamma": 0.2, "base_lrs": [1e-4], "last_epoch": 20, "_last_lr": [2e-5]}
    torch.save({"net_recon": random_state(), "opt_00": optimizer, "sched_00": scheduler}, folder / "epoch_20.pth")
    mean, triangles = dome(600)
    rng = np.random.default_rng(5)
    bases = {"idBase": rng.normal(0, 0.01, (1800, 80)), "exBase": rng.normal(0, 0.01, (1800, 64))}
    write_small(folder / FRONT, mean, triangles, **bases)
    np.save(folder / LANDMARKS, np.unique(triangles)[:468])
    return folder


@pytest.fixture(scope="module")
def row() -> dict[str, object]:
    """Five noisy pictures with five points that wander."""
    rng = np.random.default_rng(6)
    crops = [cv2.resize(rng.integers(0, 255, (16, 16, 3), np.uint8), (256, 256)) for _ in range(5)]
    landmarks = np.full((5, 478, 3), 128.0)
    for frame in range(5):
        landmarks[frame, FIVE_LANDMARKS, :2] = (
            128 + (110 + 3 * frame) * FIVE_POINTS[:, :2] * [1, -1] + rng.normal(0, 2, 2)
        )
    return {
        "face_jpeg": [cv2.imencode(".jpg", crop)[1].tobytes() for crop in crops],
        "landmarks": landmarks.reshape(5, -1),
        "crop_box_xyxy_px": np.tile(BOX, (5, 1)),
    }


@pytest.mark.slow
def test_the_network_is_the_references_with_its_names_and_head_order(folder):
    pictures = np.random.default_rng(1).integers(0, 255, (2, 224, 224, 3), np.uint8)
    found = Deep3dRegressor(folder / "epoch_20.pth")(pictures)
    with torch.no_grad():
        expected = by_hand(random_state(), torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255)
    assert found.shape == (2, 257)
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-5)
    assert found.std(0).max() > 1e-4  # it hangs on the picture


def test_five_points_of_the_standard_face_come_to_the_middle_at_its_size():
    # Twice as large and off the middle: the reference brings the face to 102 px a unit, its origin to the centre.
    points = FIVE_POINTS[:, :2] * [1, -1] * 204 + [140, 120]
    where = place(points, aspect=1.0)
    assert (where.width, where.height) == (128, 128)
    inside = points / 2 - [where.left, where.top]
    np.testing.assert_allclose(inside, FIVE_POINTS[:, :2] * [1, -1] * 102 + 112, atol=1.1)  # cut to whole pixels
    np.testing.assert_allclose(where.to_crop(inside), points, atol=1e-9)


def test_a_stretched_crop_is_unstretched():
    points = FIVE_POINTS[:, :2] * [1, -1] * 102 + 128
    square = place(points, aspect=1.0)
    aspect = 1.44
    stretched = place((points - 128) * [np.sqrt(aspect), 1 / np.sqrt(aspect)] + 128, aspect)
    assert stretched.width / stretched.height == pytest.approx(1 / aspect, abs=0.01)
    assert stretched.width * stretched.height == pytest.approx(square.width * square.height, rel=0.02)


def test_a_dot_of_the_crop_is_where_the_placement_says():
    crop = np.zeros((256, 256, 3), np.uint8)
    cv2.circle(crop, (100, 60), 5, (255, 255, 255), -1, cv2.LINE_AA)
    for where in (Placement(200, 240, -10, 20), Placement(300, 250, 60, 30)):
        picture = lay_in(crop, where).astype(float).mean(-1)
        rows, columns = np.mgrid[:224, :224] + 0.5
        centre = np.array([(columns * picture).sum(), (rows * picture).sum()]) / picture.sum()
        np.testing.assert_allclose(where.to_crop(centre), [100.5, 60.5], atol=0.1)
    assert not lay_in(np.full_like(crop, 255), Placement(200, 240, -10, 20))[:, :10].any()  # black beyond the crop


@pytest.mark.slow
def test_poses_are_carried_to_the_crops_camera_within_a_pixel(folder):
    model = load_face_model(folder)
    rng = np.random.default_rng(2)
    values = rng.normal(0, 1, (4, 257))
    values[:, 224:227] = rng.uniform(-0.4, 0.4, (4, 3))
    values[:, 254:] = rng.normal(0, 0.1, (4, 3))
    given = Coefficients.unpack(values)
    placements = [Placement(180, 220, -30, 5 * i) for i in range(4)]
    focal_px = np.repeat(crop_focal_px(BOX[None] * [1, 1, 1, 1.05]), 4, axis=0)
    pose = carry_over(model, given, given.identity[0], placements, focal_px)
    shapes = model.at_landmarks(model.shape(given.identity[0], given.expression))
    for frame, where in enumerate(placements):
        alone = given.pose()[[frame]]
        in_picture = project(synthesize(model, given.identity[0], given.expression[[frame]], alone))[0, :, :2]
        seen_by_network = model.at_landmarks(np.pad(in_picture, ((0, 0), (0, 1))))[:, :2] * 224 / 256
        carried = project(
            synthesize(model, given.identity[0], given.expression[[frame]], pose[[frame]]), focal_px[[frame]]
        )
        error = model.at_landmarks(carried)[0, :, :2] - where.to_crop(seen_by_network)
        assert np.abs(error).mean() < 1.0
    assert np.isfinite(shapes).all()


@pytest.mark.slow
def test_the_stage_gives_the_networks_coefficients_whatever_the_batch(folder, row):
    store = WeightStore(folder / "cache", folder, fetch=False)
    config = GeometryConfig(model=str(folder / FRONT), method="deep3d", device="cpu", chunk_frames=2)
    found = Deep3dFitter(config, store)(row)
    assert found["geometry_model"] == "bfm"
    assert set(found) - set(row) == {"id_coeff", "exp_coeff", "pose", "geometry_model", "fit_error_px"}
    landmarks = row["landmarks"].reshape(5, 478, 3)[:, FIVE_LANDMARKS, :2]
    aspect = (BOX[3] - BOX[1]) / (BOX[2] - BOX[0])
    crops = [decode_jpeg(jpeg) for jpeg in row["face_jpeg"]]
    pictures = np.stack([lay_in(crop, place(five, aspect)) for crop, five in zip(crops, landmarks, strict=True)])
    values = Deep3dRegressor(folder / "epoch_20.pth")(pictures)
    np.testing.assert_allclose(found["exp_coeff"], values[:, 80:144], atol=1e-5)
    np.testing.assert_allclose(found["id_coeff"], np.median(values[:, :80], axis=0), atol=1e-5)
    assert found["pose"].shape == (5, 6)
    assert (found["pose"][:, 5] > 100).all()
    assert np.isfinite(found["fit_error_px"])


@pytest.mark.slow
def test_what_is_missing_or_wrong_is_named(folder, tmp_path):
    config = GeometryConfig(model=str(folder / FRONT), method="deep3d")
    with pytest.raises(MissingWeights, match=r"(?s)epoch_20\.pth.*sicxu/Deep3DFaceRecon_pytorch.*KOUXING_WEIGHTS"):
        Deep3dFitter(config, WeightStore(tmp_path, fetch=False))
    store = WeightStore(folder / "cache", folder, fetch=False)
    with pytest.raises(Deep3dError, match=r"geometry\.model is 'cc0': set geometry\.model"):
        Deep3dFitter(GeometryConfig(method="deep3d"), store)
    (tmp_path / "text.pth").write_bytes(b"no checkpoint")
    with pytest.raises(UnsafeWeights, match=r"text\.pth is not read: it is damaged"):
        Deep3dRegressor(tmp_path / "text.pth")
    torch.save({"net_recon": print}, tmp_path / "code.pth")
    with pytest.raises(UnsafeWeights, match=r"code\.pth is not read: .*GLOBAL"):
        Deep3dRegressor(tmp_path / "code.pth")
    state = ReconNetwork().state_dict()
    torch.save({"net_recon": {k: v for k, v in state.items() if "final_layers.3" not in k}}, tmp_path / "short.pth")
    with pytest.raises(Deep3dError, match=r"short\.pth is no checkpoint"):
        Deep3dRegressor(tmp_path / "short.pth")


@pytest.mark.slow
def test_the_plan_builds_it_and_names_its_weights(folder):
    stage = next(stage for stage in STAGES if stage.name == "geometry")
    model = str(folder / FRONT)
    config = load_config([], ["geometry.method=deep3d", f"geometry.model={model}", f"depth.model={model}"])
    assert stage.weights(config) == ("deep3d",)
    assert stage.weights(load_config()) == ()
    built = stage.build(config, WeightStore(folder / "cache", folder, fetch=False), folder)
    assert isinstance(built, Deep3dFitter)
