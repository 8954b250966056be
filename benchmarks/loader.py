"""Time and size of training samples: our shards beside loose files, WebDataset and MosaicML Streaming.

    pip install --no-deps --target LIBS webdataset mosaicml-streaming brotli python-snappy cramjam zstd catalogue
    PYTHONPATH=LIBS python -m benchmarks.loader --data OUT/shards [--samples 4000] [--workers 2]

All four are written from the same clips (each several times), only what the editor reads, and read one after the
other, `--rounds` times in turn, each in a process of its own. A GPU's demand is counted, not measured: the
operations of a training step of `joygen.yaml`, at the share of an H100's peak that a step may reach.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch

from benchmarks.loader_layouts import LAYOUTS, Layout
from benchmarks.steps.counting import count_step
from model.shards.clips import EDITOR_COLUMNS, ClipTable, LoaderConfig
from model.training.config import TrainConfig
from stages.core.command import command, make_parser

T = TypeVar("T")
H100_BF16 = 989e12  # dense, FLOP/s; NVIDIA's data sheet
TOKENS = 50  # audio tokens of a frame
REACHED = 0.4  # share of the peak that well-tuned training of such networks reaches


def weigh(folder: Path) -> tuple[int, int]:
    """Bytes of all files, and bytes of the blocks that they fill."""
    stats = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(s.st_size for s in stats), sum(s.st_blocks * 512 for s in stats)


def measure(number: int, folder: Path, samples: int, batch: int, workers: int) -> tuple[float, float]:
    """Samples a second, and CPU milliseconds a sample over this process and its workers, start-up left out."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    batches = LAYOUTS[number].batches(folder, batch, workers)
    for _ in range(2 * workers + 1):
        next(batches)
    start, before = time.perf_counter(), _cpu_s()
    for _ in range(samples // batch):
        next(batches)
    return samples // batch * batch / (time.perf_counter() - start), (_cpu_s() - before) / samples * 1e3


def _cpu_s() -> float:
    """CPU seconds of this process and its living children."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ticks, total = os.sysconf("SC_CLK_TCK"), own.ru_utime + own.ru_stime
    parents: dict[int, tuple[int, float]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        parents[int(entry.name)] = (int(fields[1]), (int(fields[11]) + int(fields[12])) / ticks)
    ours = {os.getpid()}
    while found := {pid for pid, (parent, _) in parents.items() if parent in ours} - ours:
        ours |= found
    return total + sum(parents[pid][1] for pid in ours - {os.getpid()})


def write(number: int, data: str, copies: int, folder: Path) -> None:
    LAYOUTS[number].write(_clips(data, copies), folder)


def _clips(data: str, copies: int) -> ClipTable:
    table = ClipTable(data, "train", (*EDITOR_COLUMNS, "depth"), 2 * LoaderConfig().min_reference_frames)
    table.clips *= copies
    return table


def _alone(work: Callable[..., T], *given: object) -> T:
    """Run in a fresh process, whose workers may be of any kind."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def write_all(data: str, copies: int, root: Path) -> list[tuple[Layout, Path]]:
    made: list[tuple[Layout, Path]] = []
    for number, layout in enumerate(LAYOUTS):
        try:
            _alone(write, number, data, copies, root / str(number))
        except ImportError as error:
            print(f"{layout.name} is left out: {error}; the top of benchmarks/loader.py says how to get it")
            continue
        made.append((layout, root / str(number)))
    return made


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.loader", __doc__)
    parser.add_argument("--data", required=True, help="shards folder of a pipeline run")
    parser.add_argument("--copies", type=int, default=6, help="of each clip, to make a set too large to keep at hand")
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(arguments)
    table = _clips(args.data, args.copies)
    frames = sum(clip.num_frames for clip in table.clips)
    print(f"{len(table)} clips, {frames} frames, batch {args.batch}, {args.workers} workers, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        made = write_all(args.data, args.copies, Path(folder))
        results: dict[str, list[tuple[float, float]]] = {layout.name: [] for layout, _ in made}
        for _ in range(args.rounds):
            for layout, place in made:
                given = (LAYOUTS.index(layout), place, args.samples, args.batch, args.workers)
                results[layout.name].append(_alone(measure, *given))
        print("| layout | KB a frame | on disk | samples/s | CPU-ms a sample |\n|---|---|---|---|---|")
        for layout, place in made:
            size, blocks = (value / frames / 1000 for value in weigh(place))
            speed, cost = np.median(results[layout.name], axis=0)
            print(f"| {layout.name} | {size:.1f} | {blocks:.1f} | {speed:.0f} | {cost:.2f} |")
    flop = count_step(TrainConfig(), 2).flop / 2
    appetite = REACHED * H100_BF16 / flop
    cost_s = float(np.median(results[LAYOUTS[-1].name], axis=0)[1]) / 1e3
    print(
        f"joygen.yaml: {flop / 1e12:.2f} TFLOP a sample; at {REACHED:.0%} of an H100's peak {appetite:.0f} samples/s,"
    )
    print(f"which {appetite * cost_s:.1f} cores like these feed")


if __name__ == "__main__":
    raise SystemExit(main())
