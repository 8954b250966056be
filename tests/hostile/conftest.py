"""What every hostile test shares: the process that runs files, and sees them die."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Outcome:
    """What became of a source between crawl and track, and what it took.

    Args:
        ends: (stage, reason) of its rows, each once.
        details: what the rows tell of their reasons.
        status: of the process; 0 if nothing killed it.
        cpu_s: of it and its children.
        peak_bytes: of the largest of these, above what they start with.
    """

    ends: set[tuple[str, str | None]]
    details: list[str]
    status: int
    cpu_s: float
    peak_bytes: int


@pytest.fixture(scope="session")
def run_source() -> Iterator[Callable[[str | Path], Outcome]]:
    """Runs a source in a process of its own."""
    command = [sys.executable, "-m", "tests.hostile.worker"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as worker:
        assert worker.stdin and worker.stdout

        def run(uri: str | Path) -> Outcome:
            worker.stdin.write(json.dumps(str(uri)) + "\n")
            worker.stdin.flush()
            told = json.loads(worker.stdout.readline())
            rows = told.pop("rows")
            return Outcome({(row[0], row[1]) for row in rows}, [str(row[2]) for row in rows], **told)

        yield run
        worker.stdin.close()
