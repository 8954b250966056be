from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from skimage.data import astronaut
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from model.dubbing.face_track import follow_face
from model.evaluate import EvaluateConfig, evaluate
from model.judging.metrics import LIPS, MAX_PSNR_DB, cosine, face_distance, lip_distance, psnr_db, ssim
from model.nets.editor import Edited, Editor, to_signed
from model.nets.vae import TinyVae
from model.shards.clips import DataError
from model.training.config import TrainConfig
from model.training.editor_task import build_editor
from model.training.task import DataFacts
from stages.core.records import shard_schema
from stages.core.rows import table_from_rows
from stages.core.settings import load_as
from stages.core.weights import WeightStore
from stages.face.crop import crop_face
from tests.shards import AUDIO_DIM, AUDIO_LAYERS, EXP_DIM, clip_row, whisper

NUM_FRAMES = 52


def noisy(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (2, 32, 32, 3), np.uint8)


def test_psnr_is_scikit_images():
    assert psnr_db(noisy(0), noisy(1)) == pytest.approx(peak_signal_noise_ratio(noisy(1), noisy(0)))
    assert psnr_db(noisy(0), noisy(0)) == MAX_PSNR_DB


def test_ssim_is_scikit_images():
    smooth = cv2.GaussianBlur(noisy(0)[0], (0, 0), 2)
    other = np.clip(smooth.astype(int) + noisy(1)[0] // 8, 0, 255).astype(np.uint8)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    theirs = structural_similarity(smooth, other, channel_axis=2, full=True, **wang)[1].mean()
    assert ssim(smooth[None], other[None]) == pytest.approx(
        theirs, abs=0.005
    )  # the picture's rim is mirrored otherwise
    assert 0.2 < theirs < 0.9 and ssim(noisy(0), noisy(0)) == pytest.approx(1.0)


def test_lip_distance_forgets_where_the_head_is():
    truth = np.random.default_rng(0).normal(size=(3, 478, 3)) * 10
    truth[:, 10], truth[:, 152] = (0, 0, 0), (0, 200, 0)
    moved = truth + np.array([30, -20, 5])
    assert lip_distance(moved, truth) == pytest.approx(0)
    wider = truth.copy()
    centre = truth[:, LIPS, :2].mean(axis=1, keepdims=True)
    wider[:, LIPS, :2] = centre + 1.5 * (truth[:, LIPS, :2] - centre)
    expected = 100 * 0.5 * np.linalg.norm(truth[:, LIPS, :2] - centre, axis=2).mean() / 200
    assert lip_distance(wider, truth) == pytest.approx(expected)


def test_face_distance_does_not():
    truth = np.zeros((2, 478, 3))
    truth[:, 152] = (0, 200, 0)
    assert face_distance(truth + np.array([3, -4, 9]), truth) == pytest.approx(100 * 5 / 200)


def test_cosine():
    assert cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(np.sqrt(0.5))


@pytest.fixture(scope="module")
def real_face(tmp_path_factory: pytest.TempPathFactory, weights: WeightStore) -> Path:
    """A test split of one clip: scikit-image's photo, moved a little."""
    photo = cv2.resize(astronaut()[:300, 70:370], (420, 420), interpolation=cv2.INTER_CUBIC)
    frames = [np.roll(photo, (i // 8, i // 6), axis=(0, 1)) for i in range(NUM_FRAMES)]
    from fractions import Fraction

    track = follow_face(frames, Fraction(25), weights)
    crops = [crop_face(rgb, box) for rgb, box in zip(frames, track.boxes, strict=True)]
    row = {
        **clip_row(0, NUM_FRAMES, "test"),
        "face_jpeg": [cv2.imencode(".jpg", c[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for c in crops],
        "landmarks": track.points.reshape(NUM_FRAMES, -1),
        "crop_box_xyxy_px": track.boxes,
        "whisper": whisper(NUM_FRAMES),
    }
    folder = tmp_path_factory.mktemp("real")
    schema = shard_schema(EXP_DIM, AUDIO_LAYERS * AUDIO_DIM, exact_whisper=True)
    pq.write_table(table_from_rows([row], schema), folder / "test-00000.parquet")
    return folder


class Copier(Editor):
    """An editor that shows the reference frame, as one does that has learnt nothing."""

    def forward(self, batch: dict[str, torch.Tensor], whole: bool = True) -> Edited:
        image = to_signed(batch["reference"])
        return Edited(self.vae.encode(image), image)


def test_a_copying_editor_scores_like_the_real_video(real_face: Path, weights: WeightStore):
    torch.manual_seed(0)
    settings = load_as(TrainConfig, [Path("model/configs/tiny.yaml")])
    facts = DataFacts("counting", AUDIO_LAYERS * AUDIO_DIM, "cc0", EXP_DIM)
    editor = Copier(settings.unet, TinyVae(settings.vae), 16, AUDIO_DIM, 50).eval().requires_grad_(False)
    result = evaluate((editor, settings, facts), str(real_face), "test", weights, EvaluateConfig())
    ours, real = result["ours"], result["real"]
    assert result["protocol"]["clips"] == 1 and len(result["clips"]) == 1
    assert ours["found_ratio"] == real["found_ratio"] == 1.0
    assert ours["psnr_db"] > 20 and 0.6 < ours["ssim"] < 1
    assert ours["csim"] > 0.8 and ours["lip_distance_pct"] < 1.0
    assert real["psnr_db"] is None and real["csim"] is None
    assert result["fid"]["value"] is None and result["fid"]["why"] == result["absent"]["fid"]
    assert result["absent"].keys() == {"fid", "lpips", "lse"} and ours["lpips"] is ours["lse_c"] is None
    assert "pt_inception-2015-12-05" in result["absent"]["fid"]
    json.dumps(result, allow_nan=False)


def test_other_features_are_refused(real_face: Path, weights: WeightStore):
    settings = load_as(TrainConfig, [Path("model/configs/tiny.yaml")])
    facts = DataFacts("whisper-base/2,3,4,5,6", AUDIO_LAYERS * AUDIO_DIM, "cc0", EXP_DIM)
    editor = build_editor(settings, facts, weights).eval()
    with pytest.raises(DataError, match="hold counting, the editor was trained on whisper-base"):
        evaluate((editor, settings, facts), str(real_face), "test", weights, EvaluateConfig())
