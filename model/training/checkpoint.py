"""Checkpoints: safetensors and one JSON state, in a folder that appears whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from stages.core.storage import staging_name

KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class State:
    """Progress of a run.

    Args:
        phase: index of the current or next phase.
        phase_step: optimizer steps done in the phase.
        step: optimizer steps of the run.
        batches: batches taken from the loader over all phases, which is its position.
        elapsed_s: wall time spent in the phase.
        finished: whether the last phase has ended.
    """

    phase: int = 0
    phase_step: int = 0
    step: int = 0
    batches: int = 0
    elapsed_s: float = 0.0
    finished: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read. `average` holds the moving average of the weights that the phase trains.

    Between phases it is empty, because a phase ends with the averages as weights.
    """

    state: State
    config: dict[str, Any]
    data: dict[str, Any]
    model: dict[str, Tensor]
    average: dict[str, Tensor]
    folder: Path


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def save_checkpoint(
    run: Path,
    state: State,
    config: dict[str, Any],
    data: dict[str, Any],
    model: dict[str, Tensor],
    average: dict[str, Tensor],
    optimizer: Optimizer | None,
) -> Path:
    """Write `run/checkpoint-STEP`, then drop all but the newest two."""
    target = run / f"checkpoint-{state.step:08d}"
    part = staging_name(target)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(_on_cpu(model), part / "model.safetensors")
    save_file(_on_cpu(average), part / "average.safetensors")
    moments = optimizer.state_dict()["state"] if optimizer else {}
    save_file(
        _on_cpu({f"{i}.{k}": v for i, s in moments.items() for k, v in s.items()}), part / "optimizer.safetensors"
    )
    record = {"state": vars(state), "config": config, "data": data, "rng": torch.get_rng_state().tolist()}
    (part / "state.json").write_text(json.dumps(record, indent=1))
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)
    for old in sorted(run.glob("checkpoint-*"))[:-KEPT_CHECKPOINTS]:
        shutil.rmtree(old)
    return target


def latest_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint of a run."""
    return max(run.glob("checkpoint-*"), default=None)


def read_checkpoint(folder: Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint's weights and state; moments are read by `load_moments`."""
    record = _of_today(json.loads((folder / "state.json").read_text()))
    place = str(device)
    model, average = (load_file(folder / f"{name}.safetensors", place) for name in ("model", "average"))
    return Checkpoint(State(**record["state"]), record["config"], record["data"], model, average, folder)


def _of_today(record: dict[str, Any]) -> dict[str, Any]:
    """A record of an older version in today's keys: its `batch_size` is now `micro_batch`, and counts differ."""
    for optim in (value for name, value in record["config"].items() if name.endswith("optim")):
        number = optim.pop("accumulate", 1)
        if number > 1:
            record["state"]["batches"] //= number
            optim["micro_batch"], optim["batch_size"] = optim["batch_size"], optim["batch_size"] * number
    return record


def load_moments(optimizer: Optimizer, folder: Path) -> None:
    """Load a checkpoint's moments into an optimizer over the same parameters, and its random state into torch."""
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in load_file(folder / "optimizer.safetensors").items():
        index, key = name.split(".", 1)
        like = parameters[int(index)]
        # In the parameter's memory format: fused and foreach updates are slow or fail with another one.
        placed = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        state.setdefault(int(index), {})[key] = placed
    optimizer.load_state_dict(cast(dict[str, Any], {**optimizer.state_dict(), "state": state}))
    rng = json.loads((folder / "state.json").read_text())["rng"]
    torch.set_rng_state(torch.tensor(rng, dtype=torch.uint8))
