"""Wav2Lip on drawn faces whose mouths follow their features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.compare import as_markdown, settings_of
from model.nets.wav2lip import ExpertLoss, SyncExpert, Wav2Lip, Wav2lipConfig
from model.shards.clips import LoaderConfig
from model.train import train
from model.training.config import TrainConfig
from model.training.editor_task import build_editor
from model.training.load import load_trained
from model.training.wav2lip_task import Wav2lipDataset
from stages.core.settings import load_as
from stages.core.weights import WeightStore
from tests.shards import AUDIO_DIM, AUDIO_LAYERS

SMALL = Wav2lipConfig(size_px=32, width=8)
LOADER = LoaderConfig(draws_per_visit=4, pool_clips=2, num_workers=0)
TINY = [
    *("num_threads=1", "device=cpu", "log_every_steps=1", "grid_every_steps=100", "checkpoint_every_steps=2"),
    *("grid_samples=2", "loader.num_workers=0", "wav2lip.size_px=32", "optim.max_minutes=null", "optim.max_steps=3"),
    *("expert_optim.max_minutes=null", "expert_optim.max_steps=3", "expert_optim.batch_size=2", "optim.batch_size=2"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> WeightStore:
    return WeightStore(tmp_path_factory.mktemp("none"), fetch=False)


def settings(shards: Path, out: Path) -> TrainConfig:
    return load_as(TrainConfig, [Path("model/configs/tiny-wav2lip.yaml")], [f"data={shards}", f"out={out}", *TINY])


def test_sample_is_five_frames_in_a_row_and_their_sound(shards: Path):
    dataset = Wav2lipDataset(str(shards), "train", LOADER, 32, 5, seed=0)
    for number in range(12):
        sample = dataset[number]
        assert sample["target"].shape == sample["reference"].shape == (5, 3, 32, 32)
        first_step = sample["audio"][:, 4 * AUDIO_LAYERS, 0] / 10  # the fifth step of ten names the frame's first
        start = int(first_step[0])
        assert first_step.tolist() == [start + 2 * i for i in range(5)] or start == 0
        other = float(sample["other_audio"][4 * AUDIO_LAYERS, 0] / 10)
        assert abs(other - (start + 4)) >= 2 * (5 + 2)
        assert torch.equal(sample["audio"], dataset[number]["audio"])


def test_an_editor_that_sees_only_the_upper_half():
    torch.manual_seed(0)
    network = Wav2Lip(SMALL, 50, AUDIO_DIM).eval()
    batch = {name: torch.randint(0, 255, (2, 3, 256, 256), dtype=torch.uint8) for name in ("target", "reference")}
    batch["audio"] = torch.randn(2, 50, AUDIO_DIM)
    with torch.no_grad():
        image = network(batch).image
        assert image.shape == (2, 3, 256, 256)
        below = {**batch, "target": batch["target"].clone()}
        below["target"][:, :, 140:] = 0  # the shrunken picture mixes the rows next to the middle
        torch.testing.assert_close(network(below).image, image)
        for name in ("reference", "audio"):
            assert not torch.allclose(network({**batch, name: batch[name].flip(0)}).image, image, atol=1e-4)


@pytest.mark.slow
def test_the_expert_learns_what_goes_together():
    """Mouths as open as their sound is loud: after some steps it prefers their own to another's."""
    torch.manual_seed(0)
    loss = ExpertLoss(SyncExpert(SMALL, 10, AUDIO_DIM))
    optimizer = torch.optim.Adam(loss.parameters(), 3e-4)
    losses = []
    for _ in range(60):
        opening, other = torch.rand(16), torch.rand(16)
        faces = torch.full((16, 5, 3, 32, 32), 100, dtype=torch.uint8)
        for face, share in zip(faces, opening.tolist(), strict=True):
            face[:, :, 24 - int(7 * share) : 25 + int(7 * share), 8:24] = 255
        sounds = torch.zeros(2, 16, 10, AUDIO_DIM)
        sounds[..., 0], sounds[..., 1] = 1, 4 * torch.stack([opening, other])[:, :, None]
        batch = {"target": faces, "audio": sounds[0, :, None].expand(-1, 5, -1, -1), "other_audio": sounds[1]}
        total, _ = loss(batch)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    assert np.mean(losses[-10:]) < 0.62 < np.mean(losses[:10])


def test_interrupted_equals_uninterrupted_and_is_an_editor(shards: Path, tmp_path: Path, store: WeightStore):
    """Stopped within either phase, and loaded as what it is: an editor."""
    whole = settings(shards, tmp_path / "whole")
    train(whole, store)
    broken = replace(whole, out=str(tmp_path / "broken"))
    for stop_at in (3, 5):

        class Stopped(Exception):
            pass

        def stop(_progress: object, _name: str, step: int, *_: object, at: int = stop_at) -> None:
            if step >= at:
                raise Stopped

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("model.training.progress.Progress.show", stop)
            with pytest.raises(Stopped):
                train(broken, store)
    train(broken, store)
    ours, theirs = (load_file(next(Path(c.out).glob("checkpoint-*6")) / "model.safetensors") for c in (broken, whole))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    grid = cv2.imread(str(Path(whole.out) / "grids" / "final.png"))
    assert grid is not None and grid.shape == (24 + 2 * 256, 5 * 256, 3)
    editor, loaded, _ = load_trained(Path(whole.out), "editor", store)
    assert loaded.task == "wav2lip" and isinstance(editor, Wav2Lip) and not editor.training


def test_musetalk_is_the_editor_without_depth(store: WeightStore):
    configs = Path("model/configs")
    joygen, musetalk = (load_as(TrainConfig, [configs / f"{name}.yaml"]) for name in ("joygen", "musetalk"))
    assert musetalk == replace(joygen, unet=replace(joygen.unet, use_depth=False))
    tiny = load_as(TrainConfig, [configs / "tiny.yaml"])
    both = load_as(TrainConfig, [configs / "musetalk.yaml", configs / "tiny.yaml"])
    assert replace(both.optim, micro_batch=None) == tiny.optim
    assert both == replace(tiny, unet=replace(tiny.unet, use_depth=False), optim=both.optim)
    from model.training.task import DataFacts

    facts = DataFacts("counting", AUDIO_LAYERS * AUDIO_DIM, "none", 6)
    conv_in = build_editor(both, facts, store).unet.conv_in
    assert conv_in.in_channels == 2 * both.vae.latent_channels * both.unet.patch**2


def test_all_three_are_trained_on_as_many_frames(tmp_path: Path):
    for full in (False, True):
        seen = {}
        for name in ("Wav2Lip", "MuseTalk", "JoyGen"):
            config = settings_of(name, full, "shards", tmp_path, 4800, [])
            frames = config.wav2lip.num_frames if config.task == "wav2lip" else 1
            seen[name] = config.optim.max_steps * config.optim.batch_size * frames
            assert config.optim.max_minutes is None and config.vae_optim.max_minutes is None
        assert max(seen.values()) - min(seen.values()) <= 128, seen


def test_the_table_has_a_row_for_each():
    means = {"real video": {"psnr_db": None, "sync_conf": 5.0}, "JoyGen": {"psnr_db": 30.0, "sync_conf": 4.25}}
    assert as_markdown({"means": means}).splitlines() == [
        "|  | psnr_db | sync_conf |",
        "| --- | --- | --- |",
        "| real video | - | 5.000 |",
        "| JoyGen | 30.000 | 4.250 |",
    ]
