"""What a threshold costs is what a person would count, and what another value gives is what the policy then decides."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from pipeline.finalize import finalize
from pipeline.job.plan import STAGE_NAMES
from pipeline.rules.config import Config
from pipeline.rules.policy import PolicyConfig, decide
from pipeline.suggest import KEYS, Ledger, main
from stages.core.reasons import Verdict
from stages.core.records import LEDGER, Row
from stages.core.rows import rows_from_table, table_from_rows
from tests.ledger_rows import make_ledger, make_rows
from tests.rows import kept_clip, write_rows

CLIP_H = 4 / 3600


def _ledger(*rows: Row) -> Ledger:
    small = [{name: value for name, value in row.items() if name in LEDGER.names} for row in rows]
    return Ledger(table_from_rows(small, LEDGER), PolicyConfig())


def _small(source_id: str, face_px: float, **more) -> Row:
    """A clip whose face is too small: no later stage has seen it."""
    return kept_clip(source_id, 0, face_px=face_px, last_stage="track", **more)


def test_cost_of_a_threshold_by_hand():
    ledger = _ledger(
        *(kept_clip(f"k{n}", n, face_px=100.0 + 10 * n) for n in range(10)),
        _small("near", 80.0),
        _small("far", 40.0),
        _small("turned", 80.0, yaw_deg=60.0),
        kept_clip("noisy", 0, dnsmos_bak=1.0, last_stage="speech"),
    )
    cost = ledger.cost("min_face_px")
    assert (cost.num_first, cost.num_alone, cost.now.num) == (3, 2, 10)
    assert cost.hours_first == pytest.approx(3 * CLIP_H) and cost.hours_alone == pytest.approx(2 * CLIP_H)
    # eleven clips came through `track`, and ten of them are kept
    assert cost.hours_alone_about == pytest.approx(2 * CLIP_H * 10 / 11)
    assert [(point.value, point.num) for point in cost.looser] == [(40.0, 10)]
    assert cost.looser[0].hours_at_most == pytest.approx(12 * CLIP_H)
    assert [(point.value, point.num) for point in cost.stricter] == [(140.0, 6)]
    assert ledger.cost("max_yaw_deg").num_alone == 0  # its face is too small besides
    assert ledger.cost("min_dnsmos_bak").num_alone == 1


def test_a_threshold_that_counts_only_with_another():
    crowded = {"shot_multi_face_ratio": 0.5, "last_stage": "scan"}
    ledger = _ledger(kept_clip("fine", 0), kept_clip("crowd", 1, shot_alone_s=1.0, **crowded))
    assert [ledger.cost(key).num_alone for key in ("max_multi_face_ratio", "min_clip_s")] == [1, 1]
    assert [point.value for point in ledger.cost("max_multi_face_ratio").looser] == [0.5]
    calm = kept_clip("calm", 2, shot_multi_face_ratio=0.5, shot_alone_s=3.5)
    points = _ledger(kept_clip("fine", 0), calm).curve("min_clip_s")
    assert [(point.value, point.num) for point in points] == [(3.0, 2), (3.5, 2), (4.0, 1)]


def test_faults_and_copies_cost_no_threshold():
    fault = {"fault_reason": "corrupt", "fault_detail": "no packets", "last_stage": "sync"}
    copy = {"verdict": "drop", "drop_stage": "finalize", "drop_reason": "duplicate_clip"}
    cost = _ledger(kept_clip("k", 0), kept_clip("f", 1, **fault), kept_clip("c", 2, **copy)).cost("min_face_px")
    assert (cost.num_first, cost.num_alone, cost.now.num) == (0, 0, 1)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    rows = [row for row in make_rows(6) if row.get("drop_stage") != "finalize"]
    return make_ledger(rows).select(LEDGER.names)


@pytest.mark.parametrize("key", KEYS)
def test_every_point_is_what_the_policy_decides(key, table):
    rows = rows_from_table(table)
    ledger = Ledger(table, PolicyConfig())
    points = (*ledger.curve(key), *ledger.cost(key).looser, *ledger.cost(key).stricter)
    for point in points:
        policy = replace(PolicyConfig(), **{key: point.value})
        verdicts = [decide(row, policy, STAGE_NAMES)["verdict"] for row in rows]
        assert point.num == verdicts.count(Verdict.KEEP)
        assert point.hours <= point.hours_about <= point.hours_at_most
        wanted = [row for row, verdict in zip(rows, verdicts, strict=True) if verdict != Verdict.DROP]
        assert point.hours_at_most == pytest.approx(sum(map(_hours, wanted)))


def _hours(row: Row) -> float:
    for start, end in (("start_s", "end_s"), ("shot_start_s", "shot_end_s")):
        if end in row:
            return (row[end] - row[start]) / 3600
    return row.get("duration_s", 0.0) / 3600


@pytest.mark.slow
def test_the_command_has_a_line_a_threshold_and_a_curve(tmp_path, capsys):
    write_rows(tmp_path, kept_clip("a", 0), kept_clip("b", 1, face_px=60.0, last_stage="track"))
    finalize(tmp_path, Config())
    assert main(["--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert all(key in printed for key in KEYS)
    assert main(["--out", str(tmp_path), "--key", "policy.min_face_px"]) == 0
    assert " 60 " in capsys.readouterr().out
    assert main(["--out", str(tmp_path), "--key", "min_facepx"]) == 2
    assert "policy.min_face_px" in capsys.readouterr().err
    assert main(["--out", str(tmp_path / "none")]) == 2
    assert "ledger.parquet is missing" in capsys.readouterr().err
