"""Two processes on one machine, joined by gloo, train like one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.train import train
from model.training.checkpoint import latest_checkpoint
from model.training.config import TrainConfig
from stages.core.settings import load_as
from stages.core.weights import WeightStore
from tests.model.test_train import TINY

PRESET = "model/configs/tiny.yaml"


def run_ranks(folder: Path, settings: list[str]) -> list[tuple[dict[str, torch.Tensor], dict[str, object]]]:
    """Weights and state of two ranks when they are done."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tests.model.one_rank", str(folder), PRESET, *settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        (load_file(folder / f"rank-{i}.safetensors"), json.loads((folder / f"rank-{i}.json").read_text()))
        for i in range(2)
    ]


@pytest.mark.cluster
def test_two_ranks_equal_one_process_with_the_same_batch(shards: Path, tmp_path: Path):
    same = [f"data={shards}", *TINY, "optim.max_steps=2", "vae.noise=0", "log_every_steps=1", "optim.batch_size=4"]
    ranks = run_ranks(tmp_path, [*same, f"out={tmp_path}/two"])
    assert all(torch.equal(ranks[0][0][k], v) for k, v in ranks[1][0].items())
    alone = [*same, f"out={tmp_path}/one", "optim.micro_batch=3"]
    train(load_as(TrainConfig, [Path(PRESET)], alone), WeightStore(tmp_path, fetch=False))
    logs = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("two", "one")]
    together, single = ([json.loads(line) for line in log] for log in logs)
    assert [r["phase"] for r in together] == ["vae", "vae", "edit", "edit"]
    assert [r["loss"] for r in together] == pytest.approx([r["loss"] for r in single], rel=1e-3)
    assert [r["grad_norm"] for r in together] == pytest.approx([r["grad_norm"] for r in single], rel=1e-2)


@pytest.mark.cluster
def test_ranks_end_a_timed_phase_together(shards: Path, tmp_path: Path):
    limits = ["vae_optim.max_minutes=0.02", "vae_optim.max_steps=10000", "optim.max_minutes=0.02"]
    (ours, state), (theirs, other) = run_ranks(tmp_path, [f"data={shards}", *TINY, *limits, f"out={tmp_path}/run"])
    assert state == other and state["finished"] and state["step"] > 2
    assert all(torch.equal(ours[k], v) for k, v in theirs.items())
    folder = latest_checkpoint(tmp_path / "run")
    assert folder is not None
    assert all(torch.equal(ours[k], v) for k, v in load_file(folder / "model.safetensors").items())
