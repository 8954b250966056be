"""Say what each threshold costs, and what other values of it would change.

    python -m pipeline.suggest --out DIR [--key policy.min_face_px] [policy.key=value ...]

A row that a threshold drops was not measured by later stages: how much of it a looser value would keep is known only
after another run. `at most` counts all of it; `about` takes the share that was kept of the hours that passed the same
stage. What a stricter value takes away is exact, but for copies that stand in for what goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.dataset.decide import read_columns
from pipeline.dataset.stats import duration_text
from pipeline.job.plan import STAGE_NAMES
from pipeline.rules.config import stored_config
from pipeline.rules.judge import Findings, fails, judge, numbers
from pipeline.rules.policy import CHECKS, PolicyConfig
from stages.core.command import command, make_console, make_parser
from stages.core.rows import TIMES, lengths_s
from stages.core.settings import ConfigError
from stages.core.storage import as_path

if TYPE_CHECKING:
    from rich.console import Console

NUM_POINTS = 13
"""Number of points of a threshold's curve."""
_PLACE = ("row_id", "last_stage", "fault_reason", "drop_stage", *TIMES)
COLUMNS = tuple(dict.fromkeys([*_PLACE, *(column for check in CHECKS for column in check.columns)]))
"""Columns of the ledger that costs are counted from."""
KEYS = tuple(dict.fromkeys(limit.key for check in CHECKS for limit in check.limits))
"""Keys of the numeric thresholds, in the plan's order."""


@dataclass(frozen=True)
class Point:
    """The set under another value of one threshold, all else unchanged.

    Args:
        num: rows that are certainly kept, because every stage has measured them.
        hours: length of these rows.
        hours_about: `hours` and an estimate for rows that would pass but are not fully measured: the share kept of rows
            that passed the same stage.
        hours_at_most: `hours` and the length of all rows that would pass but are not fully measured.
    """

    value: float
    num: int
    hours: float
    hours_about: float
    hours_at_most: float


@dataclass(frozen=True)
class Cost:
    """Cost of one threshold.

    Args:
        num_first: rows that this threshold is the first to drop; `hours_first` long.
        num_alone: rows that fail this threshold alone; `hours_alone` long, of which about `hours_alone_about` would be
            kept without it.
        now: the present set.
        looser, stricter: other values, ordered by distance from the present one.
    """

    key: str
    num_first: int
    hours_first: float
    num_alone: int
    hours_alone: float
    hours_alone_about: float
    now: Point
    looser: tuple[Point, ...]
    stricter: tuple[Point, ...]


