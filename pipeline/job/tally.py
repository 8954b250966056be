"""Counts per stage, gathered from all workers, and their display during a run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipeline.job.step import Event
from stages.core.reasons import UNKNOWN_FAULTS

PLAIN_INTERVAL_S = 10.0


@dataclass
class StageCount:
    """Rows of one stage."""

    num_entered: int = 0
    num_left: int = 0
    num_dropped: int = 0
    hours_left: float = 0.0
    busy_s: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)


class Tally:
    """Sums events.

    Args:
        stages: names in the plan's order.
    """

    def __init__(self, stages: Iterable[str]) -> None:
        self.counts = {name: StageCount() for name in stages}
        self.failed_sources: set[str] = set()  # sources with a record that failed for an unknown reason
        self.num_measured = 0  # sources of which no row is on its way any more
        self._on_its_way: dict[str, int] = {}  # rows of each source that were seen and have not ended

    def add(self, events: list[Event]) -> None:
        for event in events:
            count = self.counts[event.stage]
            count.num_entered += event.num_entered
            count.num_left += 1
            count.busy_s += event.busy_s
            if event.dropped is None:
                count.hours_left += event.hours
            else:
                count.num_dropped += 1
                count.reasons[event.dropped] += 1
            if event.dropped in UNKNOWN_FAULTS:
                self.failed_sources.add(event.source_id)
            self._follow(event)

    def _follow(self, event: Event) -> None:
        has_ended = event.dropped is not None or event.stage == next(reversed(self.counts))
        num = self._on_its_way.pop(event.source_id, 1) + 1 - event.num_entered - has_ended
        if num > 0:
            self._on_its_way[event.source_id] = num
        else:
            self.num_measured += 1


@dataclass
class Progress:
    """A live table on a terminal, a plain line now and then elsewhere.

    Args:
        num_sources: sources of this run.
        num_before: sources that an earlier run had finished.
        start_s: when the run began, by `time.monotonic`.
    """

    console: Console
    num_sources: int
    num_before: int
    start_s: float = field(default_factory=time.monotonic)
    _shown_s: float = 0.0
    _live: Live | None = None

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=2, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def show(self, counts: dict[str, StageCount], num_done: int, num_sources: int) -> None:
        self.num_sources = num_sources  # listings add to them
        now_s = time.monotonic()
        if self._live is not None:
            self._live.update(self._table(counts, num_done))
        elif now_s - self._shown_s >= PLAIN_INTERVAL_S:
            self._shown_s = now_s
            self.console.print(self._line(counts, num_done), highlight=False, soft_wrap=True)

    def _eta(self, num_done: int) -> str:
        """Nothing before the first source is done, from which alone the time of the others is known."""
        if num_done == 0:
            return ""
        elapsed_s = time.monotonic() - self.start_s
        left_s = elapsed_s / num_done * (self.num_sources - num_done)
        return f" · ETA {left_s / 60:.0f} min" if left_s >= 90 else f" · ETA {left_s:.0f} s"

    def _line(self, counts: dict[str, StageCount], num_done: int) -> str:
        """Like `sources 3/20 · kept 4 clips (0.007 h) · dropped 2 · 0.05 clips/s · ETA 5 min`.

        Until a clip has passed the last stage: how far the first row has come.
        """
        last = list(counts.values())[-1]
        if last.num_left:
            elapsed_s = max(time.monotonic() - self.start_s, 1e-6)
            clips = f"kept {last.num_left - last.num_dropped} clips ({last.hours_left:.3f} h)"
            rate = f" · {last.num_left / elapsed_s:.2f} clips/s"
        else:
            passed = [name for name, count in counts.items() if count.num_left]
            clips, rate = f"measured up to {passed[-1]}" if passed else "loading models", ""
        num_dropped = sum(count.num_dropped for count in counts.values())
        return f"sources {num_done}/{self.num_sources} · {clips} · dropped {num_dropped}{rate}{self._eta(num_done)}"

    def _table(self, counts: dict[str, StageCount], num_done: int) -> Table:
        before = f", {self.num_before} done before" if self.num_before else ""
        table = Table(title=f"{num_done}/{self.num_sources} sources{before}{self._eta(num_done)}")
        for name in ("stage", "in", "passed", "dropped", "hours passed", "rows/s", "CPU s/row", "reasons"):
            table.add_column(name, justify="left" if name in ("stage", "reasons") else "right")
        elapsed_s = max(time.monotonic() - self.start_s, 1e-6)
        for name, count in counts.items():
            reasons = ", ".join(f"{reason} {number}" for reason, number in count.reasons.most_common(3))
            table.add_row(
                name,
                str(count.num_entered),
                str(count.num_left - count.num_dropped),
                str(count.num_dropped),
                f"{count.hours_left:.3f}",
                f"{count.num_left / elapsed_s:.2f}",
                f"{count.busy_s / count.num_left:.2f}" if count.num_left else "",
                reasons,
            )
        return table
