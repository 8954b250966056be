"""Why one clip was kept or dropped: what was measured, against which threshold, and how far from it.

    python -m pipeline.explain --out DIR CLIP [--picture FILE.png] [policy.key=value ...]

CLIP is a `row_id` of the ledger; of a `source_id` every row is told in a line.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.dataset.decide import copy_of, read_columns
from pipeline.job.plan import STAGE_NAMES
from pipeline.rules.config import stored_config
from pipeline.rules.policy import CHECKS, Fact, Limit, PolicyConfig, decide
from pipeline.show.gallery import printable, read_rows
from stages.core.command import make_console
from stages.core.reasons import REASON_TEXT, DropReason, Verdict
from stages.core.records import STAGE_COLUMNS, Row
from stages.core.settings import ConfigError
from stages.core.storage import StorageError, UnknownStorage, as_path

if TYPE_CHECKING:
    from rich.console import Console

_KEYS = ("row_id", "source_id", "verdict", "drop_stage", "drop_reason", "drop_detail")
_TOLD = {"thumb_jpeg", "media_path", "title", "uploader", "webpage_url", "versions"}


class UnknownClip(Exception):
    """A name that the ledger does not have; the message has those that are like it."""


@dataclass(frozen=True)
class Finding:
    """One rule, and how a row stands to it.

    Args:
        value, limit: as text; empty where nothing was measured.
        margin: how far inside the threshold the number lies, in its own unit; negative: beyond it. None where the rule
            is no number.
        share: the same over the threshold.
        state: "passes", "fails", "decides" (the first that fails), or "not measured".
        is_condition: of the rule before, which counts only where this fails as well.
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
    """Every rule of the policy in the plan's order."""
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
        found.append(_finding(check.stage, str(check.reason), check.rule, row, policy, state, False))
        if check.where is not None:
            found.append(_finding(check.stage, str(check.reason), check.where, row, policy, state, True))
    return found


def _finding(
    stage: str, reason: str, rule: Limit | Fact, row: Row, policy: PolicyConfig, state: str, is_condition: bool
) -> Finding:
    if isinstance(rule, Fact):
        value = str(row.get(rule.columns[0], ""))
        limit = " ".join(filter(None, (_shown(key, getattr(policy, key)) for key in rule.keys))) or "any"
        return Finding(stage, reason, rule.columns[0], value, limit, None, None, state, is_condition)
    number, threshold = rule.value(row), float(getattr(policy, rule.key))
    sign = ("≥" if rule.at_least else "≤") if not is_condition else ("<" if rule.at_least else "≥")
    if number is None or state == "not measured":
        return Finding(stage, reason, rule.name, "", f"{sign} {threshold:g}", None, None, "not measured", is_condition)
    margin = number - threshold if rule.at_least else threshold - number
    share = margin / abs(threshold) if threshold else None
    return Finding(
        stage, reason, rule.name, f"{number:.4g}", f"{sign} {threshold:g}", margin, share, state, is_condition
    )


def _shown(key: str, value: object) -> str:
    """A setting that is no number: the words it allows, or its name where it is asked for."""
    return "/".join(value) if isinstance(value, tuple | list) else key if value else ""


@dataclass(frozen=True)
class Explanation:
    """All that is known of a row.

    Args:
        row: without embeddings and fingerprints.
        verdict: of the policy asked for; where it keeps a row that the ledger holds for a copy, the ledger's.
        changed: the ledger's verdict, where it is another one.
        copies: rows that were dropped for having sound or pictures of this one.
    """

    row: Row
    findings: tuple[Finding, ...]
    verdict: Row
    changed: str | None
    copies: tuple[str, ...]


