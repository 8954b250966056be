"""Difference between a new decision and the present ledger, as numbers and as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.dataset.stats import Frame, duration_text
from stages.core.reasons import Verdict
from stages.core.rows import TIMES, lengths_s

if TYPE_CHECKING:
    from rich.console import Console

UNSEEN, PENDING, KEPT = "(new)", "(pending)", "kept"
"""Pseudo-reasons: a row is new, pending, or kept."""
_COLUMNS = ("row_id", "source_id", "shot_idx", "clip_idx", "verdict", "drop_reason", "split", "identity_id")


@dataclass(frozen=True)
class Amount:
    """Number of rows and their total length. A row is a clip, or a shot or video without clips."""

    num: int = 0
    hours: float = 0.0


@dataclass(frozen=True)
class Line:
    """Changes of the rows of one reason or pseudo-reason.

    Args:
        gained: rows that were dropped for it and are now kept.
        lost: rows that were kept and are now dropped for it.
        reopened: rows that were dropped for it and are now pending.
        left, joined: number of rows that changed to another reason, and from another one.
    """

    reason: str
    gained: Amount = Amount()
    lost: Amount = Amount()
    reopened: Amount = Amount()
    left: int = 0
    joined: int = 0


@dataclass(frozen=True)
class Changes:
    """The difference between two ledgers.

    Args:
        lines: one line for each reason that changes, in the order of hours moved.
        pending: number of rows to be measured further, by unit, and number of their sources.
        num_moved: clips kept in both that change their split.
        num_renamed: clips kept in both that change their identity.
        num_gone: rows that the new ledger lacks; `kept_gone` of them were kept.
    """

    lines: tuple[Line, ...]
    kept_before: Amount
    kept_after: Amount
    pending: Amount
    pending_units: dict[str, int]
    num_pending_sources: int
    num_moved: int
    num_renamed: int
    num_gone: int
    kept_gone: Amount

    def __bool__(self) -> bool:
        return bool(self.lines or self.num_moved or self.num_renamed or self.num_gone)


def compare(before: pa.Table | None, after: pa.Table) -> Changes:
    """Compare two ledgers. Without a ledger before, every row is new."""
    new = _frame(after)
    old = _frame(before if before is not None else after.slice(0, 0))
    both = old.merge(new, how="outer", left_index=True, right_index=True, suffixes=("_before", "_after"))
    both[["is_before", "is_after"]] = both[["is_before", "is_after"]].fillna(UNSEEN)
    gone = both[both["is_after"] == UNSEEN]
    moves = both[(both["is_after"] != UNSEEN) & (both["is_before"] != both["is_after"])]
    states = {*moves["is_before"], *moves["is_after"]} - {KEPT}
    states -= {PENDING} - {*moves["is_before"]}
    lines = [line for state in sorted(states) if (line := _line(moves, state)) != Line(state)]
    stayed = both[(both["is_before"] == KEPT) & (both["is_after"] == KEPT)]
    waiting = new[new["is"] == PENDING]
    return Changes(
        lines=tuple(sorted(lines, key=lambda line: -(line.gained.hours + line.lost.hours + line.reopened.hours))),
        kept_before=_amount(old[old["is"] == KEPT]["hours"]),
        kept_after=_amount(new[new["is"] == KEPT]["hours"]),
        pending=_amount(waiting["hours"]),
        pending_units=waiting["unit"].value_counts().to_dict(),
        num_pending_sources=int(waiting["source_id"].nunique()),
        num_moved=int((stayed["split_before"] != stayed["split_after"]).sum()),
        num_renamed=int((stayed["identity_id_before"] != stayed["identity_id_after"]).sum()),
        num_gone=len(gone),
        kept_gone=_amount(gone[gone["is_before"] == KEPT]["hours_before"]),
    )


def _line(moves: Frame, state: str) -> Line:
    was, now = moves[moves["is_before"] == state], moves[moves["is_after"] == state]
    gained, reopened = was["is_after"] == KEPT, was["is_after"] == PENDING
    lost = now["is_before"] == KEPT
    return Line(
        state,
        gained=_amount(was[gained]["hours_after"]),
        lost=_amount(now[lost]["hours_after"]),
        reopened=_amount(was[reopened]["hours_after"]),
        left=int((~gained & ~reopened).sum()),
        joined=0 if state == PENDING else int((~lost).sum()),
    )


def _frame(ledger: pa.Table) -> Frame:
    """Reason or pseudo-reason, length and unit of each row, by `row_id`."""
    frame = ledger.select([*_COLUMNS, *TIMES]).to_pandas().set_index("row_id")
    frame["hours"] = lengths_s(frame) / 3600
    frame["unit"] = "video"
    frame.loc[frame["shot_idx"].notna(), "unit"] = "shot"
    frame.loc[frame["clip_idx"].notna(), "unit"] = "clip"
    frame["is"] = frame["drop_reason"].where(frame["verdict"] == Verdict.DROP, KEPT)
    frame.loc[frame["verdict"] == Verdict.PENDING, "is"] = PENDING
    return frame[["source_id", "split", "identity_id", "hours", "unit", "is"]]


def _amount(hours: Frame) -> Amount:
    return Amount(len(hours), float(hours.sum()))


def print_changes(changes: Changes, console: Console) -> None:
    """Print a line for each reason, then what is kept before and after, and what is pending."""
    from rich.table import Table

    if changes.lines:
        table = Table(
            title="What changes: clips, or shots and videos that gave none",
            title_justify="left",
            show_edge=False,
            pad_edge=False,
        )
        for name in ("reason", "now kept", "now dropped", "to be measured", "other reason"):
            table.add_column(name, justify="left" if name == "reason" else "right", no_wrap=True)
        for line in changes.lines:
            cells = [_amount_text(amount) if amount.num else "" for amount in (line.gained, line.lost, line.reopened)]
            moved = " ".join(f"{sign}{num}" for sign, num in (("-", line.left), ("+", line.joined)) if num)
            table.add_row(line.reason, *cells, moved)
        console.print(table)
    else:
        console.print("No verdict changes.")
    lines = [f"Kept clips: {_amount_text(changes.kept_before)} before; {_amount_text(changes.kept_after)} after."]
    if changes.num_gone:
        lines.append(
            f"Rows that are no longer there: {changes.num_gone}; kept of them: {_amount_text(changes.kept_gone)}."
        )
    if changes.num_moved or changes.num_renamed:
        lines.append(f"Kept clips that change their split: {changes.num_moved}; their identity: {changes.num_renamed}.")
    if changes.pending.num:
        units = ", ".join(f"{num} {unit}{'s' if num > 1 else ''}" for unit, num in changes.pending_units.items())
        hours, sources = duration_text(changes.pending.hours), changes.num_pending_sources
        lines.append(f"To be measured by the next run: {units} of {sources} sources, {hours} at most.")
    console.print("\n".join(lines), highlight=False)


def _amount_text(amount: Amount) -> str:
    return f"{amount.num}, {duration_text(amount.hours)}"
