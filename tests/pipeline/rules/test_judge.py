"""A whole ledger at once is judged as each of its rows."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.job.plan import STAGE_NAMES
from pipeline.rules.judge import judge, verdicts
from pipeline.rules.policy import CHECKS, PolicyConfig, decide
from stages.core.records import LEDGER, Row
from stages.core.rows import rows_from_table, table_from_rows

LIMITS = {limit.columns[0]: limit for check in CHECKS for limit in check.limits if len(limit.columns) == 1}
WORDS = {
    "licence": [None, "CC-BY-4.0", "unknown", " 无 "],
    "consent": [None, "written", "no"],
    "language": [None, "zh", "en"],
    "source_language": [None, "zh", "en"],
    "bytes_changed": [None, True, False],
}
PLACES = {"width_px": [640, 100], "height_px": [480, 200], "fps_num": [25, 10, 30000], "fps_den": [1, 1001]}
TIMES = {"duration_s": [8.0, 3.0, 2.9], "shot_end_s": [8.0, 3.0, 1.0], "end_s": [6.0, 3.0, 2.96]}


@st.composite
def rows(draw) -> Row:
    """Numbers at, just beside and far from their thresholds, as float32 has them; some missing."""
    row: Row = {"row_id": "r", "source_id": "s", "sha256": "ab" * 32, "expect_sha256": "cd" * 32}
    row |= {"shot_start_s": 0.0, "start_s": 0.0, "last_stage": draw(st.sampled_from([None, *STAGE_NAMES]))}
    row |= {name: draw(st.sampled_from(values)) for name, values in {**WORDS, **PLACES, **TIMES}.items()}
    for column, limit in LIMITS.items():
        threshold = float(getattr(PolicyConfig(), limit.key))
        if column not in TIMES:
            near = [threshold, np.nextafter(np.float32(threshold), np.float32(0)), threshold * 0.5, threshold * 1.5]
            row[column] = draw(st.sampled_from([None, float("nan"), -threshold * 1.2, *map(float, near)]))
    if draw(st.booleans()):
        row |= {"fault_reason": "corrupt", "fault_detail": "no packets"}
    return {name: value for name, value in row.items() if value is not None}


POLICIES = st.builds(
    PolicyConfig,
    require_licence=st.booleans(),
    require_same_bytes=st.booleans(),
    consents=st.sampled_from([(), ("written*",)]),
    languages=st.sampled_from([("zh",), ("zh", "en")]),
    min_face_px=st.sampled_from([45.0, 90.0, 135.0]),
    max_yaw_deg=st.sampled_from([17.5, 35.0]),
    min_sync_conf=st.sampled_from([2.0, 4.0, 6.0]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(rows(), max_size=6), POLICIES)
def test_every_row_gets_the_verdict_that_decide_gives_it(some, policy):
    table = table_from_rows(some, LEDGER)
    alone = [decide(row, policy, STAGE_NAMES) for row in rows_from_table(table)]
    assert verdicts(table, judge(table, policy, STAGE_NAMES), policy, STAGE_NAMES).to_pylist() == alone


def test_checks_stand_in_the_plans_order():
    stages = [STAGE_NAMES.index(check.stage) for check in CHECKS]
    assert stages == sorted(stages)


def test_every_number_of_the_policy_is_the_limit_of_a_check():
    numbers = {key for key, value in asdict(PolicyConfig()).items() if type(value) in (int, float)}
    assert numbers == {limit.key for check in CHECKS for limit in check.limits}


def test_checks_name_columns_of_the_ledger():
    named = {column for check in CHECKS for column in check.columns}
    assert named <= set(LEDGER.names), json.dumps(sorted(named - set(LEDGER.names)))


def test_an_empty_ledger_has_no_verdicts():
    policy = PolicyConfig()
    table = pa.Table.from_pylist([], LEDGER)
    assert verdicts(table, judge(table, policy, STAGE_NAMES), policy, STAGE_NAMES).num_rows == 0