def explain(out: Path, clip: str, policy: PolicyConfig) -> Explanation | list[Row]:
    """One row in full; of a source that has several, each in short.

    Raises:
        FileNotFoundError: DIR has no ledger.
        UnknownClip: no row and no source has this name.
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
    before, now = _told(row), _told(verdict)
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


def _told(verdict: Row) -> str:
    if verdict["verdict"] != Verdict.DROP:
        return verdict["verdict"]
    return f"drop at {verdict['drop_stage']}: {verdict['drop_reason']}, {verdict['drop_detail']}"


def facts(told: Explanation) -> list[tuple[str, str]]:
    """What is to be said of a row beside its measurements, as pairs of name and printable text."""
    row, verdict = told.row, told.verdict
    lines = [("row", row["row_id"]), ("title", row.get("title", "")), ("from", row.get("uri", ""))]
    for name, start, end in (("clip", "start_s", "end_s"), ("shot", "shot_start_s", "shot_end_s")):
        if end in row:
            lines.append((name, f"{row[start]:.2f} - {row[end]:.2f} s, {row[end] - row[start]:.2f} s long"))
    lines.append(("verdict", _told(verdict)))
    if verdict["verdict"] == Verdict.DROP:
        lines.append(("which means", REASON_TEXT[DropReason(verdict["drop_reason"])]))
    if told.changed is not None:
        lines.append(("in the ledger", told.changed))
    lines.append(("measured up to", row.get("last_stage", "nothing")))
    if row.get("fault_reason"):
        lines.append(("fault", f"{row['fault_reason']}: {row['fault_detail']}"))
    lines += [(name, row[name]) for name in ("identity_id", "split") if name in row]
    if told.copies:
        lines.append(("copies of it", ", ".join(told.copies)))
    return [(name, " | ".join(map(printable, text.splitlines()))) for name, text in lines if text]


def other_measurements(row: Row) -> dict[str, str]:
    """Numbers and words that no rule judges, by stage."""
    judged = {column for check in CHECKS for column in check.columns} | _TOLD
    told = {}
    for stage, schema in STAGE_COLUMNS.items():
        named = [(name, row[name]) for name in schema.names if name in row and name not in judged]
        texts = [f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in named]
        if texts:
            told[stage] = printable(", ".join(texts))
    return told


def print_explanation(told: Explanation, console: Console) -> None:
    """What is known of a row, every rule in the plan's order, and what else was measured."""
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 2))
    for name, text in facts(told):
        head.add_row(Text(name, style="dim"), Text(text))
    console.print(head)
    table = Table(title="Every check, in order", title_justify="left", show_edge=False, pad_edge=False)
    for name, width in (("stage", 8), ("measured", 27), ("", 16), ("threshold", 9), ("margin", 16), ("", None)):
        justify = "right" if name == "margin" else "left"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis", max_width=width)
    shown = [finding for finding in told.findings if finding.state != "not measured"]
    for finding in shown:
        style = {"passes": None, "fails": "red", "decides": "bold red"}[finding.state]
        margin = "" if finding.margin is None else f"{finding.margin:+.3g}"
        if finding.share is not None:
            margin += f" ({finding.share:+.0%})"
        end = "" if finding.state == "passes" else f"{finding.state}: {finding.reason}"
        cells = (finding.stage, finding.name, finding.value, finding.limit, margin, end)
        if finding.is_condition:
            cells = ("", f"where {finding.name}", finding.value, finding.limit, "", "")
        table.add_row(*(Text(printable(cell)) for cell in cells), style=style)
    console.print(table)
    unmeasured = dict.fromkeys(f.name for f in told.findings if f not in shown and not f.is_condition)
    if unmeasured:
        console.print(f"Not measured: {', '.join(unmeasured)}.", highlight=False)
    for stage, text in other_measurements(told.row).items():
        console.print(Text(f"{stage}: {text}"))
    versions = json.loads(told.row.get("versions", "{}"))
    console.print(Text("made by " + ", ".join(f"{name} {_version(value)}" for name, value in versions.items())))


def _version(value: object) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)


def print_rows(rows: list[Row], console: Console) -> None:
    """One line a row of a source."""
    for row in rows:
        console.print(f"{row['row_id']}  {printable(_told(row))}", highlight=False, markup=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.explain", description="Why a clip was kept or dropped.")
    parser.add_argument("--out", required=True, help="folder of a run, or s3://bucket/folder")
    parser.add_argument("--picture", type=Path, help="PNG to draw: frames with the measurements beside them")
    parser.add_argument("clip", help="row_id or source_id of the ledger")
    parser.add_argument("overrides", nargs="*", metavar="policy.key=value", help="judge by another policy")
    args = parser.parse_intermixed_args(arguments)
    try:
        out = as_path(args.out)
        told = explain(out, args.clip, stored_config(out, args.overrides).policy)
        if isinstance(told, list):
            print_rows(told, make_console())
            if args.picture:
                raise UnknownClip(f"{args.clip} has {len(told)} rows; name one of them for a picture")
            return 0
        print_explanation(told, make_console())
        if args.picture:
            from pipeline.show.picture import draw_picture

            draw_picture(out, told, args.picture)
            print(f"Drawn in {args.picture}")
    except (ConfigError, FileNotFoundError, UnknownClip, StorageError, UnknownStorage) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
