"""Limits on one record: its time, and the number of workers that may die of it."""

from __future__ import annotations

import faulthandler
import math
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from pipeline.rules.config import RunConfig
from stages.core.reasons import Dropped, DropReason
from stages.core.records import Row, row_id

GRACE_S = 30.0
"""Time between the time limit and the end of the process, for code that does not return to Python."""


class Attempts:
    """Counts how often work on a record was begun and not ended. Its process must outlive the workers."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, key: str) -> int:
        """Attempts so far, this one included."""
        self._begun[key] += 1
        return self._begun[key]

    def end(self, key: str) -> None:
        """Forget a key; not reached if the worker dies."""
        self._begun.pop(key, None)


@dataclass(frozen=True)
class Guard:
    """Limits a stage while it makes one row; the consumer of the row is not limited.

    Args:
        config: `max_tries`, `record_limit_s` and `record_limit_ratio` count.
    """

    config: RunConfig
    attempts: Attempts = field(default_factory=Attempts)

    @contextmanager
    def __call__(self, stage: str, row: Row, result_idx: int = 0) -> Iterator[None]:
        """Context of making the `result_idx`th row from `row`.

        Raises:
            Dropped: CRASHED if earlier attempts killed their workers; TIME_LIMIT, with the place in the code.
        """
        key = f"{stage} {row_id(row)} {result_idx}"
        num_deaths = self.attempts.begin(key) - 1
        try:
            if num_deaths >= self.config.max_tries:
                raise Dropped(DropReason.CRASHED, f"{num_deaths} workers died in {stage} of this record")
            with time_limit(self.config.record_limit_s + self.config.record_limit_ratio * row.get("duration_s", 0.0)):
                yield
        finally:
            self.attempts.end(key)


@contextmanager
def time_limit(limit_s: float) -> Iterator[None]:
    """Raise in the body when its time is up.

    A signal interrupts a body that waits, decodes or computes as soon as it returns to Python. If it never returns (a
    loop inside a library), its process ends `GRACE_S` later. Only the main thread of a process receives signals: in
    any other thread the body is not limited.

    Raises:
        Dropped: TIME_LIMIT.
    """

    def alarm(_: int, frame: FrameType | None) -> None:
        where = "".join(traceback.format_stack(frame, limit=4))
        raise Dropped(DropReason.TIME_LIMIT, f"not done after {limit_s:g} s; last seen at\n{where}")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, alarm)
    faulthandler.dump_traceback_later(math.ceil(limit_s + GRACE_S), exit=True)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
