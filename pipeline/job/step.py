"""Stages applied to rows, with a verdict after each; faults are caught and no row is lost. Knows nothing of Ray."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from pipeline.job.guard import Guard
from pipeline.job.plan import STAGE_NAMES, Stage, StageFunction, node_cache
from pipeline.rules.config import Config, RunConfig
from pipeline.rules.policy import decide
from stages.core.reasons import DISK_TROUBLE, Dropped, DropReason, Verdict
from stages.core.records import Row, row_id
from stages.core.rows import length_s
from stages.core.storage import StorageError, as_path, protocol_of
from stages.core.weights import MissingWeights, WeightStore
from stages.crawl import without_password


@dataclass(frozen=True)
class Event:
    """One row leaving one stage, for progress and metrics."""

    source_id: str
    stage: str
    num_entered: int  # 1 for the first row that leaves, 0 for the further rows of a 1:N stage
    dropped: str | None
    hours: float
    busy_s: float


@dataclass
class Runner:
    """Runs consecutive stages on rows.

    Args:
        stages: consecutive lines of the plan; their models load on first use and stay.
        listen: called with an `Event` for every row that leaves a stage.
        guard: bounds what a record may cost.
    """

    stages: tuple[Stage, ...]
    config: Config
    weights: WeightStore
    out: Path
    listen: Callable[[Event], None]
    guard: Guard = field(default_factory=lambda: Guard(RunConfig()))
    _built: dict[str, StageFunction] = field(default_factory=dict)

    def run(self, row: Row) -> Iterator[Row]:
        """All rows that result from a row; a dropped row passes through unchanged."""
        yield from self._run_from(row, 0)

    def _run_from(self, row: Row, position: int) -> Iterator[Row]:
        if position == len(self.stages) or row.get("verdict") == Verdict.DROP:
            yield row
            return
        for result in self._apply(self.stages[position], row):
            yield from self._run_from(result, position + 1)

    def _apply(self, stage: Stage, row: Row) -> Iterator[Row]:
        start_s = time.process_time()
        for num_before, result in enumerate(self._attempt(stage, row)):
            annotated = self._judge(stage, result)
            busy_s, start_s = time.process_time() - start_s, time.process_time()
            first, reason = int(num_before == 0), annotated.get("drop_reason")
            self.listen(Event(row["source_id"], stage.name, first, reason, length_s(annotated) / 3600, busy_s))
            yield annotated
            start_s = time.process_time()

    def _attempt(self, stage: Stage, row: Row) -> Iterator[Row]:
        """The stage's rows; if it fails half-way, the rows that are still missing carry the fault."""
        if stage.name not in self._built:  # a fault while loading concerns every record, so it stops the run
            self._built[stage.name] = stage.build(self.config, self.weights, self.out)
        last: Row = {}
        if stage.judged_before and self._judge(stage, row).get("verdict") == Verdict.DROP:
            yield row  # dropped because of the manifest: nothing is fetched
            return
        try:
            for last in self._results(stage, row):
                yield last
            return
        except Dropped as dropped:
            fault = dropped.measured | {"fault_reason": str(dropped.reason), "fault_detail": dropped.detail}
            if dropped.reason == DropReason.TIME_LIMIT:
                self._built.pop(stage.name, None)  # it was interrupted and may be in a broken state
        except Exception as error:  # one record's unknown error must not cost the others
            if self.config.run.strict or _is_machine_trouble(error):
                raise
            fault = {"fault_reason": str(DropReason.ERROR), "fault_detail": traceback.format_exc(limit=-6)}
        if not stage.splits or not last:
            yield row | fault
            return
        index, total = stage.splits
        end = last.get(total) or last[index] + 2  # a row without it has at least one more behind it
        for missing in range(last[index] + 1, end):
            yield row | {index: missing, total: end} | fault

    def _results(self, stage: Stage, row: Row) -> Iterator[Row]:
        with self._media_here(stage, row) as (seen, address):
            with self.guard(stage.name, row):
                result = self._built[stage.name](seen)
            if not isinstance(result, Iterator):
                yield result | address
                return
            for result_idx in count():
                with self.guard(stage.name, row, result_idx):
                    item = next(result, None)
                if item is None:
                    return
                yield item | address

    @contextmanager
    def _media_here(self, stage: Stage, row: Row) -> Iterator[tuple[Row, Row]]:
        """The row with a local copy of its media while the stage runs, and the columns that restore its address."""
        address = row.get("media_path", "")
        if "media_path" not in stage.reads or protocol_of(address) is None:
            yield row, {}
            return
        with node_cache(self.config, self.weights).local_copy(as_path(address)) as copy:
            yield row | {"media_path": str(copy)}, {"media_path": address}

    def _judge(self, stage: Stage, row: Row) -> Row:
        row = row | {"last_stage": stage.name, "row_id": row_id(row)} | _without_passwords(row)
        verdict = decide(row, self.config.policy, STAGE_NAMES)
        return row | {key: value for key, value in verdict.items() if value is not None}


def _without_passwords(row: Row) -> Row:
    """The columns that may quote an address, without its password: what leaves a stage is stored."""
    return {name: without_password(row[name]) for name in ("uri", "fault_detail") if row.get(name)}


def _is_machine_trouble(error: Exception) -> bool:
    """Whether every record would meet this error: the run stops, and a rerun resumes there."""
    return isinstance(error, MemoryError | MissingWeights | StorageError) or (
        isinstance(error, OSError) and error.errno in DISK_TROUBLE
    )
