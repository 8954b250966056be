"""What a training step of the editor takes, counted with fake tensors, which have shapes and no numbers."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode  # where torch's own documentation takes it from
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from model.nets.editor import Editor, EditorLoss
from model.nets.unet import UnetConfig
from model.nets.vae import TinyVae, build_vae
from model.train import Average, make_optimizer
from model.training.config import TrainConfig
from stages.core.records import CROP_PX

ALLOCATION_BYTES = 512
"""Granularity of CUDA's allocator."""
WORKSPACE_GIB = 4.0
"""Memory left free on a card for its context, a library's workspace, and the allocator's waste."""


class LiveBytes(TorchDispatchMode):
    """Counts bytes that tensors hold within its context: now, and the peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._hold(value)
        return out

    def _hold(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        size = -(-storage.nbytes() // ALLOCATION_BYTES) * ALLOCATION_BYTES
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._free, storage._cdata, size)

    def _free(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.now -= size


@dataclass(frozen=True)
class Count:
    """Floating-point operations and bytes of one step.

    Args:
        resting_bytes: weights, moments and averages, which stay between steps.
        peak_bytes: largest number at any time in a step.
    """

    flop: float
    resting_bytes: int
    peak_bytes: int


def editor_batch_of(number: int, with_depth: int, width: int, tokens: int, device: str = "cpu") -> dict[str, Tensor]:
    """A batch of the editor's shape; its numbers are random."""
    picture = (number, 3, CROP_PX, CROP_PX)
    batch = {name: torch.randint(0, 256, picture, dtype=torch.uint8, device=device) for name in ("target", "reference")}
    batch["mouth"] = torch.randint(0, 2, (number, 1, CROP_PX, CROP_PX), dtype=torch.uint8, device=device)
    batch["audio"] = torch.randn(number, tokens, width, device=device)
    if with_depth:
        depth = torch.randint(0, 256, (with_depth, 1, CROP_PX, CROP_PX), dtype=torch.uint8, device=device)
        batch |= {"depth": depth, "depth_of": torch.arange(with_depth, device=device)}
    return batch


def audio_width(unet: UnetConfig) -> int:
    """Width of an audio token; Whisper base's if it depends on the shards."""
    return unet.cross_attention_dim or 512


def bare_editor(config: TrainConfig) -> Editor:
    """The editor of a configuration with initial weights; no file is read."""
    tokens = config.loader.audio_steps * config.loader.audio_layers
    vae = build_vae(config.vae, None)
    return Editor(config.unet, vae, config.vae.latent_channels, audio_width(config.unet), tokens)


def count_step(config: TrainConfig, number: int) -> Count:
    """Count one step of the editor's training that takes `number` samples at once."""
    optim, loader = config.optim, config.loader
    with_depth = round(number * (1 - config.augment.depth_drop_prob)) if config.unet.use_depth else 0
    half = config.precision != "fp32"
    with FakeTensorMode(), LiveBytes() as live:
        editor = bare_editor(config).requires_grad_(False)
        if half and not isinstance(editor.vae, TinyVae):
            halved = {name: value.to(torch.bfloat16) for name, value in editor.vae.state_dict().items()}
            editor.vae.load_state_dict(halved, assign=True)  # `to` cannot swap fake tensors
        editor.unet.requires_grad_(True)
        loss = EditorLoss(editor, config.loss)
        trained = list(editor.unet.parameters())
        optimizer, average = make_optimizer(trained, optim), Average([], list(trained), optim.ema_decay)
        batch = editor_batch_of(number, with_depth, audio_width(config.unet), loader.audio_steps * loader.audio_layers)
        flop = 0.0
        for _ in range(2):  # the first makes the moments
            live.most = live.now
            with FlopCounterMode(display=False) as counter:
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    total, _ = loss(batch)
                total.backward()
            del total
            torch.nn.utils.clip_grad_norm_(trained, optim.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            average.update(1)
            flop = float(counter.get_total_flops())
        most = live.most
        del batch
        return Count(flop, live.now, most)


@dataclass(frozen=True)
class Needs:
    """What a preset's step takes: operations a sample, bytes between steps, and at its peak for all and for each."""

    flop: float
    resting_bytes: float
    fixed_bytes: float
    sample_bytes: float

    def samples_in(self, memory_gib: float) -> int:
        """Number of samples that a card of this memory takes at once; 0 for none."""
        return max(0, int((2**30 * (memory_gib - WORKSPACE_GIB) - self.fixed_bytes) / self.sample_bytes))


def needs_of(config: TrainConfig) -> Needs:
    """From the counts of two sizes, of which every n-th sample is decoded and half or so have depth."""
    few = math.lcm(2, config.loss.pixel_every)
    one, two = (count_step(config, number) for number in (few, 2 * few))
    each = (two.peak_bytes - one.peak_bytes) / few
    return Needs((two.flop - one.flop) / few, one.resting_bytes, one.peak_bytes - few * each, each)
