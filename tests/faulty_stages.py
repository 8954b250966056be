"""The plan with a probe that fails on some records in ways that no file can be made to; workers import it by name."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path

import numpy as np

from pipeline.job.plan import STAGES, StageFunction
from pipeline.rules.config import Config
from stages.core.records import Row
from stages.core.weights import WeightStore

GREED_BYTES = 6_000_000_000


def _faulty_probe(config: Config, weights: WeightStore, out: Path) -> StageFunction:
    """The real stage, but for four sources."""
    probe = next(stage for stage in STAGES if stage.name == "probe").build(config, weights, out)

    def stage(row: Row):
        if row["source_id"] == "poison":
            os.kill(os.getpid(), signal.SIGSEGV)
        if row["source_id"] == "greedy":
            taken = np.ones(GREED_BYTES, np.uint8)
            time.sleep(30)  # Ray looks at the memory four times a second
            del taken
        if row["source_id"] == "hanging":
            time.sleep(600)
        if row["source_id"] == "unlucky" and not (out / "died").exists():
            (out / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return probe(row)

    return stage


FAULTY_STAGES = tuple(
    dataclasses.replace(stage, build=_faulty_probe) if stage.name == "probe" else stage for stage in STAGES
)
