from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.shards.samples import editor_batch
from model.train import Trainer, learning_rate, main, make_optimizer, progress_of, train
from model.training.checkpoint import State, load_moments, save_checkpoint
from model.training.config import PRESETS, OptimConfig, TrainConfig, load_train
from model.training.editor_task import EditorTask
from model.training.load import build_task, load_trained
from stages.core.settings import ConfigError, as_dict, load_as, load_dict
from stages.core.weights import WeightStore

TINY = [
    "num_threads=1",
    "device=cpu",
    "log_every_steps=1",
    "grid_every_steps=100",
    "checkpoint_every_steps=2",
    "grid_samples=2",
    "loader.num_workers=0",
    "vae.latent_channels=8",
    "vae.width=16",
    "vae.init_images=8",
    "vae_optim.max_steps=2",
    "vae_optim.max_minutes=null",
    "vae_optim.batch_size=2",
    "unet.block_channels=[16,32]",
    "unet.attention=[false,true]",
    "unet.num_groups=8",
    "optim.max_minutes=null",
    "optim.batch_size=2",
]


def config(shards: Path, out: Path, *settings: str, preset: str = "tiny") -> TrainConfig:
    values = [f"data={shards}", f"out={out}", *TINY, *settings]
    return load_as(TrainConfig, [Path(f"model/configs/{preset}.yaml")], values)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> WeightStore:
    """Training the tiny preset needs no weights at all."""
    return WeightStore(tmp_path_factory.mktemp("none"), fetch=False)


def losses(run: Path, phase: str, part: str = "loss") -> list[float]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [r[part] for r in records if r["phase"] == phase]


def test_one_batch_is_learnt(shards: Path, tmp_path: Path, store: WeightStore):
    torch.manual_seed(0)
    task = EditorTask(config(shards, tmp_path / "run"), store)
    task.start()
    task.module.requires_grad_(False)
    phase = task.phases[1]
    phase.trained.requires_grad_(True)
    batch = editor_batch([task.dataset[i] for i in range(2)])
    optimizer = make_optimizer(list(phase.trained.parameters()), replace(phase.optim, lr=4e-3))
    history = []
    for _ in range(30):
        loss, _ = phase.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.75 * history[0]


def test_a_run_leaves_grids_metrics_and_a_model(shards: Path, tmp_path: Path, store: WeightStore):
    run = train(config(shards, tmp_path / "run", "optim.max_steps=3"), store)
    assert len(losses(run, "vae")) == 2 and len(losses(run, "edit")) == 3
    grid = cv2.imread(str(run / "grids" / "final.png"))
    assert grid is not None and grid.shape == (24 + 2 * 256, 5 * 256, 3)
    editor, _, facts = load_trained(run, "editor", store)
    assert facts.whisper_model == "counting" and not editor.training


def test_interrupted_equals_uninterrupted(shards: Path, tmp_path: Path, store: WeightStore):
    """Two steps of the auto-encoder, six of the editor, a checkpoint every second one."""
    whole = config(shards, tmp_path / "whole", "optim.max_steps=6", "optim.micro_batch=1")
    train(whole, store)
    broken = replace(whole, out=str(tmp_path / "broken"))
    for stop_at in (1, 2, 3, 5, 8):

        class Stopped(Exception):
            pass

        def stop(*_: object, at: int = stop_at) -> None:
            if len(losses(Path(broken.out), "vae")) + len(losses(Path(broken.out), "edit")) >= at:
                raise Stopped

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("model.training.progress.Progress.show", stop)
            with pytest.raises(Stopped):
                train(broken, store)
    train(broken, store)
    steps = [[folder.name for folder in sorted(Path(c.out).glob("checkpoint-*"))] for c in (broken, whole)]
    assert steps[0] == steps[1] == ["checkpoint-00000006", "checkpoint-00000008"]
    for step in steps[0]:
        for name in ("model", "average", "optimizer"):
            ours, theirs = (load_file(Path(c.out) / step / f"{name}.safetensors") for c in (broken, whole))
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[k], theirs[k]) for k in ours), (step, name)
    for phase in ("vae", "edit"):
        assert losses(Path(broken.out), phase) == losses(Path(whole.out), phase)


