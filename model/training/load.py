"""What can be trained: the editor (with its own auto-encoder, for the tiny preset) and audio-to-motion.

A task owns the data set and the module, and names the phases of its training in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from model.nets.a2m import A2m
from model.nets.editor import Editor, EditorLoss, VaeLoss, to_bytes, to_signed
from model.nets.vae import TinyVae, build_vae
from model.shards.mouth_depth import fitted_model
from model.shards.samples import ClipTable, EditorDataset, MotionDataset, editor_batch
from model.training.checkpoint import Checkpoint, latest_checkpoint, read_checkpoint
from model.training.config import LoaderConfig, OptimConfig, TrainConfig, load_dict
from model.training.devices import allow_tf32, inference, is_half
from model.training.grids import editor_grid, motion_chart
from model.training.lip_loss import A2mLoss, LipModes, needs_face
from model.training.motion_start import motion_start
from stages.core.settings import ConfigError
from stages.core.tensors import read_tensors
from stages.core.weights import WeightStore
from stages.lipsync.lip_sound import LipSound

Batch = dict[str, Tensor]
START_CLIPS = 256
"""From which audio-to-motion's regression is found: half an hour of speech."""


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Args:
        trained: its parameters alone change.
        loss: makes a batch's loss, and the parts to be logged, of `trained`; it is what is compiled and wrapped for
            several processes.
    """

    name: str
    optim: OptimConfig
    trained: nn.Module
    loss: nn.Module


@dataclass(frozen=True)
class DataFacts:
    """What a trained model needs to know of the shards it was trained on."""

    whisper_model: str
    whisper_dim: int
    geometry_model: str
    exp_dim: int

    @staticmethod
    def of(table: ClipTable) -> DataFacts:
        return DataFacts(table.whisper_model, table.whisper_dim, table.geometry_model, table.exp_dim)


def build_editor(config: TrainConfig, facts: DataFacts, weights: WeightStore, published: bool = True) -> Editor:
    """The editor of a configuration.

    Args:
        published: start from the published weights that the configuration names; False where a checkpoint follows.
    Raises:
        ConfigError: the configuration does not fit the shards' features.
        MissingWeights: the published auto-encoder is nowhere to be had.
    """
    tokens, width = audio_shape(config.loader, facts)
    if config.unet.cross_attention_dim not in (None, width):
        raise ConfigError(
            f"unet.cross_attention_dim is {config.unet.cross_attention_dim}, the audio tokens of these shards "
            f"({facts.whisper_model}) have {width}. Set unet.cross_attention_dim={width}, or make shards that fit: 384 "
            "is features.model=tiny features.max_abs=null, whose model file `python -m pipeline.weights --all` fetches"
        )
    editor = Editor(config.unet, build_vae(config.vae, weights.path), config.vae.latent_channels, width, tokens)
    if published and config.unet.path is not None:
        editor.unet.load_state_dict(_read_state(Path(config.unet.path)))
    return editor


def audio_shape(config: LoaderConfig, facts: DataFacts) -> tuple[int, int]:
    """Audio tokens of a frame, and their width.

    Raises:
        ConfigError: the shards' features are not of as many layers.
    """
    layers = config.audio_layers
    if facts.whisper_dim % layers:
        raise ConfigError(
            f"{facts.whisper_model} gives {facts.whisper_dim} numbers a step, which loader.audio_layers={layers} "
            "does not divide"
        )
    return config.audio_steps * layers, facts.whisper_dim // layers


def _read_state(path: Path) -> dict[str, Tensor]:
    """A published U-Net: safetensors, or a torch file of plain tensors; a `unet.` or `module.` prefix is taken off."""
    from safetensors.torch import load_file

    state = load_file(path) if path.suffix == ".safetensors" else read_tensors(path)
    if all(name.startswith(("unet.", "module.")) for name in state):
        state = {name.split(".", 1)[1]: value for name, value in state.items()}
    return state


class EditorTask:
    """Phases: `vae` where the auto-encoder is our own, then `edit`."""

    def __init__(self, config: TrainConfig, weights: WeightStore) -> None:
        self._config = config
        augment = config.augment
        if not config.unet.use_depth:
            augment = replace(augment, depth_drop_prob=1.0)
        self.dataset = EditorDataset(config.data, "train", config.loader, augment, config.seed)
        if augment.depth_drop_prob < 1:
            self.dataset.table.face()  # missing, it is told before the first sample
        self.facts = DataFacts.of(self.dataset.table)
        self.module = build_editor(config, self.facts, weights)
        vae = self.module.vae
        self.phases = [Phase("edit", config.optim, self.module.unet, EditorLoss(self.module, config.loss))]
        if isinstance(vae, TinyVae):
            self.phases.insert(0, Phase("vae", config.vae_optim, vae, VaeLoss(vae)))
        elif is_half(config.precision, config.device):
            vae.to(torch.bfloat16)

    def start(self) -> None:
        """Before the first step of a fresh run."""
        if isinstance(self.module.vae, TinyVae):
            number = self._config.vae.init_images
            stride = max(1, self.dataset.plan.samples_per_epoch // number)
            images = torch.stack([self.dataset[i * stride]["target"] for i in range(number)])
            self.module.vae.start_from(to_signed(images))

    def saved(self) -> dict[str, Tensor]:
        """Weights that a checkpoint must hold: all but those of a published auto-encoder."""
        state = self.module.state_dict()
        return {name: value for name, value in state.items() if not name.startswith("vae.net.")}

    def preview(self, phase: Phase, path: Path) -> None:
        """Reference, masked, depth, output and truth of fixed samples, as one PNG."""
        step = max(1, self.dataset.plan.samples_per_epoch // self._config.grid_samples)
        device = next(self.module.unet.parameters()).device
        samples = editor_batch([self.dataset[i * step] for i in range(self._config.grid_samples)])
        batch = {name: value.to(device) for name, value in samples.items()}
        with inference(device):
            if phase.name == "vae":
                output = self.module.vae.decode(self.module.vae.encode(to_signed(batch["target"])))
            else:
                output = self.module(batch).image
        editor_grid(path, batch, to_bytes(output))


class A2mTask:
    """One phase, `motion`."""

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self.dataset = MotionDataset(config.data, "train", config.loader, config.seed)
        self.facts = DataFacts.of(self.dataset.table)
        self.module = A2m(config.a2m, self.facts.whisper_dim, self.facts.exp_dim)
        face = None
        if needs_face(config.a2m):
            face = LipModes.of(fitted_model(config.loader.face_model, self.facts.geometry_model))
        loss = A2mLoss(self.module, face, LipSound.load())
        self.phases = [Phase("motion", config.optim, self.module, loss)]

    def start(self) -> None:
        number = min(len(self.dataset.table), START_CLIPS)
        clips = lambda: map(self.dataset.whole, range(number))  # noqa: E731 - read twice and more
        self.module.start_from(motion_start(clips, self._config.a2m))

    def saved(self) -> dict[str, Tensor]:
        return self.module.state_dict()

    def preview(self, _phase: Phase, path: Path) -> None:
        """The liveliest coefficients of one sequence, predicted and true, as one PNG."""
        sample = self.dataset[0]
        device = next(self.module.parameters()).device
        with torch.no_grad():
            predicted = self.module(sample["whisper"][None].to(device))[0].cpu().numpy()
        motion_chart(path, predicted, sample["exp"].numpy())


@runtime_checkable
class Task(Protocol):
    """What the trainer needs."""

    @property
    def dataset(self) -> Dataset[Batch]: ...
    @property
    def module(self) -> nn.Module: ...

    facts: DataFacts
    phases: list[Phase]

    def start(self) -> None: ...
    def saved(self) -> dict[str, Tensor]: ...
    def preview(self, _phase: Phase, path: Path, /) -> None: ...


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
    """Load what `Task.saved` gave: everything but a published auto-encoder."""
    result = module.load_state_dict(state, strict=False)
    missing = [name for name in result.missing_keys if not name.startswith("vae.net.")]
    if missing or result.unexpected_keys:
        raise ConfigError(f"the checkpoint does not fit its configuration: {[*missing, *result.unexpected_keys][:5]}")


def load_trained(run: Path, task: str, weights: WeightStore, device: str = "cpu") -> tuple[Any, TrainConfig, DataFacts]:
    """The newest model of a run, averaged weights, ready for inference.

    Args:
        task: a2m, or editor: whatever makes `Edited` of the editor's batch, so that Wav2Lip is one, too.
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
