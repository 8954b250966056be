"""Gradients of the editor in bf16, eager and compiled, against float32: every parameter, on random data."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from benchmarks.gpu.lease import Lease
from benchmarks.steps.counting import audio_width, bare_editor, editor_batch_of
from model.nets.editor import Editor, EditorLoss
from model.nets.vae import TinyVae
from model.training.config import TrainConfig, load_train

SAMPLES = 4
"""Samples of a batch; two on a CPU."""
WORST = 0.25
"""Largest relative error of a parameter's gradient in bf16, which keeps 8 bits over a hundred layers."""


PRESETS: dict[str, tuple[str, ...]] = {"joygen": (), "small": ()}
CPU_PRESETS = {"tiny": ("unet.block_channels=[8,16]", "unet.num_groups=4")}


def run(lease: Lease) -> None:
    for preset, settings in (CPU_PRESETS if lease.small else PRESETS).items():
        config = load_train([preset], list(settings))
        lease.attempt(preset, partial(_compare, lease, preset, config))


def _compare(lease: Lease, preset: str, config: TrainConfig) -> None:
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    number = 2 if lease.small else SAMPLES
    tokens = config.loader.audio_steps * config.loader.audio_layers
    editor = bare_editor(config).to(lease.device).requires_grad_(False)
    editor.unet.requires_grad_(True)
    batch = editor_batch_of(number, number // 2, audio_width(config.unet), tokens, lease.device)
    loss = EditorLoss(editor, replace(config.loss, mouth=1.0))
    exact = _gradients(lease, editor, loss, batch, half=False)
    editor.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if not isinstance(editor.vae, TinyVae):
        editor.vae.to(torch.bfloat16)
    compiled = cast(nn.Module, torch.compile(loss))
    for way, network in (("bf16, eager", loss), ("bf16, compiled", compiled)):
        lease.attempt(f"{preset}, {way}", partial(_tell, lease, f"{preset}, {way}", editor, network, batch, exact))


def _tell(
    lease: Lease, what: str, editor: Editor, network: nn.Module, batch: dict[str, Tensor], exact: dict[str, Tensor]
) -> None:
    found = _gradients(lease, editor, network, batch, half=True)
    errors = {name: float((found[name] - g).norm() / g.norm().clamp_min(1e-12)) for name, g in exact.items()}
    zero = sum(bool(g.any()) and not found[name].any() for name, g in exact.items())
    whole, truth = (torch.cat([gradients[name].flatten() for name in exact]) for gradients in (found, exact))
    error = float((whole - truth).norm() / truth.norm())
    worst = max(errors, key=lambda name: errors[name])
    values = {"parameters": len(exact), "lost": zero, "error": error, "worst": errors[worst], "of": worst}
    lease.tell(what, **values, tolerance=WORST, ok=bool(zero == 0 and error < WORST))


def _gradients(
    lease: Lease, editor: Editor, network: nn.Module, batch: dict[str, Tensor], half: bool
) -> dict[str, Tensor]:
    editor.zero_grad()
    with torch.autocast(lease.device, torch.bfloat16, enabled=half):
        value, _ = network(batch)
    value.backward()
    return {n: p.grad.float().clone() for n, p in editor.unet.named_parameters() if p.grad is not None}