def test_what_is_loaded_is_the_average(
    shards: Path, tmp_path: Path, store: WeightStore, monkeypatch: pytest.MonkeyPatch
):
    """A checkpoint after every step, and one after every phase; the run is used after each of them."""
    saved: list[tuple[State, dict[str, Tensor], dict[str, Tensor]]] = []
    used: list[dict[str, Tensor] | str] = []

    def watch(run: Path, state: State, *values: Any) -> None:
        model, average = values[2:4]
        saved.append((state, *({k: v.detach().clone() for k, v in t.items()} for t in (model, average))))
        save_checkpoint(run, state, *values)
        try:
            used.append(load_trained(run, "editor", store)[0].state_dict())
        except ConfigError as error:
            used.append(str(error))

    monkeypatch.setattr("model.train.save_checkpoint", watch)
    train(config(shards, tmp_path / "run", "optim.max_steps=2", "checkpoint_every_steps=1"), store)
    assert [(s.phase, s.phase_step) for s, _, _ in saved] == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    for loaded in used[:3]:
        assert isinstance(loaded, str) and "no more than its auto-encoder yet" in loaded
    (_, vae_raw, vae_mean), (_, between, _), (_, raw, mean), (_, final, _) = (saved[i] for i in (1, 2, 4, 5))
    assert not any(torch.equal(vae_raw[k], v) for k, v in vae_mean.items())
    assert all(torch.equal(between[k], v) for k, v in vae_mean.items())
    assert not torch.equal(raw["unet.conv_out.weight"], mean["unet.conv_out.weight"])
    for loaded in (used[4], used[5], final):
        assert isinstance(loaded, dict)
        assert all(torch.equal(loaded[k], v) for k, v in {**between, **mean}.items())


def test_finished_run_is_left_alone(shards: Path, tmp_path: Path, store: WeightStore):
    settings = config(shards, tmp_path / "run", "optim.max_steps=2")
    run = train(settings, store)
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    train(settings, store)
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before


def test_other_settings_need_another_run(shards: Path, tmp_path: Path, store: WeightStore):
    settings = config(shards, tmp_path / "run", "optim.max_steps=2")
    train(settings, store)
    with pytest.raises(ConfigError, match=r"begun with another seed \(0 -> 1\), loader.pool_clips \(64 -> 2\): "):
        train(replace(settings, seed=1, loader=replace(settings.loader, pool_clips=2)), store)


def test_what_only_changes_speed_may_change(shards: Path, tmp_path: Path, store: WeightStore):
    settings = config(shards, tmp_path / "run", "optim.max_steps=2")
    before = train(settings, store)
    faster = replace(settings.loader, num_workers=3, cache_clips=2)
    smaller = replace(settings.optim, micro_batch=1)
    other = replace(settings, loader=faster, compile=True, channels_last=False, optim=smaller)
    assert train(other, store) == before


def test_parts_of_a_batch_give_its_gradients(shards: Path, tmp_path: Path, store: WeightStore):
    """Four samples at once, three and one, one by one; pixels of every second."""
    settings = ["optim.batch_size=4", "optim.max_steps=2", "loss.mouth=1", "loss.pixel_every=2", "vae.noise=0"]
    found = []
    for micro in ("null", "2", "1"):
        every = [*settings, f"optim.micro_batch={micro}", *(["loss.pixel_every=1"] if micro == "1" else [])]
        run = train(config(shards, tmp_path / micro, *every), store)
        found.append([losses(run, "edit", part) for part in ("loss", "grad_norm", "latent")])
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4) and found[1][1] == pytest.approx(found[0][1], rel=1e-3)
    assert found[2][0] != pytest.approx(found[0][0], rel=1e-4)
    assert found[2][2][0] == pytest.approx(found[0][2][0], rel=1e-4)


def test_a_run_of_an_older_version_is_gone_on_with(shards: Path, tmp_path: Path, store: WeightStore):
    """It called a part of a step's batch `batch_size`, and counted parts."""
    settings = config(shards, tmp_path / "run", "optim.max_steps=3", "optim.batch_size=4", "checkpoint_every_steps=1")
    run = train(settings, store)
    kept = run / "checkpoint-00000004"  # two steps of the auto-encoder and two of three of the editor
    shutil.rmtree(run / "checkpoint-00000005")
    record = json.loads((kept / "state.json").read_text())
    assert record["state"]["batches"] == 4
    record["config"]["optim"] |= {"batch_size": 2, "accumulate": 2}
    del record["config"]["optim"]["micro_batch"], record["config"]["vae"]["block_channels"]
    record["config"]["vae_optim"]["accumulate"] = 1
    record["state"]["batches"] = 8
    (kept / "state.json").write_text(json.dumps(record))
    before = losses(run, "edit")
    train(settings, store)
    assert losses(run, "edit") == before


def test_moments_lie_as_their_weights_do(shards: Path, tmp_path: Path, store: WeightStore):
    run = train(config(shards, tmp_path / "run", "optim.max_steps=2", "checkpoint_every_steps=1"), store)
    weight = torch.nn.Parameter(torch.zeros(32, 16, 3, 3).to(memory_format=torch.channels_last))
    optimizer = make_optimizer([weight], OptimConfig())
    folder = run / "checkpoint-00000003"
    saved = load_file(folder / "optimizer.safetensors")
    place = next(int(k.split(".")[0]) for k, v in saved.items() if v.shape == weight.shape)
    ours = {k.replace(f"{place}.", "0.", 1): v for k, v in saved.items() if k.startswith(f"{place}.")}
    save_file(ours, folder / "optimizer.safetensors")
    load_moments(optimizer, folder)
    moments = optimizer.state[weight]
    assert moments["exp_avg"].stride() == moments["exp_avg_sq"].stride() == weight.stride()
    assert torch.equal(moments["exp_avg"], ours["0.exp_avg"]) and ours["0.exp_avg"].any()


