"""All measurements of this project on a CUDA machine, in ten minutes, with few installed packages.

    python -m benchmarks.gpu [--device cuda|cpu] [--minutes 9] [--shards FOLDER] --out DIR
    python -m benchmarks.gpu --wheels > wheels.txt && pip download --no-deps -r wheels.txt -d wheels

Needs torch, accelerate, safetensors, numpy, OpenCV, numba, SciPy, pyarrow, jaxtyping and, as the one wheel that such
machines lack, omegaconf. Other missing packages are reported and skip only the parts that need them. No network is
used. Parts run in the order of their value, each in its own process and time limit; every result is written to
`DIR/gpu.json` and `DIR/gpu.md` at once. A folder of model files (`KOUXING_WEIGHTS`) and shards of a pipeline run may be
brought; without them weights are random and speakers drawn. `--device cpu` runs everything in small.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu.lease import Lease, add
from stages.core.command import UserError, command, make_parser

PARTS = {
    "branches": 100,
    "gradients": 60,
    "step": 130,
    "feeding": 30,
    "drawing": 30,
    "dubbing": 60,
    "small": 130,
}
"""Time of each part, in seconds of nine minutes; time left over goes to the last part."""
GRACE_S = 20
"""Seconds that a part may overrun before it is stopped, in addition to half of the time of the later parts."""
SHORTEST_S = 10
"""Least time in which a part gives a result."""
NEEDED = ("torch", "accelerate", "safetensors", "numpy", "cv2", "numba", "scipy", "pyarrow", "jaxtyping", "omegaconf")
HELPFUL = ("triton", "nvdiffrast", "av", "mediapipe", "ctranslate2", "pyannote", "torchaudio")
WHEELS = ("omegaconf", "av", "mediapipe", "ctranslate2", "universal-pathlib", "pathlib-abc")
"""Packages to bring; only the first is required."""


def wheels() -> list[str]:
    """`WHEELS` in the versions of the lock."""
    lock = (Path(__file__).parents[2] / "requirements.lock").read_text()
    return [line for name in WHEELS for line in re.findall(rf"^{name}==\S+$", lock, re.MULTILINE)]


def describe(out: Path, device: str) -> None:
    """Report the machine and its missing packages."""
    import torch

    about = {"python": platform.python_version(), "torch": torch.__version__, "cpus": os.cpu_count()}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        about |= {"card": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        about |= {"cuda": torch.version.cuda, "multiprocessors": properties.multi_processor_count}
    missing = [name for name in HELPFUL if find_spec(name) is None]
    add(out, {"part": "machine", "what": device, **about, "missing": ", ".join(missing) or "nothing"})


def run_part(name: str, seconds: float, limit_s: float, given: argparse.Namespace) -> None:
    """Run one part in a separate process, which is killed if it does not end."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--device", given.device]
    command += ["--seconds", str(seconds), "--out", str(given.out)]
    command += ["--shards", str(given.shards)] if given.shards else []
    began = time.monotonic()
    try:
        with (given.out / f"{name}.log").open("w") as log:
            ended = subprocess.run(command, timeout=limit_s, stderr=log, check=False).returncode
    except subprocess.TimeoutExpired:
        add(given.out, {"part": name, "what": "cut off", "failed": f"not done after {limit_s:.0f} s"})
        return
    result = {"part": name, "what": "time", "seconds": round(time.monotonic() - began, 1)}
    add(given.out, result if ended == 0 else {**result, "failed": f"ended with {ended}: see {name}.log"})


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser("python -m benchmarks.gpu", __doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all parts together")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--shards", type=Path, help="shards of a pipeline run; default: drawn speakers")
    parser.add_argument("--wheels", action="store_true", help="print what `pip download` should bring")
    parser.add_argument("--only", nargs="*", choices=PARTS, help="these parts")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.wheels:
        print("\n".join(wheels()))
        return 0
    if given.out is None:
        parser.error("--out is needed")
    given.out.mkdir(parents=True, exist_ok=True)
    lacking = [name for name in NEEDED if find_spec(name) is None]
    if lacking:
        raise UserError(f"not installed: {', '.join(lacking)}; --wheels names what to bring")
    if given.part:
        part = importlib.import_module(f"benchmarks.gpu.{given.part}")
        part.run(Lease(given.part, given.device, given.out, given.seconds, given.shards))
        return 0
    if given.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UserError("this torch sees no CUDA device; --device cpu runs it in small")
    for old in ("gpu.json", "gpu.md"):
        (given.out / old).unlink(missing_ok=True)
    end = time.monotonic() + 60 * given.minutes
    describe(given.out, given.device)
    wanted = {name: s for name, s in PARTS.items() if not given.only or name in given.only}
    scale = 60 * given.minutes / sum(wanted.values())
    for number, (name, seconds) in enumerate(wanted.items()):
        left_s = end - time.monotonic()
        seconds_s = left_s if number == len(wanted) - 1 else min(seconds * scale, left_s)
        if seconds_s < SHORTEST_S:
            add(given.out, {"part": name, "what": "all of it", "skipped": "out of time"})
        else:
            later_s = scale * sum(list(wanted.values())[number + 1 :])
            run_part(name, seconds_s, max(seconds_s, left_s - later_s / 2) + GRACE_S, given)
    print((given.out / "gpu.md").read_text())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
