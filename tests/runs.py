"""Whole runs on the demo corpus, made once for all tests that look at them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.job.plan import STAGE_NAMES
from pipeline.rules.config import Config

CORPUS = ("clean_astronaut_1", "english", "no_audio", "two_faces", "truncated", "not_a_video")
POOLS = Config().run.pools
ONE_WORKER = tuple(
    f"run.pools.{pool}.stages=[{','.join(STAGE_NAMES) if number == 0 else ''}]" for number, pool in enumerate(POOLS)
)
"""All stages in one process, for runs that look at something else: each of the usual five imports for seconds."""


def command(manifest: Path, out: Path, *more: str) -> list[str]:
    return ["--manifest", str(manifest), "--out", str(out), *more]


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder for the session, also where several processes share its tests: the first makes it, the others wait."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        done = folder.with_name(f"{name}.done")
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
