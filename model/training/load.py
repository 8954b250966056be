"""Tasks by name: the editor (with its own auto-encoder in the tiny preset), audio-to-motion and Wav2Lip.

A task owns the data set and the module, and names the phases of its training in order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.nets.a2m import A2m
from model.nets.editor import Editor
from model.nets.vae import TinyVae
from model.training.a2m_task import A2mTask
from model.training.checkpoint import Checkpoint, latest_checkpoint, read_checkpoint
from model.training.config import TrainConfig
from model.training.devices import allow_tf32
from model.training.editor_task import EditorTask, build_editor
from model.training.task import DataFacts, Task
from stages.core.settings import ConfigError, load_dict
from stages.core.weights import WeightStore


def build_task(config: TrainConfig, weights: WeightStore) -> Task:
    if config.task == "editor":
        return EditorTask(config, weights)
    if config.task == "a2m":
        return A2mTask(config)
    if config.task == "wav2lip":
        from model.training.wav2lip_task import Wav2lipTask

        return Wav2lipTask(config)
    raise ConfigError(f"task is {config.task!r}, want editor, a2m or wav2lip")


def load_saved(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load the state of `Task.saved`: everything but a published auto-encoder."""
    result = module.load_state_dict(state, strict=False)
    missing = [name for name in result.missing_keys if not name.startswith("vae.net.")]
    if missing or result.unexpected_keys:
        raise ConfigError(f"the checkpoint does not fit its configuration: {[*missing, *result.unexpected_keys][:5]}")


def load_trained(run: Path, task: str, weights: WeightStore, device: str = "cpu") -> tuple[Any, TrainConfig, DataFacts]:
    """The newest model of a run, averaged weights, ready for inference.

    Args:
        task: a2m, or editor for any network that returns `Edited` for the editor's batch, including Wav2Lip.
    Raises:
        ConfigError: there is no such run, it trained something else, or its auto-encoder has not been trained yet.
    """
    checkpoint = _newest(run)
    config = load_dict(TrainConfig, checkpoint.config)
    if config.task != task and (config.task, task) != ("wav2lip", "editor"):
        raise ConfigError(f"{run} trained {config.task}, not {task}")
    facts = DataFacts(**checkpoint.data)
    if task == "a2m":
        module = A2m(config.a2m, facts.whisper_dim, facts.exp_dim)
    elif config.task == "wav2lip":
        from model.training.wav2lip_task import build_wav2lip

        module = build_wav2lip(config, facts)
    else:
        module = build_editor(config, facts, weights, published=False)
    if not checkpoint.state.finished and all(name.startswith(("vae.", "expert.")) for name in checkpoint.average):
        raise ConfigError(f"{run} has trained no more than its auto-encoder yet: let `python -m model.train` go on")
    load_saved(module, {**checkpoint.model, **checkpoint.average})
    if device.startswith("cuda"):
        allow_tf32()
        if isinstance(module, Editor) and not isinstance(module.vae, TinyVae):
            module.vae.to(torch.bfloat16)
        if task == "editor":
            module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return module.to(device).eval().requires_grad_(False), config, facts


def _newest(run: Path) -> Checkpoint:
    folder = latest_checkpoint(run)
    if folder is None:
        raise ConfigError(f"{run} holds no checkpoint: give the --out folder of a `python -m model.train` run")
    return read_checkpoint(folder)
