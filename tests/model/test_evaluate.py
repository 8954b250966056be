"""The scores of an editor on clips that were left out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest
import torch

from model.dubbing.face_track import follow_face
from model.evaluate import EvaluateConfig, evaluate
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
from tests.talking import FPS, moving_photo

NUM_FRAMES = 52


@pytest.fixture(scope="module")
def real_face(tmp_path_factory: pytest.TempPathFactory, weights: WeightStore) -> Path:
    """A test split of one clip: scikit-image's photo, moved a little."""
    frames = moving_photo(NUM_FRAMES)
    track = follow_face(frames, FPS, weights)
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
