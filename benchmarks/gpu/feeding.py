"""Throughput of the loader alone on this machine's cores, against the measured steps of the card."""

from __future__ import annotations

import os
import time

from benchmarks.gpu.lease import Lease, results
from benchmarks.gpu.material import drawn_shards
from model.shards.samples import EditorDataset, endless_loader
from model.training.config import load_train

WIDTH = 384
"""Width of Whisper tiny's tokens, which `joygen.yaml` reads."""


def run(lease: Lease) -> None:
    lease.attempt("loader", lambda: _feed(lease))


def _feed(lease: Lease) -> None:
    shards = lease.shards or drawn_shards(lease.work / f"shards-{WIDTH}", 4 if lease.small else 32, 60, WIDTH)
    config = load_train(["joygen"])
    workers = max(1, (os.cpu_count() or 2) - 1) if lease.device == "cuda" else 1
    batch = 8 if lease.small else 32
    dataset = EditorDataset(str(shards), "train", config.loader, config.augment, config.seed)
    batches = endless_loader(dataset, batch, 0, workers)
    for _ in range(2 * workers):  # the workers' start, and what they have made ready meanwhile
        next(batches)
    began, number = time.perf_counter(), 0
    while number < 4 or time.perf_counter() - began < min(12.0, lease.left_s / 2):
        next(batches)
        number += 1
    speed = number * batch / (time.perf_counter() - began)
    steps = [r["samples_per_s"] for r in results(lease.out) if r["what"].startswith("ours, bf16") and "mfu" in r]
    values = {"samples_per_s": speed, "workers": workers, "per_worker": speed / workers}
    if steps:
        values |= {"fastest_step": max(steps), "ok": speed > max(steps)}
    lease.tell("loader alone", **values)
