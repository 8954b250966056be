"""SyncNet with random weights of the published shapes: what it says means nothing, how it says it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.job.plan import STAGES
from pipeline.rules.config import load_config
from stages.core.records import Row
from stages.core.weight_files import WEIGHTS
from stages.core.weights import MissingWeights, WeightStore, sha256_of
from stages.lipsync.syncnet import (
    MAX_SHIFT_FRAMES,
    SyncNet,
    SyncNetExpert,
    lip_sync_error,
    mfcc,
    picture,
    shifted_distances,
)
from stages.sync import SyncConfig, SyncMeasurer
from tests.stages.noise_clip import noise_clip

NUM_FRAMES = 40
SHAPES = {  # of the published file
    "netcnnaud.0.weight": (64, 1, 3, 3),
    "netcnnaud.18.weight": (512, 256, 5, 4),
    "netcnnaud.19.running_var": (512,),
    "netcnnlip.0.weight": (96, 3, 5, 7, 7),
    "netcnnlip.4.weight": (256, 96, 1, 5, 5),
    "netcnnlip.18.weight": (512, 256, 1, 6, 6),
    "netfcaud.3.weight": (1024, 512),
    "netfclip.1.running_mean": (512,),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A user's folder with a file of the published form."""
    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("weights")
    torch.save(SyncNet().state_dict(), made / WEIGHTS["syncnet"].file)
    return made


@pytest.fixture
def store(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightStore:
    declared = replace(WEIGHTS["syncnet"], sha256=sha256_of(folder / WEIGHTS["syncnet"].file))
    monkeypatch.setitem(WEIGHTS, "syncnet", declared)
    return WeightStore(tmp_path, folder, fetch=False)


@pytest.fixture(scope="module")
def row() -> Row:
    return noise_clip(NUM_FRAMES)


def test_the_published_file_fits() -> None:
    state = SyncNet().state_dict()
    assert {name: tuple(state[name].shape) for name in SHAPES} == SHAPES
    assert sum(value.numel() for name, value in state.items() if "num_batches" not in name) == 13_640_256


def test_without_the_file_it_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="vgg/software/lipsync"):
        SyncNetExpert(WeightStore(tmp_path, fetch=False))


def test_it_measures_what_the_embedded_expert_does(store: WeightStore, row: Row) -> None:
    found = SyncMeasurer(SyncConfig(expert="syncnet"), store).measure(row)
    assert found["sync_expert"] == "syncnet_v2"
    assert found["sync_dist"] > 0 and found["sync_conf"] >= 0
    assert found["av_offset_ms"] == 40 * found["av_offset_frames"]


def test_the_plan_knows_which_file_it_opens() -> None:
    (stage,) = (stage for stage in STAGES if stage.name == "sync")
    assert stage.weights(load_config()) == ()
    assert stage.weights(load_config([], ["sync.expert=syncnet"])) == ("syncnet",)


@pytest.mark.slow
def test_a_whole_clip_is_seen_as_window_by_window() -> None:
    torch.manual_seed(0)
    net = SyncNet().eval()
    pictures = torch.rand(1, 3, 7, 224, 224) * 255
    with torch.inference_mode():
        together = net.see(pictures)
        apart = torch.cat([net.see(pictures[:, :, first : first + 5]) for first in range(3)])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


def test_late_sound_is_nearest_at_its_delay() -> None:
    heard = np.random.default_rng(0).normal(size=(60, 8))
    distances = shifted_distances(heard[3:40], heard)
    assert np.nanmean(distances, axis=0).argmin() - MAX_SHIFT_FRAMES == 3
    assert np.isnan(distances[0, :MAX_SHIFT_FRAMES]).all()


def test_lip_sync_error_is_the_published_evaluations() -> None:
    """Written out as syncnet_python does: each frame against 31 of the padded sound, then means, minimum, median."""
    random = np.random.default_rng(0)
    heard = random.normal(size=(40, 16))
    seen = np.roll(heard, 4, axis=0) + 0.3 * random.normal(size=(40, 16))
    padded = torch.nn.functional.pad(torch.from_numpy(heard), (0, 0, 15, 15))
    apart = [
        torch.nn.functional.pairwise_distance(torch.from_numpy(seen[[i]]).repeat(31, 1), padded[i : i + 31])
        for i in range(len(seen))
    ]
    mean = torch.stack(apart, 1).mean(1)
    least, place = mean.min(0)
    found = lip_sync_error(seen, heard)
    assert found.distance == pytest.approx(least.item())
    assert found.confidence == pytest.approx(mean.median().item() - least.item())
    assert found.offset_frames == 15 - place.item() == 4


def test_the_picture_keeps_the_faces_shape() -> None:
    crop = np.zeros((256, 256, 3), np.uint8)
    crop[..., 0] = 200
    cv2.ellipse(crop, (128, 128), (64, 64), 0, 0, 360, (0, 0, 255), -1)  # squeezed: a box 100 wide and 130 high
    blue = picture(crop, np.array([0.0, 0.0, 100.0, 130.0]))[..., 0] > 128
    rows, columns = np.flatnonzero(blue.any(axis=1)), np.flatnonzero(blue.any(axis=0))
    assert len(rows) == pytest.approx(80, abs=2)  # half of 130 of 182 px in 224
    assert len(columns) == pytest.approx(80 * 100 / 130, abs=2)
    assert columns.mean() == pytest.approx(111.5, abs=1) and rows.mean() == pytest.approx(79.5, abs=1)


def test_cepstra_are_those_of_python_speech_features() -> None:
    t = np.arange(8000) / 16_000
    chirp = np.round(8000 * np.sin(2 * np.pi * (300 * t + 1500 * t * t)) * (0.3 + t)).astype(np.int16)
    cepstra = mfcc(chirp)
    assert cepstra.shape == (49, 13)
    theirs = [
        19.209,
        12.754,
        -20.817,
        -34.511,
        -16.212,
        15.268,
        28.463,
        10.061,
        -18.237,
        -27.701,
        -10.958,
        10.441,
        15.307,
    ]
    np.testing.assert_allclose(cepstra[20], theirs, atol=1e-3)
