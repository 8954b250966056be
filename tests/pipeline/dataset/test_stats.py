"""Statistics: the funnel adds up in every unit, and each number is the one a person would count."""

from __future__ import annotations

import io
import json
from itertools import pairwise

import pytest
from rich.console import Console

from pipeline.dataset.stats import compute_stats, duration_text, print_funnel
from pipeline.job.plan import STAGE_NAMES as STAGES
from stages.core.reasons import DropReason
from stages.core.records import LEDGER, Row
from tests.ledger_rows import make_ledger, make_rows


def _source(source_id: str, **more) -> Row:
    return {"row_id": source_id, "source_id": source_id, "duration_s": 3600.0, "verdict": "keep"} | more


def _shot(source_id: str, shot: int, start_s: float, end_s: float, **more) -> Row:
    row = _source(source_id, row_id=f"{source_id}-s{shot}", shot_idx=shot)
    return row | {"shot_start_s": start_s, "shot_end_s": end_s} | more


def _clip(source_id: str, shot: int, clip: int, start_s: float, **more) -> Row:
    row = _shot(source_id, shot, 0.0, 1800.0) | {"row_id": f"{source_id}-s{shot}-c{clip}", "clip_idx": clip}
    return row | {"start_s": start_s, "end_s": start_s + 360.0, "last_stage": STAGES[-1]} | more


def _drop(stage: str, reason: str) -> Row:
    return {"verdict": "drop", "drop_stage": stage, "drop_reason": reason, "last_stage": stage}


def _three_sources() -> list[Row]:
    """Two hours known: one noisy file, one file of two shots of which one gives three clips, one unknown."""
    return [
        _source("noisy", **_drop("hear", "noise")),
        _shot("good", 1, 1800.0, 3600.0, **_drop("scan", "no_face")),
        _clip("good", 0, 0, 0.0, identity_id="a", split="train", gender="female"),
        _clip("good", 0, 1, 360.0, **_drop("mouth", "mouth_hidden")),
        _clip("good", 0, 2, 720.0, verdict="pending", last_stage="speech"),
        {"row_id": "gone", "source_id": "gone"} | _drop("crawl", "unavailable"),
    ]


def _stats(rows: list[Row]) -> dict:
    return compute_stats(make_ledger(rows), STAGES)


def test_totals_of_a_known_ledger():
    assert _stats(_three_sources())["totals"] == {
        "num_rows": 6,
        "num_sources": 3,
        "num_shots": 2,
        "num_clips": 3,
        "num_kept": 1,
        "num_dropped": 4,
        "num_pending": 1,
        "num_sources_kept": 1,
        "num_sources_of_unknown_length": 1,
        "num_identities": 1,
        "hours_in": pytest.approx(2.0),
        "hours_kept": pytest.approx(0.1),
        "kept_ratio": pytest.approx(0.05),
    }


def test_funnel_of_a_known_ledger():
    lines = {line["stage"]: line for line in _stats(_three_sources())["funnel"]}
    scan, track, sync = lines["scan"], lines["track"], lines["sync"]
    assert lines["crawl"]["reasons"] == {"unavailable": {"num": 1, "hours": 0.0}}
    assert lines["hear"]["reasons"] == {"noise": {"num": 1, "hours": pytest.approx(1.0)}}
    assert (scan["unit_in"], scan["num_in"], scan["unit"], scan["num_judged"], scan["num_out"]) == (
        *("source", 1, "shot", 2, 1),
    )
    assert (track["unit_in"], track["num_in"], track["unit"], track["num_judged"]) == ("shot", 1, "clip", 3)
    assert track["hours_cut_away"] == pytest.approx(0.5 - 0.3)
    assert (sync["num_in"], sync["num_pending"], sync["num_out"]) == (2, 1, 1)
    assert lines["features"]["hours_out"] == pytest.approx(0.1)