class Ledger:
    """A judged ledger that costs are counted from.

    Args:
        table: rows with `COLUMNS`.
    """

    def __init__(self, table: pa.Table, policy: PolicyConfig, stages: tuple[str, ...] = STAGE_NAMES) -> None:
        self.policy = policy
        self._table = table
        self._findings = judge(table, policy, stages)
        self._hours = lengths_s(table.select(TIMES).to_pandas()).to_numpy() / 3600
        copies = np.array([stage == "finalize" for stage in table["drop_stage"].to_pylist()], bool)
        # no threshold restores a fault, a gap or a copy
        self._possible = ~self._findings.faulted & ~self._findings.gaps.any(axis=0) & ~copies
        self._complete = self._findings.last == len(stages) - 1
        self._survival = _survival(self._findings, self._hours, self._possible, self._complete, stages)

    def cost(self, key: str) -> Cost:
        """Cost of a threshold, and a few values that would change the set."""
        edge, others_pass = self._edges(key)
        at = partial(self._point, key, edge, others_pass)
        now = getattr(self.policy, key)
        own = self._checks(key)
        first = own[np.minimum(self._findings.first, len(CHECKS) - 1)] & (self._findings.first < len(CHECKS))
        alone = others_pass & self._findings.failed[own].any(axis=0)
        kept = others_pass & ~alone & self._complete & np.isfinite(edge)
        # values that keep half and all of what it alone drops, and that drop a tenth and half of what is kept
        sign = 1 if self._at_least(key) else -1
        looser = _quantiles(sign * edge[alone], self._hours[alone], (0.5, 0.0)) * sign
        stricter = _quantiles(sign * edge[kept], self._hours[kept], (0.1, 0.5)) * sign
        return Cost(
            key,
            num_first=int(first.sum()),
            hours_first=float(self._hours[first].sum()),
            num_alone=int(alone.sum()),
            hours_alone=float(self._hours[alone].sum()),
            hours_alone_about=float((self._hours * self._survival)[alone].sum()),
            now=at(now),
            looser=tuple(p for p in map(at, _rounded(looser, -sign)) if p.hours_at_most > at(now).hours_at_most),
            stricter=tuple(p for p in map(at, _rounded(stricter, sign)) if p.hours < at(now).hours),
        )

    def curve(self, key: str) -> tuple[Point, ...]:
        """The set under ascending values between the measured extremes, including the present value."""
        edge, others_pass = self._edges(key)
        known = others_pass & np.isfinite(edge)
        values = _quantiles(edge[known], self._hours[known], tuple(np.linspace(0, 1, NUM_POINTS)))
        chosen = {*_rounded(values, -1 if self._at_least(key) else 1), float(getattr(self.policy, key))}
        return tuple(self._point(key, edge, others_pass, value) for value in sorted(chosen))

    def _checks(self, key: str) -> np.ndarray:
        return np.array([any(limit.key == key for limit in check.limits) for check in CHECKS])

    def _at_least(self, key: str) -> bool:
        return next(limit.at_least for check in CHECKS for limit in check.limits if limit.key == key)

    def _edges(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """The strictest value that each row passes, infinite if it passes any; whether it passes all other rules."""
        worst, none = (np.fmin, np.inf) if self._at_least(key) else (np.fmax, -np.inf)
        edge = np.full(self._table.num_rows, none)
        own = self._checks(key)
        for idx in np.flatnonzero(own):
            check = CHECKS[idx]
            mine = next(limit for limit in check.limits if limit.key == key)
            applies = self._findings.judged[idx].copy()
            other = check.where if mine is check.rule else check.rule
            if other is not None:
                applies &= fails(self._table, other, self.policy)
            edge[applies] = worst(edge[applies], numbers(self._table, mine)[applies])
        others_pass = self._possible & ~self._findings.failed[~own].any(axis=0)
        return edge, others_pass

    def _point(self, key: str, edge: np.ndarray, others_pass: np.ndarray, value: float) -> Point:
        drops = next(limit.fails for check in CHECKS for limit in check.limits if limit.key == key)
        passes = others_pass & ~drops(edge, value)
        known, unknown = passes & self._complete, passes & ~self._complete
        hours = float(self._hours[known].sum())
        about = float((self._hours * self._survival)[unknown].sum())
        return Point(value, int(known.sum()), hours, hours + about, hours + float(self._hours[unknown].sum()))


def _survival(
    findings: Findings, hours: np.ndarray, possible: np.ndarray, complete: np.ndarray, stages: tuple[str, ...]
) -> np.ndarray:
    """Survival of each row (N,): the share of hours kept, among hours that passed the row's last stage."""
    fine = possible & ~findings.failed.any(axis=0)
    stage_of = np.array([stages.index(check.stage) for check in CHECKS] + [len(stages)])
    leaves = np.where(findings.faulted, np.minimum(stage_of[findings.first], findings.last), stage_of[findings.first])
    kept = hours[fine & complete].sum()
    settled = complete | ~fine  # rows that are not fully measured are no evidence
    passed = np.array([hours[settled & (leaves > idx)].sum() for idx in range(len(stages))])
    shares = np.divide(kept, passed, out=np.zeros(len(stages)), where=passed > 0)
    return shares[np.maximum(findings.last, 0)]


def _quantiles(values: np.ndarray, weights: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Weighted quantiles of values; empty without values."""
    if not len(values):
        return np.zeros(0)
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    places = np.searchsorted(reached, np.array(shares) * reached[-1])
    return values[order][np.minimum(places, len(values) - 1)]


def _rounded(values: np.ndarray, direction: int) -> list[float]:
    """Distinct values of three digits, rounded down or up."""
    steps = [10.0 ** (np.floor(np.log10(abs(value))) - 2) if value else 1.0 for value in values]
    near = [direction * np.ceil(direction * v / step - 1e-9) * step for v, step in zip(values, steps, strict=True)]
    return list(dict.fromkeys(float(f"{value:.3g}") for value in near))


def print_costs(costs: list[Cost], console: Console) -> None:
    """Print one line for each threshold, the most costly first."""
    from rich.table import Table

    kept = costs[0].now
    console.print(f"Kept: {kept.num} clips, {duration_text(kept.hours)}, before duplicates.", highlight=False)
    table = Table(title="What each threshold drops", title_justify="left", show_edge=False, pad_edge=False)
    for name in ("threshold", "now", "first", "alone", "about", "at most", "looser: at most", "stricter"):
        left = name in ("threshold", "looser: at most", "stricter")
        table.add_column(name, justify="left" if left else "right", overflow="fold", no_wrap=name == "threshold")
    for cost in sorted(costs, key=lambda cost: (-cost.hours_alone_about, -cost.hours_first)):
        table.add_row(
            cost.key,
            f"{cost.now.value:g}",
            f"{cost.num_first}, {duration_text(cost.hours_first)}" if cost.num_first else "",
            str(cost.num_alone or ""),
            duration_text(cost.hours_alone_about) if cost.num_alone else "",
            duration_text(cost.hours_alone) if cost.num_alone else "",
            ", ".join(f"{p.value:g} +{duration_text(p.hours_at_most - cost.now.hours_at_most)}" for p in cost.looser),
            ", ".join(f"{p.value:g} -{duration_text(cost.now.hours - p.hours)}" for p in cost.stricter),
        )
    console.print(table)
    console.print(
        "first: what it decides: clips, or shots and videos that gave none. alone: what passes all else that was\n"
        "measured of it. Later stages have not measured most of that: at most counts its whole length, about the\n"
        "share that was kept of what passed the same stage. A looser value takes a run, a stricter one a finalize.",
        highlight=False,
    )


def print_curve(key: str, points: tuple[Point, ...], now: float, console: Console) -> None:
    """Print one line for each value."""
    from rich.table import Table

    table = Table(title=f"The set under other values of policy.{key}", title_justify="left", show_edge=False)
    for name in ("value", "clips kept", "hours kept", "about", "at most"):
        table.add_column(name, justify="right")
    for point in points:
        hours = (point.hours, point.hours_about, point.hours_at_most)
        style = "bold" if point.value == now else None
        table.add_row(f"{point.value:g}", str(point.num), *map(duration_text, hours), style=style)
    console.print(table)
    console.print(f"Now {now:g}. Clips and hours kept are certain; about and at most add what is not measured yet.")


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m pipeline.suggest", __doc__)
    parser.add_argument("--out", required=True, help="folder of a run, or s3://bucket/folder")
    parser.add_argument("--key", help="a threshold, for a finer curve: policy.min_face_px")
    parser.add_argument("overrides", nargs="*", metavar="policy.key=value", help="judge by another policy")
    args = parser.parse_intermixed_args(arguments)
    key = args.key.removeprefix("policy.") if args.key is not None else None
    if key is not None and key not in KEYS:
        near = get_close_matches(key, KEYS) or KEYS
        raise ConfigError(f"no threshold policy.{key}; there is {', '.join(f'policy.{name}' for name in near)}")
    out = as_path(args.out)
    policy = stored_config(out, args.overrides).policy
    ledger = Ledger(read_columns(out, COLUMNS), policy)
    if key is None:
        print_costs([ledger.cost(name) for name in KEYS], make_console())
    else:
        print_curve(key, ledger.curve(key), getattr(policy, key), make_console())


if __name__ == "__main__":
    raise SystemExit(main())
