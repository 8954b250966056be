"""Broken media by the thousand: `python -m tests.hostile.fuzz --minutes 10 [--seed N] [--keep DIR]`, or `make fuzz`.

What kills the reader, makes it hang or raise is kept, with the reader's last words; exits with 1 if there is any.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.hostile.mutate import random_mutation, seeds

TIMEOUT_S = 120.0
"""Of one file on a busy machine; most take 0.02 s."""
SLOW_CPU_S = 5.0


class ReaderDied(Exception):
    """The reader's exit status or timeout, and what it last said."""


class Reader:
    """A reading process, started anew when it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read(self, path: Path) -> tuple[dict[str, str], float]:
        """What each entry found, and CPU seconds.

        Raises:
            ReaderDied: by a signal, an exception, or because it took too long.
        """
        if self._process is None:
            command = [sys.executable, "-m", "tests.hostile.reader"]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        reader, stdin, stdout = self._process, _pipe(self._process.stdin), _pipe(self._process.stdout)
        stdin.write(json.dumps(str(path)) + "\n")
        stdin.flush()
        ready, _, _ = select.select([stdout], [], [], TIMEOUT_S)
        line = stdout.readline() if ready else ""
        if line:
            told = json.loads(line)
            return told["found"], told["cpu_s"]
        self._process = None
        reader.kill() if not ready else None
        _, words = reader.communicate()
        raise ReaderDied(f"exit status {reader.returncode}{'' if ready else ' (took too long)'}\n{words[-3000:]}")

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()


def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise ValueError("the reader was started without pipes")
    return stream


@dataclass
class Tally:
    """What was seen."""

    reasons: Counter[str]
    deaths: list[str]
    slowest_s: float = 0.0
    num_files: int = 0


def fuzz(minutes: float, seed: int, keep: Path) -> Tally:
    """Break and read files until the time is over; file k of a seed is always the same."""
    tally, reader = Tally(Counter(), []), Reader()
    with tempfile.TemporaryDirectory() as name:
        originals = seeds(Path(name) / "seeds")
        ends_s = time.monotonic() + 60 * minutes
        while time.monotonic() < ends_s:
            rng = random.Random(f"{seed}-{tally.num_files}")  # noqa: S311 - no secret
            which = rng.choice(list(originals))
            content = originals[which]
            for _ in range(rng.choice((1, 1, 2, 4, 16))):
                content = random_mutation(rng).apply(content, list(originals.values()))
            path = Path(name) / f"{seed}-{tally.num_files}-{which}"
            path.write_bytes(content)
            tally.num_files += 1
            try:
                found, cpu_s = reader.read(path)
            except ReaderDied as died:
                found, cpu_s = {}, 0.0
                tally.deaths.append(f"{path.name}: {died}")
            tally.reasons.update(f"{entry} {reason}" for entry, reason in found.items())
            tally.slowest_s = max(tally.slowest_s, cpu_s)
            if cpu_s > SLOW_CPU_S:
                tally.deaths.append(f"{path.name}: took {cpu_s:.1f} CPU s")
            if not found or cpu_s > SLOW_CPU_S:
                keep.mkdir(parents=True, exist_ok=True)
                path.replace(keep / path.name)
                (keep / f"{path.name}.txt").write_text(tally.deaths[-1])
            path.unlink(missing_ok=True)
    reader.close()
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile.fuzz", description="Break media files and read them."
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("out/fuzz"), help="folder of the files that do harm")
    args = parser.parse_args()
    tally = fuzz(args.minutes, args.seed, args.keep)
    print(f"{tally.num_files} files, slowest {tally.slowest_s:.2f} CPU s, {len(tally.deaths)} did harm")
    print("\n".join(f"{number:7d} {name}" for name, number in sorted(tally.reasons.items())))
    print("\n".join(tally.deaths[:20]))
    return 1 if tally.deaths else 0


if __name__ == "__main__":
    raise SystemExit(main())
