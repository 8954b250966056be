"""Kill processes of a run at random, many times, and compare its data set with that of an undisturbed run.

    python -m benchmarks.soak --kills 200 --out out/soak

Three raylets on this machine are a cluster: one without CPUs that holds the head, two that work. A driver runs the main
job on a small corpus; workers, the coordinator, raylets and the driver itself are killed with SIGKILL at random times.
When a driver dies the same command is run again. A round ends when the job has come through; then it is run once more
undisturbed, and its data set is compared with one that nobody disturbed: ledger and shards, row by row.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow.parquet as pq
from ray.cluster_utils import Cluster

from manifests.demo.corpus import make_corpus
from stages.core.command import command, make_parser
from stages.core.weights import WeightStore

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("clean_astronaut_1", "no_audio", "truncated", "not_a_video")
NUM_TEXTS = 20
"""Number of sources that end early, so that many rows are in flight beside the few long ones."""
TIMELESS = ("retrieved_at", "versions", "media_path")
"""Columns of times and places, which differ between runs."""


@dataclass
class Chaos:
    """A cluster of raylets whose processes are killed at random."""

    rng: random.Random
    killed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        environment = {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "PYANNOTE_METRICS_ENABLED": "0"}
        os.environ.update(environment)
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.workers = [self._add() for _ in range(2)]

    def _add(self):
        return self.cluster.add_node(num_cpus=2, object_store_memory=300_000_000)

    def strike(self, driver: subprocess.Popen) -> None:
        """Kill one process of a random kind, if there is one."""
        kind = self.rng.choices(("worker", "coordinator", "raylet", "driver"), (12, 2, 2, 2))[0]
        if kind == "driver":
            driver.kill()
        elif kind == "raylet":
            victim = self.rng.randrange(2)
            self.cluster.remove_node(self.workers[victim], allow_graceful=False)
            self.workers[victim] = self._add()
        else:
            name = "ray::MapWorker" if kind == "worker" else "ray::Coordinator"
            found = [pid for pid, shown in self._processes() if name in shown]
            if not found:
                return
            _kill(self.rng.choice(found))
        self.killed[kind] += 1

    def _processes(self) -> list[tuple[int, str]]:
        """Workers of this cluster alone."""
        raylets = [node.all_processes["raylet"][0].process.pid for node in self.cluster.list_all_nodes()]
        found = [child for pid in raylets if psutil.pid_exists(pid) for child in psutil.Process(pid).children()]
        return [(child.pid, shown) for child in found if (shown := _shown(child))]

    def close(self) -> None:
        self.cluster.shutdown()


def _shown(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def make_sources(folder: Path, weights: WeightStore) -> Path:
    """A manifest of a few real videos and many files that are no videos."""
    make_corpus(folder, weights, names=NAMES)
    manifest = folder / "soak.jsonl"
    texts = [folder / "texts" / f"text_{number}.mp4" for number in range(NUM_TEXTS)]
    texts[0].parent.mkdir(exist_ok=True)
    for path in texts:
        path.write_text(f"{path.stem}: no video at all")
    paths = [*sorted((folder / "videos").iterdir()), *texts]
    manifest.write_text("".join(json.dumps({"id": path.stem, "uri": str(path)}) + "\n" for path in paths))
    return manifest


def fingerprint(out: Path) -> dict[str, str]:
    """Hash of every row of the ledger and of all shards, by name; also checks that nothing unfinished is visible."""
    files = [out / "ledger.parquet", *sorted((out / "shards").glob("*.parquet"))]
    rows: dict[str, str] = {}
    for file in files:
        table = pq.read_table(file)
        table = table.drop([name for name in TIMELESS if name in table.column_names])
        for row in table.to_pylist():
            name = f"{file.name} {row['row_id']}"
            if name in rows:
                raise AssertionError(f"{name} is there twice")
            rows[name] = hashlib.sha256(repr(sorted(row.items())).encode()).hexdigest()
    for part in (out / "parts").glob("*.parquet"):
        pq.ParquetFile(part).close()
    return rows


def run(manifest: Path, out: Path, address: str | None, log: Path) -> subprocess.Popen:
    command = [sys.executable, "pipeline/run.py", "--manifest", str(manifest), "--out", str(out)]
    command += ["run.wave_sources=15", *([f"run.ray_address={address}"] if address else [])]
    with log.open("ab") as file:
        return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)


def soak(chaos: Chaos, manifest: Path, folder: Path, wanted: Callable[[], bool], mean_s: float) -> list[Path]:
    """Rounds of disturbed runs as long as `wanted` says; returns their data sets."""
    outs: list[Path] = []
    log = folder / "soak.log"
    while wanted():
        out = folder / f"round_{len(outs):02d}"
        driver = run(manifest, out, chaos.cluster.address, log)
        while True:
            try:
                code = driver.wait(chaos.rng.expovariate(1 / mean_s))
            except subprocess.TimeoutExpired:
                if wanted():
                    chaos.strike(driver)
                continue
            if code == 0:
                break
            driver = run(manifest, out, chaos.cluster.address, log)
        for _ in range(2):  # records that were set aside are tried again
            if run(manifest, out, chaos.cluster.address, log).wait():
                raise RuntimeError(f"the undisturbed run after round {len(outs)} failed; see {log}")
        outs.append(out)
        print(f"round {len(outs)}: {dict(chaos.killed)}", flush=True)
    return outs


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.soak", __doc__)
    parser.add_argument("--out", type=Path, default=Path("out/soak"))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=600.0, help="no kills after these")
    parser.add_argument("--mean-s", type=float, default=8.0, help="mean time between two kills")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    folder = args.out.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    manifest = make_sources(folder / "corpus", WeightStore.from_environment())
    start_s = time.monotonic()
    if run(manifest, folder / "undisturbed", None, folder / "undisturbed.log").wait():
        raise RuntimeError(f"the undisturbed run failed; see {folder / 'undisturbed.log'}")
    expected = fingerprint(folder / "undisturbed")
    print(f"undisturbed: {len(expected)} rows in {time.monotonic() - start_s:.0f} s", flush=True)
    chaos = Chaos(random.Random(args.seed))
    try:
        end_s = time.monotonic() + args.minutes * 60
        more = lambda: sum(chaos.killed.values()) < args.kills and time.monotonic() < end_s  # noqa: E731
        outs = soak(chaos, manifest, folder, more, args.mean_s)
    finally:
        chaos.close()
    print("| killed | times |\n|---|---|")
    for kind, number in chaos.killed.most_common():
        print(f"| {kind} | {number} |")
    for out in outs:
        found = fingerprint(out)
        wrong = {name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)}
        print(f"{out.name}: {len(found)} rows, {len(wrong)} differ {sorted(wrong)[:5]}")
    print(f"{(time.monotonic() - start_s) / 60:.0f} min")


if __name__ == "__main__":
    raise SystemExit(main())
