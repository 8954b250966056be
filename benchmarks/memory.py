"""Memory of a whole run, all its processes together, as the list of sources grows.

    python -m benchmarks.memory [key=value ...] --sources 100 1000 10000

The sources are paths at which there is no file, so each is a row that goes through every pool and into the ledger, and
costs next to nothing else. Proportional set size is sampled once a second: shared pages count once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from stages.core.command import command, make_parser

ROOT = Path(__file__).resolve().parents[1]
INTERVAL_S = 1.0


def measure(num_sources: int, folder: Path, overrides: list[str]) -> tuple[float, float, float, float]:
    """Peak GB of all processes, peak GB of the driver alone, seconds, and CPU seconds of the driver."""
    manifest = folder / "m.jsonl"
    manifest.write_text(
        "".join(json.dumps({"id": f"s{n:07d}", "uri": f"/none/{n}.mp4"}) + "\n" for n in range(num_sources))
    )
    command = [sys.executable, "pipeline/run.py", "--manifest", str(manifest), "--out", str(folder / "out")]
    command += overrides
    start_s, peak, own, cpu_s = time.monotonic(), 0, 0, 0.0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        driver = psutil.Process(process.pid)
        while process.poll() is None:
            sizes = [pss for one in [driver, *driver.children(recursive=True)] if (pss := _pss(one))]
            if sizes:
                peak, own = max(peak, sum(sizes)), max(own, sizes[0])
            try:
                cpu_s = sum(driver.cpu_times()[:2])
            except psutil.Error:
                break
            time.sleep(INTERVAL_S)
    if process.returncode:
        raise RuntimeError(f"the run over {num_sources} sources ended with {process.returncode}")
    return peak / 1e9, own / 1e9, time.monotonic() - start_s, cpu_s


def _pss(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.memory", __doc__)
    parser.add_argument("--sources", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args(arguments)
    print("| sources | all processes, GB | driver, GB | wall s | driver's CPU s |\n|---|---|---|---|---|")
    for number in args.sources:
        with tempfile.TemporaryDirectory() as folder:
            everything, driver, wall_s, cpu_s = measure(number, Path(folder), args.overrides)
        print(f"| {number} | {everything:.2f} | {driver:.2f} | {wall_s:.0f} | {cpu_s:.0f} |", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
