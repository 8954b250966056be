"""Stages on rows: nothing is lost, faults are caught where they are, and later stages are spared."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pipeline.job.plan import STAGES, Stage
from pipeline.job.step import Event, Runner
from pipeline.rules.config import Config, RunConfig
from pipeline.rules.policy import PolicyConfig
from stages.core.reasons import Dropped, DropReason
from stages.core.records import Row
from stages.core.weights import MissingWeights, WeightStore
from tests.rows import measured

RNG = np.random.default_rng(0)
SHOT = measured("scan", RNG) | {"shot_start_s": 0.0, "shot_end_s": 8.0}
SOURCE = SHOT | measured("probe", RNG) | measured("hear", RNG) | {"duration_s": 16.0}
CLIP = measured("track", RNG) | {"start_s": 0.0, "end_s": 8.0}


def _stage(name: str, function: Callable) -> Stage:
    stage = next(stage for stage in STAGES if stage.name == name)
    return replace(stage, build=lambda config, weights, out: function, reads=())


def _run(tmp_path, *stages: Stage, strict: bool = False, events: list[Event] | None = None) -> list[Row]:
    listen = (events if events is not None else []).append
    runner = Runner(stages, Config(run=RunConfig(strict=strict)), WeightStore(tmp_path), tmp_path, listen)
    return list(runner.run(SOURCE | {"source_id": "a"}))


def _scan(row: Row):
    for idx, face_px in enumerate((200.0, 20.0)):
        yield row | SHOT | {"shot_idx": idx, "num_shots": 2, "shot_face_px": face_px}


def _raise(error: Exception) -> Callable:
    def stage(row: Row) -> Row:
        raise error

    return stage


def test_every_stage_reads_only_what_was_written_before():
    from stages.core.records import SOURCE

    written = set(SOURCE.names)
    for stage in STAGES:
        assert set(stage.reads) <= written, stage.name
        written |= set(stage.writes)


def test_a_dropped_shot_flows_on_unmeasured(tmp_path):
    seen = []

    def track(row: Row):
        seen.append(row["shot_idx"])
        yield row | {"clip_idx": 0, "num_clips": 1} | CLIP

    rows = _run(tmp_path, _stage("scan", _scan), _stage("track", track))
    assert seen == [0]
    assert [row["row_id"] for row in rows] == ["a-s0000-c000", "a-s0001"]
    assert [row.get("drop_reason") for row in rows] == [None, "face_too_small"]


@pytest.mark.parametrize(("consent", "fetched"), [("written", ["a"]), ("unknown", [])])
def test_a_source_that_the_policy_refuses_is_never_fetched(tmp_path, consent, fetched):
    asked, events = [], []

    def crawl(row: Row) -> Row:
        asked.append(row["source_id"])
        return row

    config = Config(policy=PolicyConfig(require_consent=True))
    runner = Runner((_stage("crawl", crawl),), config, WeightStore(tmp_path), tmp_path, events.append)
    (row,) = runner.run({"source_id": "a", "consent": consent})
    assert asked == fetched
    assert [(event.stage, event.num_entered) for event in events] == [("crawl", 1)]
    assert row.get("drop_reason") == (None if fetched else "consent") and row["row_id"] == "a"


def test_what_a_stage_finds_stands_in_the_row(tmp_path):
    (row,) = _run(tmp_path, _stage("probe", _raise(Dropped(DropReason.NO_AUDIO, "no audio stream"))))
    assert (row["verdict"], row["drop_stage"], row["drop_reason"]) == ("drop", "probe", "no_audio")
    assert row["drop_detail"] == "no audio stream"


def test_an_unknown_error_is_quarantined_with_its_traceback(tmp_path):
    (row,) = _run(tmp_path, _stage("probe", _raise(ZeroDivisionError("boom"))))
    assert row["drop_reason"] == "error" and "boom" in row["drop_detail"] and "Traceback" in row["drop_detail"]


def test_a_number_that_a_stage_leaves_open_is_an_error_of_that_record_alone(tmp_path):
    def scan(row: Row):
        for idx, ratio in enumerate((float("nan"), 1.0)):
            yield row | SHOT | {"shot_idx": idx, "num_shots": 2, "shot_face_ratio": ratio}

    rows = _run(tmp_path, _stage("scan", scan))
    assert [row.get("drop_reason") for row in rows] == ["error", None]
    assert (rows[0]["drop_stage"], rows[0]["drop_detail"]) == ("scan", "shot_face_ratio is nan")


def test_strict_raises_it(tmp_path):
    with pytest.raises(ZeroDivisionError):
        _run(tmp_path, _stage("probe", _raise(ZeroDivisionError())), strict=True)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), MemoryError(), MissingWeights("toy")])
def test_the_machines_trouble_stops_the_run(tmp_path, error):
    with pytest.raises(type(error)):
        _run(tmp_path, _stage("probe", _raise(error)))


def test_a_stage_that_fails_part_way_accounts_for_the_rest(tmp_path):
    def track(row: Row):
        yield row | {"clip_idx": 0, "num_clips": 3} | CLIP
        raise Dropped(DropReason.CORRUPT, "frame 200")

    rows = _run(tmp_path, _stage("track", track))
    assert [(row["clip_idx"], row["num_clips"], row.get("drop_reason")) for row in rows] == [
        (0, 3, None),
        (1, 3, "corrupt"),
        (2, 3, "corrupt"),
    ]


def test_a_stage_that_has_not_told_its_number_yet_leaves_one_row_for_the_rest(tmp_path):
    def track(row: Row):
        yield row | {"clip_idx": 0} | CLIP
        raise Dropped(DropReason.CORRUPT, "frame 200")

    rows = _run(tmp_path, _stage("track", track))
    assert [(row["clip_idx"], row.get("num_clips"), row.get("drop_reason")) for row in rows] == [
        (0, None, None),
        (1, 2, "corrupt"),
    ]


def test_events_count_one_entry_and_every_row_that_leaves(tmp_path):
    events: list[Event] = []
    _run(tmp_path, _stage("scan", _scan), events=events)
    assert [(event.num_entered, event.dropped) for event in events] == [(1, None), (0, "face_too_small")]
    assert sum(event.hours for event in events) == pytest.approx(16 / 3600)


def test_a_stage_loads_once_for_all_rows(tmp_path):
    built = []

    def build(config, weights, out):
        built.append(1)
        return lambda row: row

    runner = Runner((Stage("probe", build, reads=()),), Config(), WeightStore(tmp_path), tmp_path, lambda event: None)
    for name in "abc":
        list(runner.run(SOURCE | {"source_id": name}))
    assert built == [1]
