"""The policy's checks on a whole ledger at once, and the verdicts that follow.

The rules are those of `pipeline/rules/policy.py`, applied by column: a number is compared as an array, any other fact
is evaluated once for each distinct value. `decide` of the policy gives the same verdict on a single row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.rules.policy import CHECKS, Fact, PolicyConfig
from pipeline.rules.quantities import Limit
from stages.core.reasons import DropReason, Verdict
from stages.core.records import Row

VERDICT_COLUMNS = ("verdict", "drop_stage", "drop_reason", "drop_detail")


@dataclass(frozen=True)
class Findings:
    """Results of the checks on N rows, in the order of `CHECKS`.

    Args:
        judged: bool (checks, N): the check's stage has measured the row without a fault.
        failed: bool (checks, N): the row is judged and fails the check.
        gaps: bool (checks, N): the row is judged, has no fault, and lacks a number that the check needs.
        last: int (N,): index of the last stage that measured the row; -1 if none did.
        faulted: bool (N,): the last stage found a fault.
    """

    judged: np.ndarray
    failed: np.ndarray
    gaps: np.ndarray
    last: np.ndarray
    faulted: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """Int (N,): index of the check that decides; the number of checks where none does."""
        decides = self.failed | self.gaps
        return np.where(decides.any(axis=0), decides.argmax(axis=0), len(decides))


def judge(ledger: pa.Table, policy: PolicyConfig, stages: tuple[str, ...]) -> Findings:
    """Apply every check to every row that its stage has measured, including rows that an earlier check drops."""
    last = _positions(ledger["last_stage"], stages)
    faulted = ledger["fault_reason"].is_valid().to_numpy() & (last >= 0)
    num_clean = last + np.where(faulted, 0, 1)
    judged = np.stack([stages.index(check.stage) < num_clean for check in CHECKS])
    failed = np.stack([fails(ledger, check.rule, policy) for check in CHECKS])
    for idx, check in enumerate(CHECKS):
        if check.where is not None:
            failed[idx] &= fails(ledger, check.where, policy)
    gaps = np.stack([lacks(ledger, check.limits) for check in CHECKS])
    return Findings(judged, failed & judged, gaps & judged & ~faulted, last, faulted)


def numbers(ledger: pa.Table, limit: Limit) -> np.ndarray:
    """The numbers that a limit judges, float64 (N,); NaN where null."""
    columns = [pc.cast(ledger[name], pa.float64()).to_numpy(zero_copy_only=False) for name in limit.columns]
    return limit.number.of(*columns)


def verdicts(ledger: pa.Table, findings: Findings, policy: PolicyConfig, stages: tuple[str, ...]) -> pa.Table:
    """The verdict columns of every row, in the ledger's order."""
    first, num = findings.first, ledger.num_rows
    by_check = first < len(CHECKS)
    by_fault = ~by_check & findings.faulted
    complete = findings.last == len(stages) - 1
    verdict = np.where(by_check | by_fault, Verdict.DROP, np.where(complete, Verdict.KEEP, Verdict.PENDING))
    found = {name: np.full(num, None, object) for name in VERDICT_COLUMNS[1:]}
    for idx in np.unique(first[by_check]):
        check, chosen = CHECKS[idx], first == idx
        rows = ledger.select(list(dict.fromkeys(check.columns))).filter(pa.array(chosen)).to_pylist()
        found["drop_stage"][chosen] = check.stage
        found["drop_reason"][chosen] = np.where(findings.gaps[idx][chosen], DropReason.ERROR, check.reason)
        found["drop_detail"][chosen] = [check.gap(row) or check.test(row, policy) for row in rows]
    found["drop_stage"][by_fault] = np.array(stages, object)[findings.last[by_fault]]
    for name, fault in (("drop_reason", "fault_reason"), ("drop_detail", "fault_detail")):
        found[name][by_fault] = ledger[fault].to_numpy()[by_fault]
    columns = [verdict.astype(object), *found.values()]
    return pa.table([pa.array(column, pa.string()) for column in columns], list(VERDICT_COLUMNS))


def _positions(names: pa.ChunkedArray, order: tuple[str, ...]) -> np.ndarray:
    """Index of each name in the order; -1 for null."""
    index = {None: -1, **{name: position for position, name in enumerate(order)}}
    return np.array([index[name] for name in names.to_pylist()], np.int64)


def fails(ledger: pa.Table, rule: Limit | Fact, policy: PolicyConfig) -> np.ndarray:
    """Which rows fail a rule, bool (N,)."""
    if isinstance(rule, Limit):
        return rule.fails(numbers(ledger, rule), float(getattr(policy, rule.key)))  # NaN fails nothing
    row_of, group = _distinct(ledger, rule.columns)
    rows: list[Row] = ledger.select(rule.columns).take(pa.array(row_of)).to_pylist()
    return np.array([rule.fault(row, policy) is not None for row in rows], bool)[group]


def lacks(ledger: pa.Table, limits: tuple[Limit, ...]) -> np.ndarray:
    """Which rows have a number that is not finite, or null where it may not be; bool (N,)."""
    lacking = np.zeros(ledger.num_rows, bool)
    for limit in limits:
        unknown = ~np.isfinite(numbers(ledger, limit))
        if limit.number.may_be_null:
            unknown &= np.all([ledger[name].is_valid().to_numpy() for name in limit.columns], axis=0)
        lacking |= unknown
    return lacking


def _distinct(ledger: pa.Table, columns: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """One row for each distinct combination of values, and for each row the index of its combination."""
    group = np.zeros(ledger.num_rows, np.int64)
    row_of = np.zeros(0, np.int64)
    for name in columns:
        codes = ledger[name].combine_chunks().dictionary_encode("encode").indices.to_numpy()
        _, row_of, group = np.unique(group * (len(codes) + 1) + codes, return_index=True, return_inverse=True)
    return row_of, group