def test_a_batch_that_processes_cannot_share_is_named(shards: Path, tmp_path: Path, store: WeightStore):
    class Three(Accelerator):
        num_processes = 3  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    settings = config(shards, tmp_path / "run", "optim.max_steps=2")
    trainer = Trainer(settings, build_task(settings, store), Three(cpu=True))
    with pytest.raises(ConfigError, match="a batch of 2 cannot be shared by 3 processes"):
        trainer.run_all()


def test_a_full_card_is_told_with_the_way_out(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr("model.train.train", full)
    assert main(["--data", str(shards), "--config", "model/configs/tiny.yaml", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "Tried to allocate 2.00 GiB" in said and "optim.micro_batch=N: gradients stay the same" in said
    assert "more" not in said and "benchmarks.count" in said


def test_a_broken_file_of_settings_is_one_line(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    broken = tmp_path / "broken.yaml"
    broken.write_text("optim: {max_steps: [1\n")
    assert main(["--data", str(shards), "--config", str(broken), "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {broken}: while parsing") and said.count("\n") == 1


def test_motion_is_learnt_and_loaded(shards: Path, tmp_path: Path, store: WeightStore):
    settings = [
        "optim.max_steps=70",
        "optim.batch_size=4",
        "loader.window_frames=20",
        "a2m.components=8",
        "a2m.dropout=0",
        "a2m.feature_noise=0",
        "a2m.lip_weight=0",  # the drawn lips are not those of the fit
        "a2m.sync_weight=0",
        "a2m.coefficient_weight=1",
        "optim.lr=3e-3",
    ]
    run = train(config(shards, tmp_path / "a2m", *settings, preset="a2m"), store)
    position = losses(run, "motion", "position")
    assert sum(position[-10:]) < 0.7 * sum(position[:10])
    motion, _, facts = load_trained(run, "a2m", store)
    assert facts.exp_dim == 52
    assert motion(torch.randn(1, 41, 40)).shape == (1, 20, 52)
    with pytest.raises(ConfigError, match="trained a2m, not editor"):
        load_trained(run, "editor", store)


def test_joygen_on_shards_of_other_features_says_how_to_make_them(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given = ["--data", str(shards), "--config", "model/configs/joygen.yaml", "--out", str(tmp_path / "run")]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert "cross_attention_dim is 384, the audio tokens of these shards (counting) have 8" in said
    assert "features.model=tiny features.max_abs=null" in said and "python -m pipeline.weights --all" in said


def test_joygen_without_its_weights_says_where_to_get_them(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(WeightStore, "from_environment", staticmethod(lambda: WeightStore(tmp_path, fetch=False)))
    given = ["--data", str(shards), "--config", "model/configs/joygen.yaml", "--out", str(tmp_path / "run")]
    assert main([*given, "unet.cross_attention_dim=8"]) == 2
    assert "sd-vae-ft-mse.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [("optim.lrr=1", "lrr"), ("optim.batch_size=many", "many"), ("task=paint", "task=paint must be one of")],
)
def test_bad_settings_are_named(
    shards: Path, tmp_path: Path, setting: str, message: str, capsys: pytest.CaptureFixture[str]
):
    given = ["--data", str(shards), "--config", "model/configs/tiny.yaml", "--out", str(tmp_path / "run"), setting]
    assert main(given) == 2
    assert message in capsys.readouterr().err


def test_settings_of_an_older_version_are_read():
    values = as_dict(TrainConfig(seed=3))
    values["a2m"]["face_model"] = values["gone"] = None
    del values["loader"]["face_model"]
    assert load_dict(TrainConfig, values) == TrainConfig(seed=3)
    with pytest.raises(ConfigError, match="three"):
        load_dict(TrainConfig, values | {"seed": "three"})


def test_schedule():
    optim = OptimConfig(max_steps=100, lr=1.0, lr_end=0.2, warmup_steps=9, max_minutes=1.0)
    assert learning_rate(optim, 0.0, 0) == pytest.approx(0.1)
    assert learning_rate(optim, 0.5, 50) == pytest.approx(0.6)
    assert learning_rate(optim, 1.0, 100) == pytest.approx(0.2)
    assert progress_of(optim, 25, 0.0) == 0.25
    assert progress_of(optim, 25, 30.0) == 0.5


def test_a_preset_is_found_by_its_name_and_a_file_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("seed: 7")
    assert load_train(["tiny"]) == load_train([str(PRESETS / "tiny.yaml")])
    assert load_train(["tiny", "mine.yaml"]).seed == 7
    with pytest.raises(ConfigError, match="no such config file: tinny; presets are a2m, joygen"):
        load_train(["tinny"])