def test_a_source_that_a_new_threshold_drops_counts_once_though_it_has_clips():
    rows = [_clip("late", 0, i, 360.0 * i, **_drop("probe", "low_fps"), **{}) for i in range(3)]
    lines = {line["stage"]: line for line in _stats(rows)["funnel"]}
    assert lines["probe"]["reasons"] == {"low_fps": {"num": 1, "hours": pytest.approx(1.0)}}
    assert lines["hear"]["num_in"] == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_every_line_of_the_funnel_adds_up(seed):
    stats = _stats(make_rows(seed=seed))
    funnel = stats["funnel"]
    for line in funnel:
        assert line["num_judged"] == line["num_dropped"] + line["num_pending"] + line["num_out"]
        gone = line["hours_cut_away"] + line["hours_dropped"] + line["hours_pending"] + line["hours_out"]
        assert line["hours_in"] == pytest.approx(gone)
        assert line["num_dropped"] == sum(cost["num"] for cost in line["reasons"].values())
    for before, after in pairwise(funnel):
        assert before["num_out"] == after["num_in"]
        assert before["hours_out"] == pytest.approx(after["hours_in"])
    totals = stats["totals"]
    assert totals["num_rows"] == totals["num_kept"] + totals["num_dropped"] + totals["num_pending"]
    assert funnel[-1]["num_out"] == totals["num_kept"]
    assert funnel[-1]["hours_out"] == pytest.approx(totals["hours_kept"])


def test_every_reason_is_counted_and_finalize_comes_last():
    stats = _stats(make_rows())
    assert set(stats["reasons"]) == {str(reason) for reason in DropReason}
    assert stats["stages"] == [*STAGES, "finalize"]


def test_breakdowns_add_up_to_what_was_kept():
    stats = _stats(make_rows())
    for name, groups in stats["by"].items():
        assert sum(g["num_clips_kept"] for g in groups.values()) == stats["totals"]["num_kept"], name
        assert sum(g["hours_kept"] for g in groups.values()) == pytest.approx(stats["totals"]["hours_kept"]), name
    sources = stats["sources"]
    listed = sum(one["hours_kept"] for one in sources["top"]) + sources["others"]["hours_kept"]
    assert listed == pytest.approx(stats["totals"]["hours_kept"])


def test_a_value_beyond_the_edges_is_counted_in_the_outermost_bin():
    wide = _stats([_clip("a", 0, 0, 0.0, face_px=5000.0), _clip("a", 0, 1, 0.0, face_px=100.0, verdict="keep")])
    found = wide["distributions"]["face_size"]
    assert found["kept"][-1] == 1
    assert sum(found["kept"]) == 2
    assert found["kept_spread"]["max"] == 5000.0


def test_video_length_counts_a_source_once():
    found = _stats(_three_sources())["distributions"]["video_length"]
    assert (sum(found["kept"]), sum(found["not_kept"]), found["num_unknown"]) == (1, 1, 1)


def test_shot_length_counts_a_shot_once():
    clips = [
        _clip("a", 0, idx, 0.0, shot_end_s=20.0, verdict=verdict) for idx, verdict in enumerate(("pending", "keep"))
    ]
    found = _stats([*clips, _clip("a", 1, 0, 20.0, shot_start_s=20.0, shot_end_s=24.0, verdict="pending")])[
        "distributions"
    ]["shot_length"]
    assert (sum(found["kept"]), sum(found["not_kept"]), found["kept_spread"]["max"]) == (1, 1, 20.0)


def test_statistics_are_plain_json_even_of_nothing():
    for ledger in (make_ledger([]), LEDGER.empty_table(), make_ledger(make_rows())):
        stats = compute_stats(ledger, STAGES)
        assert json.loads(json.dumps(stats, allow_nan=False)) == stats


def test_print_funnel_names_units_and_reasons():
    text = io.StringIO()
    print_funnel(_stats(_three_sources()), Console(file=text, width=160))
    assert "1 sources -> 2 shots" in text.getvalue()
    assert "mouth_hidden 1" in text.getvalue()
    assert "6 rows = 1 kept + 4 dropped + 1 pending" in text.getvalue()


@pytest.mark.parametrize(("hours", "text"), [(130.42, "130.4 h"), (0.2, "12.0 min"), (0.001, "3.6 s"), (0.0, "0.0 s")])
def test_duration_text(hours, text):
    assert duration_text(hours) == text
