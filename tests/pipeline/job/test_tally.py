"""What a run says while it goes on."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from pipeline.job import tally
from pipeline.job.step import Event
from pipeline.job.tally import Progress, Tally

STAGES = ("probe", "scan", "features")


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(tally, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_line_says_only_what_is_known(clock):
    console, counts = Console(file=io.StringIO(), width=200), Tally(STAGES)
    with Progress(console, 4, 0, start_s=clock[0]) as progress:
        progress.show(counts.counts, 0, 4)
        clock[0] += 20
        counts.add([_event("probe"), _event("scan", dropped="too_short")])
        progress.show(counts.counts, 0, 4)
        clock[0] += 5  # too soon for another line
        progress.show(counts.counts, 0, 4)
        clock[0] += 15
        progress.show(counts.counts, 1, 4)
        clock[0] += 60
        counts.add([_event("features", hours=0.25), _event("features", dropped="out_of_sync")])
        progress.show(counts.counts, 2, 5)
    assert console.file.getvalue().splitlines() == [
        "sources 0/4 · loading models · dropped 0",
        "sources 0/4 · measured up to scan · dropped 1",
        "sources 1/4 · measured up to scan · dropped 1 · ETA 2 min",
        "sources 2/5 · kept 1 clips (0.250 h) · dropped 2 · 0.02 clips/s · ETA 2 min",
    ]


@pytest.mark.parametrize(
    ("num_done", "title"), [(0, "0/3 sources, 7 done before"), (1, "1/3 sources, 7 done before · ETA 60 s")]
)
def test_a_terminal_gets_a_table_whose_title_says_the_same(clock, num_done, title):
    file = io.StringIO()
    with Progress(Console(file=file, width=100, force_terminal=True, color_system=None), 3, 7, clock[0]) as progress:
        clock[0] += 30
        progress.show(Tally(STAGES).counts, num_done, 3)
    assert title in {line.strip() for line in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", file.getvalue()).splitlines()}


def _event(stage: str, dropped: str | None = None, hours: float = 0.0) -> Event:
    return Event("a", stage, 1, dropped, hours, 0.5)


def test_a_source_is_measured_when_the_last_of_its_rows_has_ended():
    counts, seen = Tally(STAGES), []
    for event in (
        _event("probe"),
        _event("scan"),  # the first of two shots
        replace(_event("scan"), num_entered=0),
        _event("features"),
        replace(_event("probe", dropped="no_audio"), source_id="b"),
        _event("features", dropped="out_of_sync"),
    ):
        counts.add([event])
        seen.append(counts.num_measured)
    assert seen == [0, 0, 0, 0, 1, 2]
