"""Result of every rule of the policy on a row."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa

from pipeline.dataset.decide import copy_of, read_columns
from pipeline.job.plan import STAGE_NAMES
from pipeline.rules.policy import CHECKS, Fact, PolicyConfig, decide
from pipeline.rules.quantities import Limit
from pipeline.show.gallery import read_rows
from pipeline.show.text import printable
from stages.core.command import UserError
from stages.core.reasons import DropReason, Verdict
from stages.core.records import STAGE_COLUMNS, Row

_KEYS = ("row_id", "source_id", "verdict", "drop_stage", "drop_reason", "drop_detail")
_SHOWN_ELSEWHERE = {"thumb_jpeg", "media_path", "title", "uploader", "webpage_url", "versions"}


class UnknownClip(UserError):
    """A name that the ledger lacks; the message lists similar ones."""


@dataclass(frozen=True)
class Finding:
    """Result of one rule on a row.

    Args:
        value, limit: measurement and threshold as text; empty if nothing was measured.
        margin: distance of the number from the threshold, in its own unit, negative where it fails. None if the rule is
            no number.
        share: the margin over the threshold.
        state: "passes", "fails", "decides" (the first failure), or "not measured".
        is_condition: the rule is a condition of the rule before, which counts only where both fail.
    """

    stage: str
    reason: str
    name: str
    value: str
    limit: str
    margin: float | None
    share: float | None
    state: str
    is_condition: bool = False


def findings(row: Row, policy: PolicyConfig, stages: tuple[str, ...] = STAGE_NAMES) -> list[Finding]:
    """Every rule of the policy in the plan's order; a fact that no setting judges only where it fails a row."""
    last = stages.index(row["last_stage"]) if row.get("last_stage") else -1
    measured = stages[: last if row.get("fault_reason") else last + 1]
    found: list[Finding] = []
    decided = False
    for check in CHECKS:
        if check.stage not in measured:
            state = "not measured"
        elif check.test(row, policy) is None:
            state = "passes"
        else:
            state, decided = ("fails" if decided else "decides"), True
        if isinstance(check.rule, Fact) and not check.rule.keys and state in ("passes", "not measured"):
            continue
        for rule, is_condition in ((check.rule, False), (check.where, True)):
            if rule is not None:
                found.append(_finding(check.stage, str(check.reason), rule, row, policy, state, is_condition))
    return found


def _finding(
    stage: str, reason: str, rule: Limit | Fact, row: Row, policy: PolicyConfig, state: str, is_condition: bool
) -> Finding:
    if isinstance(rule, Fact):
        value = str(row.get(rule.columns[0], ""))
        limit = " ".join(filter(None, (_shown(key, getattr(policy, key)) for key in rule.keys))) or "any"
        return Finding(stage, reason, rule.columns[0], value, limit, None, None, state, is_condition)
    number, threshold = rule.number.value(row), float(getattr(policy, rule.key))
    sign = ("≥" if rule.at_least else "≤") if not is_condition else ("<" if rule.at_least else "≥")
    if number is None or state == "not measured":
        return Finding(
            stage, reason, rule.number.name, "", f"{sign} {threshold:g}", None, None, "not measured", is_condition
        )
    margin = number - threshold if rule.at_least else threshold - number
    share = margin / abs(threshold) if threshold else None
    return Finding(
        stage, reason, rule.number.name, f"{number:.4g}", f"{sign} {threshold:g}", margin, share, state, is_condition
    )


def _shown(key: str, value: object) -> str:
    """Text of a setting that is no number: the words that it allows, or its name if it is set."""
    return "/".join(value) if isinstance(value, tuple | list) else key if value else ""


@dataclass(frozen=True)
class Explanation:
    """Everything known about a row.

    Args:
        row: the row without embeddings and fingerprints.
        verdict: verdict of the given policy; the ledger's if the policy keeps a row that the ledger drops as a copy.
        changed: the ledger's verdict, if it differs.
        copies: rows that were dropped as copies of this one.
    """

    row: Row
    findings: tuple[Finding, ...]
    verdict: Row
    changed: str | None
    copies: tuple[str, ...]


