"""Training of the editor, with its own auto-encoder where the preset has one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from model.nets.editor import Editor, EditorLoss, VaeLoss, to_bytes, to_signed
from model.nets.vae import TinyVae, build_vae
from model.shards.samples import EditorDataset, editor_batch
from model.training.config import TrainConfig
from model.training.devices import inference, is_half
from model.training.grids import editor_grid
from model.training.task import DataFacts, Phase, audio_shape
from stages.core.settings import ConfigError
from stages.core.tensors import read_tensors
from stages.core.weights import WeightStore


def build_editor(config: TrainConfig, facts: DataFacts, weights: WeightStore, published: bool = True) -> Editor:
    """The editor of a configuration.

    Args:
        published: start from the published weights that the configuration names; False where a checkpoint follows.
    Raises:
        DataError, ConfigError: the configuration does not fit the shards' features.
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
        editor.unet.load_state_dict(read_state(Path(config.unet.path)))
    return editor


def read_state(path: Path) -> dict[str, Tensor]:
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
        with inference(device.type):
            if phase.name == "vae":
                output = self.module.vae.decode(self.module.vae.encode(to_signed(batch["target"])))
            else:
                output = self.module(batch).image
        editor_grid(path, batch, to_bytes(output))
