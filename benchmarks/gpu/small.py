"""`small.yaml` trained for the time that is left, on the shards that were brought or on drawn speakers."""

from __future__ import annotations

import json
import shutil

from benchmarks.gpu.lease import SMALL, Lease
from benchmarks.gpu.material import drawn_shards
from model.train import train
from model.training.config import load_train
from stages.core.weights import WeightStore

WIDTH = 384
LEFT_FOR_START_S = 25.0
CURVE_POINTS = 12


def run(lease: Lease) -> None:
    lease.attempt("small.yaml", lambda: _train(lease))


def _train(lease: Lease) -> None:
    shards = lease.shards or drawn_shards(lease.work / f"shards-{WIDTH}", 4 if lease.small else 32, 60, WIDTH)
    store, out = WeightStore.from_environment(), lease.work / "small"
    given = [f"data={shards}", f"out={out}", f"device={'cpu' if lease.small else 'null'}", "log_every_steps=5"]
    if not all(store.has(name) for name in ("taef2_encoder", "taef2_decoder")):
        lease.skip("TAEF2", "not in KOUXING_WEIGHTS: the preset trains its own auto-encoder, which is another model")
        given += ["vae={kind: tiny, latent_channels: 16}", "vae_optim={max_steps: 200, batch_size: 16, lr: 2.0e-3}"]
        given += ["vae_optim.max_steps=2", "vae_optim.batch_size=2"] if lease.small else []
    if lease.small:
        given += [*SMALL, "optim.batch_size=2", "optim.max_steps=4", "loader.num_workers=0", "log_every_steps=1"]
    minutes = max(lease.left_s - (5 if lease.small else LEFT_FOR_START_S), 3.0) / 60
    config = load_train(["small"], [*given, f"optim.max_minutes={minutes:.3f}"])
    train(config, store)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    edits = [record for record in records if record["phase"] == "edit"]
    shutil.copy(out / "metrics.jsonl", lease.out / "small.jsonl")
    shutil.copy(out / "grids" / "final.png", lease.out / "small.png")
    chosen = edits[:: max(1, len(edits) // CURVE_POINTS)]
    curve = " ".join(f"{record['step']}:{record['loss']:.3f}" for record in chosen)
    fallen = lease.small or edits[-1]["loss"] < edits[0]["loss"]
    lease.tell(
        "small.yaml", steps=edits[-1]["step"], samples_per_s=edits[-1]["steps_per_s"] * config.optim.batch_size,
        loss=curve, grid="small.png", ok=fallen,
    )  # fmt: skip