def explain(out: Path, clip: str, policy: PolicyConfig) -> Explanation | list[Row]:
    """One row in full, or the rows of a source that has several.

    Raises:
        NoDataSet: DIR has no ledger.
        UnknownClip: no row or source has this name.
    """
    keys = read_columns(out, _KEYS)
    same_name = _where(keys, "row_id", clip)
    if not same_name:
        of_source = _where(keys, "source_id", clip)
        if not of_source:
            raise UnknownClip(f"{out} has no clip {clip!r}{_like(clip, keys)}")
        if len(of_source) > 1:
            return of_source
        same_name = of_source
    row = read_rows(out / "ledger.parquet", [same_name[0]["row_id"]])[same_name[0]["row_id"]]
    verdict = decide(row, policy, STAGE_NAMES)
    late = row.get("drop_stage") == "finalize" and verdict["verdict"] == Verdict.KEEP
    if late:
        verdict = {name: row.get(name) for name in verdict}
    before, now = verdict_text(row), verdict_text(verdict)
    copies = [
        copy
        for copy in _where(keys, "drop_reason", DropReason.DUPLICATE_CLIP)
        if copy_of(copy["drop_detail"]) == row["row_id"]
    ]
    return Explanation(
        row,
        tuple(findings(row, policy)),
        verdict,
        before if before != now else None,
        tuple(copy["row_id"] for copy in copies),
    )


def _where(table: pa.Table, column: str, value: str) -> list[Row]:
    chosen = [idx for idx, found in enumerate(table[column].to_pylist()) if found == value]
    return table.take(pa.array(chosen, pa.int64())).to_pylist()


def _like(clip: str, keys: pa.Table) -> str:
    names = [*dict.fromkeys(keys["source_id"].to_pylist()), *keys["row_id"].to_pylist()]
    near = get_close_matches(clip, names, n=5)
    return f"; close to it: {', '.join(near)}" if near else "; `ledger.parquet` names them in `row_id`"


def verdict_text(verdict: Row) -> str:
    if verdict["verdict"] != Verdict.DROP:
        return verdict["verdict"]
    return f"drop at {verdict['drop_stage']}: {verdict['drop_reason']}, {verdict['drop_detail']}"


def facts(explanation: Explanation) -> list[tuple[str, str]]:
    """Facts about a row beside its measurements, as pairs of name and printable text."""
    row, verdict = explanation.row, explanation.verdict
    lines = [("row", row["row_id"]), ("title", row.get("title", "")), ("from", row.get("uri", ""))]
    for name, start, end in (("clip", "start_s", "end_s"), ("shot", "shot_start_s", "shot_end_s")):
        if end in row:
            lines.append((name, f"{row[start]:.2f} - {row[end]:.2f} s, {row[end] - row[start]:.2f} s long"))
    lines.append(("verdict", verdict_text(verdict)))
    if verdict["verdict"] == Verdict.DROP:
        lines.append(("which means", DropReason(verdict["drop_reason"]).text))
    if explanation.changed is not None:
        lines.append(("in the ledger", explanation.changed))
    lines.append(("measured up to", row.get("last_stage", "nothing")))
    if row.get("fault_reason"):
        lines.append(("fault", f"{row['fault_reason']}: {row['fault_detail']}"))
    lines += [(name, row[name]) for name in ("identity_id", "split") if name in row]
    if explanation.copies:
        lines.append(("copies of it", ", ".join(explanation.copies)))
    return [(name, " | ".join(map(printable, text.splitlines()))) for name, text in lines if text]


def other_measurements(row: Row) -> dict[str, str]:
    """Measurements that no rule judges, as text by stage."""
    judged = {column for check in CHECKS for column in check.columns} | _SHOWN_ELSEWHERE
    found = {}
    for stage, schema in STAGE_COLUMNS.items():
        named = [(name, row[name]) for name in schema.names if name in row and name not in judged]
        texts = [f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in named]
        if texts:
            found[stage] = printable(", ".join(texts))
    return found
