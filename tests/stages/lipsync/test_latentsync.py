"""LatentSync's expert with random weights: published names and shapes, and a narrow one where those would be slow."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.job.plan import STAGES
from pipeline.rules.config import load_config
from stages.core.records import AUDIO_RATE_HZ, Row
from stages.core.weight_files import WEIGHTS
from stages.core.weights import MissingWeights, WeightStore
from stages.face.crop import to_crop
from stages.lipsync.latentsync import (
    AUDIO_STAGES,
    POINTS,
    TEMPLATE,
    VISUAL_STAGES,
    StableSyncNet,
    StableSyncNetExpert,
    Stages,
    log_mel,
    picture,
)
from stages.sync import SyncConfig, SyncMeasurer
from tests.stages.noise_clip import noise_clip

NUM_FRAMES = 40
SHAPES = {  # of the published file
    "audio_encoder.conv_in.weight": (32, 1, 3, 3),
    "audio_encoder.down_blocks.0.downsample_conv.weight": (32, 32, 3, 3),
    "audio_encoder.down_blocks.3.conv_shortcut.weight": (256, 128, 1, 1),
    "audio_encoder.down_blocks.4.attn.to_out.0.bias": (256,),
    "audio_encoder.down_blocks.6.ff.net.0.proj.weight": (4096, 512),
    "audio_encoder.down_blocks.8.conv2.weight": (2048, 2048, 3, 3),
    "audio_encoder.norm_out.weight": (2048,),
    "visual_encoder.conv_in.weight": (64, 48, 3, 3),
    "visual_encoder.down_blocks.3.norm1.weight": (256,),
    "visual_encoder.down_blocks.5.attn.to_q.bias": (512,),
    "visual_encoder.down_blocks.7.conv_in.weight": (1024, 1024, 1, 1),
    "visual_encoder.down_blocks.9.downsample_conv.weight": (2048, 2048, 3, 3),
}


def _narrow(stages: Stages) -> Stages:
    return tuple((32 if width < 2048 else 128, stride, attends) for width, stride, attends in stages)


@pytest.fixture(scope="module")
def net() -> StableSyncNet:
    torch.manual_seed(0)
    return StableSyncNet(_narrow(AUDIO_STAGES), _narrow(VISUAL_STAGES)).eval()


@pytest.fixture
def store(net: StableSyncNet, tmp_path: Path) -> WeightStore:
    (tmp_path / "mine").mkdir()
    torch.save({"global_step": 1, "state_dict": net.state_dict()}, tmp_path / "mine" / WEIGHTS["stable_syncnet"].file)
    return WeightStore(tmp_path, tmp_path / "mine", fetch=False)


@pytest.fixture(scope="module")
def row() -> Row:
    return noise_clip(NUM_FRAMES)


@pytest.mark.slow
def test_the_published_file_fits() -> None:
    with torch.device("meta"):
        state = StableSyncNet().state_dict()
    assert {name: tuple(state[name].shape) for name in SHAPES} == SHAPES
    assert "audio_encoder.down_blocks.3.downsample_conv.weight" not in state
    assert "visual_encoder.down_blocks.3.conv_shortcut.weight" not in state


@pytest.mark.slow
def test_pictures_and_sound_shrink_to_one_place(net: StableSyncNet) -> None:
    with torch.inference_mode():
        seen, heard = net.see(torch.randn(2, 48, 128, 256)), net.hear(torch.randn(3, 1, 80, 52))
    assert seen.shape == (2, 128) and heard.shape == (3, 128)
    torch.testing.assert_close(heard.norm(dim=1), torch.ones(3))


def test_without_the_file_it_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"huggingface\.co/ByteDance"):
        StableSyncNetExpert(WeightStore(tmp_path, fetch=False))


def test_it_measures_what_the_embedded_expert_does(
    store: WeightStore, row: Row, net: StableSyncNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    expert = StableSyncNetExpert(store, "cpu", StableSyncNet(_narrow(AUDIO_STAGES), _narrow(VISUAL_STAGES)))
    monkeypatch.setattr("stages.sync.load_expert", lambda config, weights: expert)
    found = SyncMeasurer(SyncConfig(expert="latentsync"), store).measure(row)
    assert found["sync_expert"] == "stable_syncnet"
    assert 0 < found["sync_dist"] < 2 and found["sync_conf"] >= 0
    assert found["av_offset_ms"] == 40 * found["av_offset_frames"]


def test_a_window_is_its_own_frames_and_sound(store: WeightStore, row: Row, net: StableSyncNet) -> None:
    expert = StableSyncNetExpert(store, "cpu", net)
    random = np.random.default_rng(1)
    lower = random.integers(0, 256, (NUM_FRAMES, 128, 256, 3), np.uint8)
    seen, heard = expert.embed(lower, row["audio_pcm16"])
    assert len(seen) == 7 and len(heard) == 25
    later, _ = expert.embed(lower[8:], row["audio_pcm16"])
    np.testing.assert_allclose(later, seen[2:], atol=1e-5)
    pixels = torch.from_numpy(lower[4:20]).float().permute(0, 3, 1, 2).reshape(1, 48, 128, 256) / 127.5 - 1
    mel = torch.from_numpy(log_mel(row["audio_pcm16"]))[None, None, :, 32 : 32 + 52]
    with torch.inference_mode():
        np.testing.assert_allclose(seen[1], net.see(pixels)[0], atol=1e-5)
        np.testing.assert_allclose(heard[10], net.hear(mel)[0], atol=1e-5)


def test_the_plan_knows_which_file_it_opens() -> None:
    (stage,) = (stage for stage in STAGES if stage.name == "sync")
    assert stage.weights(load_config([], ["sync.expert=latentsync"])) == ("stable_syncnet",)


def test_brows_and_nose_come_where_the_template_has_them() -> None:
    """A head that is turned by 20 degrees in the picture, in a box that is no square."""
    turn, box = np.deg2rad(20.0), np.array([[100.0, 50.0, 300.0, 310.0]])
    to_source = 0.7 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    places = TEMPLATE @ to_source.T + [150.0, 60.0]
    points = np.zeros((478, 3), np.float32)
    for indices, place in zip(POINTS, places, strict=True):
        points[list(indices), :2] = place
    points = to_crop(points[None], box)[0]
    crop = np.zeros((256, 256, 3), np.uint8)
    for channel, indices in enumerate(POINTS):
        x, y = points[indices[0], :2]
        cv2.circle(crop, (round(float(x)), round(float(y))), 6, tuple(255.0 * np.eye(3)[channel]), -1)
    seen = picture(crop, box[0], points)
    for channel, (x, y) in enumerate(TEMPLATE):
        rows, columns = np.nonzero(seen[..., channel] > 128)
        assert columns.mean() == pytest.approx(x * 256 / 210, abs=1.0)
        assert rows.mean() == pytest.approx(y * 256 / 280, abs=1.0)


def test_the_spectrogram_is_wav2lips() -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    t = np.arange(16_000) / AUDIO_RATE_HZ
    chirp = np.round(8000 * np.sin(2 * np.pi * (100 * t + 3000 * t * t)) * (0.1 + t)).astype(np.int16)
    found = log_mel(chirp)
    assert found.shape == (80, 81)
    emphasised = np.append(chirp[:1], chirp[1:] - 0.97 * chirp[:-1]) / 32768
    theirs = spectrogram(
        emphasised,
        window_function(800, "hann"),
        800,
        200,
        power=1.0,
        pad_mode="constant",
        mel_filters=mel_filter_bank(401, 80, 55.0, 7600.0, AUDIO_RATE_HZ, norm="slaney", mel_scale="slaney"),
    )
    level_db = 20 * np.log10(np.maximum(theirs, 1e-5)) - 20
    np.testing.assert_allclose(found, np.clip(8 * (level_db + 100) / 100 - 4, -4, 4), atol=0.005)
