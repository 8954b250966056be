"""A step of `joygen.yaml`: samples a second, share of the card's arithmetic, memory against the count; the reference's.

Goals: twice the reference's samples a second in the same run, 40 % of the measured rate of bf16 matrix products, memory
within 10 % of what `benchmarks.count` says.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat

import torch

from benchmarks.gpu.lease import SMALL, SMALL_VAE, Lease, timed
from benchmarks.gpu.reference import ReferenceStep
from benchmarks.steps.counting import audio_width, bare_editor, count_step, editor_batch_of, needs_of
from benchmarks.steps.steps import Clock, Steps
from model.nets.editor import Editor, EditorLoss
from model.nets.vae import TinyVae
from model.training.config import TrainConfig, load_train
from model.training.devices import allow_tf32
from model.training.task import Phase

REFERENCE_BATCH = 16
FASTER, UTILISATION, MEMORY_ERROR = 2.0, 0.4, 0.1


@dataclass(frozen=True)
class Rates:
    """Measured matrix products of this card, in operations a second."""

    bf16: float
    tf32: float


def run(lease: Lease) -> None:
    allow_tf32()
    settings = (*SMALL, SMALL_VAE) if lease.small else ()
    config = load_train(["joygen"], list(settings))
    rates = Rates(*(_product_rate(lease, half) for half in (True, False)))
    lease.tell("matrix products", bf16_tflops=rates.bf16 / 1e12, tf32_tflops=rates.tf32 / 1e12)
    batch = 2 if lease.small else REFERENCE_BATCH
    reference: list[float] = []
    lease.attempt("reference", partial(_reference, lease, config, batch, rates, reference))
    for compiled in (False,) if lease.small else (False, True):
        what = f"ours, {'compiled' if compiled else 'eager'}"
        lease.attempt(f"{what}, batch {batch}", partial(_ours, lease, config, batch, compiled, rates, reference))
    if not lease.small:
        memory_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        largest = needs_of(config).samples_in(memory_gib) // 8 * 8
        for compiled in (True, False):
            what = f"ours, {'compiled' if compiled else 'eager'}, batch {largest}, the largest counted to fit"
            lease.attempt(what, partial(_ours, lease, config, largest, compiled, rates, reference))
        sparse = replace(config, loss=replace(config.loss, pixel_every=4))
        what = f"ours, compiled, batch {batch}, pixel_every 4"
        lease.attempt(what, partial(_ours, lease, sparse, batch, True, rates, reference))


def _product_rate(lease: Lease, half: bool) -> float:
    size = 512 if lease.small else 8192
    kind = torch.bfloat16 if half else torch.float32
    a, b = (torch.randn(size, size, device=lease.device, dtype=kind) for _ in range(2))
    return 2 * size**3 / timed(lease.device, lambda: a @ b, 0.2 if lease.small else 1.0)


def _editor(lease: Lease, config: TrainConfig) -> Editor:
    torch.manual_seed(0)
    with torch.device(lease.device):
        editor = bare_editor(config).requires_grad_(False)
    editor.unet.requires_grad_(True)
    return editor


def _batch_of(lease: Lease, config: TrainConfig, number: int, with_depth: int) -> dict[str, torch.Tensor]:
    tokens = config.loader.audio_steps * config.loader.audio_layers
    return editor_batch_of(number, with_depth, audio_width(config.unet), tokens, lease.device)


def _reference(lease: Lease, config: TrainConfig, number: int, rates: Rates, reference: list[float]) -> None:
    step = ReferenceStep(_editor(lease, config), config.optim, _batch_of(lease, config, number, number))
    seconds, memory_gib = _measured(lease, step, 12)
    reference.append(number / seconds)
    flop = count_step(replace(config, augment=replace(config.augment, depth_drop_prob=0.0)), number).flop
    utilisation = flop / seconds / rates.tf32
    lease.tell(
        "reference, float32 with TF32", batch=number, samples_per_s=number / seconds, of_tf32=utilisation,
        memory_gib=memory_gib,
    )  # fmt: skip


def _ours(lease: Lease, config: TrainConfig, number: int, compiled: bool, rates: Rates, reference: list[float]) -> None:
    editor = _editor(lease, config)
    editor.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if not isinstance(editor.vae, TinyVae):
        editor.vae.to(torch.bfloat16)
    drawn = round(number * (1 - config.augment.depth_drop_prob))
    phase = Phase("edit", config.optim, editor.unet, EditorLoss(editor, config.loss))
    batches = repeat(_batch_of(lease, config, number, drawn))
    steps = Steps(phase, editor, batches, torch.device(lease.device), half=True, compiled=compiled)
    seconds, memory_gib = _measured(lease, lambda: _step(steps), 12)
    counted = count_step(config, number)
    utilisation, speed = counted.flop / seconds / rates.bf16, number / seconds
    counted_gib = counted.peak_bytes / 2**30
    way = f"{'compiled' if compiled else 'eager'}, pixel_every {config.loss.pixel_every}"
    values = {"batch": number, "samples_per_s": speed, "mfu": utilisation, "memory_gib": memory_gib}
    ok: dict[str, bool] = {}
    if reference:
        values["times_reference"] = speed / reference[0]
        if not lease.small:
            ok["ok"] = bool(speed >= FASTER * reference[0] and utilisation >= UTILISATION)
    if not compiled and memory_gib:
        ok["counted_rightly"] = abs(memory_gib / counted_gib - 1) < MEMORY_ERROR
    lease.tell(f"ours, bf16, {way}", **values, counted_gib=counted_gib, **ok)
    clock = Clock(torch.device(lease.device))
    number_timed = 1 if lease.small else 3
    for _ in range(number_timed):
        steps.one(1, clock)
    parts = {name: round(s / number_timed * 1e3, 2) for name, s in clock.seconds.items()}
    lease.tell(f"ours, bf16, {way}: ms by part", batch=number, **parts)


def _step(steps: Steps) -> None:
    steps.loss(steps.batch()).backward()
    steps.update(1)


def _measured(lease: Lease, step: Callable[[], None], seconds: float) -> tuple[float, float]:
    """Seconds a step, and GiB at most (0 on a CPU)."""
    gc.collect()
    if lease.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    each = timed(lease.device, step, 0.1 if lease.small else min(seconds, max(lease.left_s / 4, 1)))
    return each, torch.cuda.max_memory_allocated() / 2**30 if lease.device == "cuda" else 0.0
