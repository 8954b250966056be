"""Statistics of what a run kept and dropped, counted from its ledger.

The unit of the funnel changes: `scan` turns a source into shots and `track` a shot into clips. Each stage therefore
names the unit of its input and of its verdicts. `in = out + dropped + pending` holds in units where the stage is one to
one, and in hours everywhere if the time cut away between shots or clips is counted too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.job.plan import STAGES
from pipeline.rules.quantities import QUANTITIES, Quantity
from stages.core.reasons import Verdict
from stages.core.records import LEDGER
from stages.core.rows import lengths_s

if TYPE_CHECKING:
    from rich.console import Console

Frame = Any
"""A pandas DataFrame; pandas' own annotations are too wide to check against."""

STATS_VERSION = 1
UNKNOWN = "unknown"
TOP_SOURCES = 30
TOP_IDENTITIES = 30

_WHOLE = {"source": ["source_id"], "shot": ["source_id", "shot_idx"]}
"""Columns that identify a source or a shot, which a quantity counts once."""
_PLAIN_COLUMNS = (
    "row_id",
    "source_id",
    "platform",
    "licence",
    "consent",
    "title",
    "shot_idx",
    "clip_idx",
    "start_s",
    "end_s",
    "shot_start_s",
    "shot_end_s",
    "duration_s",
    "fps_num",
    "fps_den",
    "gender",
    "language",
    "source_language",
    "split",
    "identity_id",
    "last_stage",
    "verdict",
    "drop_stage",
    "drop_reason",
    "versions",
)


def compute_stats(ledger: pa.Table, stages: tuple[str, ...]) -> dict[str, Any]:
    """Totals, funnel, breakdowns and distributions of a data set.

    Args:
        ledger: one row per clip, or per shot or source that gave none; `split` and `identity_id` where kept.
        stages: the plan's stage names in order. Drop stages that are not among them (finalize) come after.
    Returns:
        Plain JSON values, without NaN.
    """
    frame = _frame(ledger)
    decided_late = sorted(set(frame["drop_stage"].dropna()) - set(stages))
    order = (*stages, *decided_late)
    _place_exits(frame, order)
    kept = frame[frame["verdict"] == Verdict.KEEP]
    funnel = _funnel(frame, order)
    return {
        "version": STATS_VERSION,
        "stages": list(order),
        "totals": _totals(frame, kept),
        "funnel": funnel,
        "reasons": _reasons(funnel),
        "by": {
            "platform": _by(frame, kept, "platform"),
            "split": _by(kept, kept, "split"),
            "language": _by(frame, kept, "any_language"),
            "gender": _by(kept, kept, "gender"),
            "fps": _by(frame, kept, "nominal_fps"),
            "licence": _by(frame, kept, "licence"),
            "consent": _by(frame, kept, "consent"),
        },
        "sources": _per_source(frame, kept),
        "identities": _per_identity(kept),
        "distributions": {q.name: _distribution(frame, q) for q in QUANTITIES},
        "versions": _versions(frame),
    }


def _frame(ledger: pa.Table) -> Frame:
    wanted = {*_PLAIN_COLUMNS, *(c for q in QUANTITIES for number in q.numbers for c in number.columns)}
    table = ledger.select([name for name in ledger.column_names if name in wanted])
    for name in sorted(wanted - set(ledger.column_names)):
        kind = LEDGER.field(name).type if name in LEDGER.names else pa.string()
        table = table.append_column(name, pa.nulls(table.num_rows, kind))
    frame = table.to_pandas()
    shot_s = frame["shot_end_s"] - frame["shot_start_s"]
    frame["source_h"] = frame["duration_s"] / 3600
    frame["shot_h"] = shot_s.fillna(frame["duration_s"]) / 3600
    frame["clip_h"] = lengths_s(frame) / 3600
    fps = (frame["fps_num"] / frame["fps_den"]).astype(float)
    frame["nominal_fps"] = [f"{value:.4g}" if np.isfinite(value) else None for value in fps.round(2)]
    frame["any_language"] = frame["language"].fillna(frame["source_language"])
    return frame


def _place_exits(frame: Frame, order: tuple[str, ...]) -> None:
    """Add `exit`: index of the stage at which a row left the funnel; one past the last for kept rows."""
    index = {stage: i for i, stage in enumerate(order)}
    exits = []
    for verdict, drop_stage, last_stage in zip(frame["verdict"], frame["drop_stage"], frame["last_stage"], strict=True):
        if verdict == Verdict.KEEP:
            exits.append(len(order))
        elif verdict == Verdict.DROP:
            exits.append(index[drop_stage])
        else:
            exits.append(index[last_stage] + 1 if last_stage in index else 0)
    frame["exit"] = np.array(exits, dtype=np.int64)
    frame["pending"] = (frame["verdict"] == Verdict.PENDING).to_numpy(bool)


def _units(frame: Frame, unit: str) -> Frame:
    """One row per source, shot or clip: its hours, and the stage and reason at which its last part left the funnel."""
    keys = {"source": ["source_id"], "shot": ["source_id", "shot_idx"], "clip": ["row_id"]}[unit]
    last = frame.sort_values(["exit", "pending"], kind="stable").drop_duplicates(keys, keep="last")
    return last.assign(hours=last[f"{unit}_h"].fillna(0.0))


def _funnel(frame: Frame, order: tuple[str, ...]) -> list[dict[str, Any]]:
    levels = {unit: _units(frame, unit) for unit in ("source", "shot", "clip")}
    funnel, unit = [], "source"
    units = {stage.name: stage.splits_into for stage in STAGES if stage.splits_into}
    for position, stage in enumerate(order):
        unit_in, unit = unit, units.get(stage, unit)
        came = levels[unit_in][levels[unit_in]["exit"] >= position]
        judged = levels[unit][levels[unit]["exit"] >= position]
        left_here = judged[judged["exit"] == position]
        pending, dropped = left_here[left_here["pending"]], left_here[~left_here["pending"]]
        out = judged[judged["exit"] > position]
        reasons = {
            str(reason): {"num": len(group), "hours": _hours(group)}
            for reason, group in sorted(dropped.groupby("drop_reason"), key=lambda item: -len(item[1]))
        }
        funnel.append(
            {
                "stage": stage,
                "unit_in": unit_in,
                "unit": unit,
                "num_in": len(came),
                "num_judged": len(judged),
                "num_dropped": len(dropped),
                "num_pending": len(pending),
                "num_out": len(out),
                "hours_in": _hours(came),
                "hours_cut_away": _hours(came) - _hours(judged),
                "hours_dropped": _hours(dropped),
                "hours_pending": _hours(pending),
                "hours_out": _hours(out),
                "reasons": reasons,
            }
        )
    return funnel


def _hours(units: Frame) -> float:
    return float(units["hours"].sum())


def _reasons(funnel: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Sources, shots, clips and hours that each reason dropped, over all stages."""
    total: dict[str, dict[str, Any]] = {}
    for line in funnel:
        for reason, cost in line["reasons"].items():
            entry = total.setdefault(reason, {"source": 0, "shot": 0, "clip": 0, "num": 0, "hours": 0.0})
            entry[line["unit"]] += cost["num"]
            entry["num"] += cost["num"]
            entry["hours"] += cost["hours"]
    return dict(sorted(total.items(), key=lambda item: -item[1]["num"]))


def _totals(frame: Frame, kept: Frame) -> dict[str, Any]:
    sources = _units(frame, "source")
    verdicts = frame["verdict"].value_counts()
    hours_in, hours_kept = _hours(sources), float(kept["clip_h"].sum())
    return {
        "num_rows": len(frame),
        "num_sources": len(sources),
        "num_shots": len(frame.loc[frame["shot_idx"].notna(), ["source_id", "shot_idx"]].drop_duplicates()),
        "num_clips": int(frame["clip_idx"].notna().sum()),
        "num_kept": len(kept),
        "num_dropped": int(verdicts.get(Verdict.DROP, 0)),
        "num_pending": int(verdicts.get(Verdict.PENDING, 0)),
        "num_sources_kept": int(kept["source_id"].nunique()),
        "num_sources_of_unknown_length": int(sources["duration_s"].isna().sum()),
        "num_identities": int(kept["identity_id"].nunique()),
        "hours_in": hours_in,
        "hours_kept": hours_kept,
        "kept_ratio": hours_kept / hours_in if hours_in > 0 else 0.0,
    }


def _by(frame: Frame, kept: Frame, column: str) -> dict[str, dict[str, Any]]:
    """Sources, clips, identities and hours by the values of a column, most hours kept first."""
    values, kept_values = frame[column].fillna(UNKNOWN), kept[column].fillna(UNKNOWN)
    result = {}
    for value, group in frame.groupby(values):
        mine = kept[kept_values == value]
        result[str(value)] = {
            "num_sources": int(group["source_id"].nunique()),
            "num_sources_kept": int(mine["source_id"].nunique()),
            "num_clips_kept": len(mine),
            "num_identities": int(mine["identity_id"].nunique()),
            "hours_in": _hours(_units(group, "source")),
            "hours_kept": float(mine["clip_h"].sum()),
        }
    return dict(sorted(result.items(), key=lambda item: (-item[1]["hours_kept"], -item[1]["hours_in"], item[0])))


def _per_source(frame: Frame, kept: Frame) -> dict[str, Any]:
    sources = _units(frame, "source").set_index("source_id")
    gave = kept.groupby("source_id")["clip_h"].agg(["sum", "count"])
    sources["hours_kept"] = gave["sum"].reindex(sources.index).fillna(0.0)
    sources["num_kept"] = gave["count"].reindex(sources.index).fillna(0).astype(int)
    ranked = sources.sort_values(["hours_kept", "hours"], ascending=False, kind="stable")
    rest = ranked.iloc[TOP_SOURCES:]
    top = [
        {
            "source_id": str(source_id),
            "title": row["title"] if isinstance(row["title"], str) else "",
            "hours_in": float(row["hours"]),
            "hours_kept": float(row["hours_kept"]),
            "num_clips_kept": int(row["num_kept"]),
        }
        for source_id, row in ranked.iloc[:TOP_SOURCES].iterrows()
    ]
    others = {"num_sources": len(rest), "hours_in": _hours(rest), "hours_kept": float(rest["hours_kept"].sum())}
    return {"top": top, "others": others}


def _per_identity(kept: Frame) -> dict[str, Any]:
    hours = kept.groupby("identity_id")["clip_h"].agg(["sum", "count"]).sort_values("sum", ascending=False)
    top = [
        {"identity_id": str(name), "hours_kept": float(row["sum"]), "num_clips_kept": int(row["count"])}
        for name, row in hours.iloc[:TOP_IDENTITIES].iterrows()
    ]
    return {"num": len(hours), "top": top, "minutes": _spread(hours["sum"].to_numpy(float) * 60)}


def _distribution(frame: Frame, quantity: Quantity) -> dict[str, Any]:
    numbers = np.full(len(frame), np.nan)
    for number in reversed(quantity.numbers):
        found = number.of(*(frame[column].to_numpy(float) for column in number.columns))
        numbers = np.where(np.isnan(found), numbers, found)
    kept = frame["verdict"] == Verdict.KEEP
    if quantity.per != "clip":
        whole = frame[_WHOLE[quantity.per]].fillna(-1)  # no shot yet
        kept, first = kept.groupby([whole[name] for name in whole]).transform("any"), ~whole.duplicated()
        numbers, kept = numbers[first], kept[first]
    is_kept = kept.to_numpy(bool)
    known = np.isfinite(numbers)
    inside = np.clip(numbers, quantity.edges[0], np.nextafter(quantity.edges[-1], -np.inf))
    return {
        "title": quantity.title,
        "unit": quantity.unit,
        "per": quantity.per,
        "limits": [quantity.key] if quantity.key else [],
        "edges": list(quantity.edges),
        "kept": np.histogram(inside[known & is_kept], quantity.edges)[0].tolist(),
        "not_kept": np.histogram(inside[known & ~is_kept], quantity.edges)[0].tolist(),
        "num_unknown": int((~known).sum()),
        "kept_spread": _spread(numbers[known & is_kept]),
        "not_kept_spread": _spread(numbers[known & ~is_kept]),
    }


def _spread(values: np.ndarray) -> dict[str, float] | None:
    """Mean and percentiles; None without values."""
    if len(values) == 0:
        return None
    names = {"min": 0, "p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95, "max": 100}
    found = np.percentile(values, list(names.values()))
    return {"mean": float(values.mean()), **{name: float(x) for name, x in zip(names, found, strict=True)}}


def _versions(frame: Frame) -> list[dict[str, Any]]:
    """Each distinct `versions` value, decoded, with its row count."""
    counts = frame["versions"].dropna().value_counts()
    return [{"num_rows": int(num), "versions": json.loads(str(text))} for text, num in counts.items()]


def print_funnel(stats: dict[str, Any], console: Console) -> None:
    """Print the funnel as a table at the end of a run."""
    from rich.table import Table

    totals = stats["totals"]
    table = Table(title="What was kept and what was dropped", title_justify="left", show_edge=False, pad_edge=False)
    for name in ("stage", "in", "dropped", "pending", "out", "hours out"):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    table.add_column("dropped because", overflow="fold")
    for line in stats["funnel"]:
        cut = line["unit"] != line["unit_in"]
        came = f"{line['num_in']} {line['unit_in']}s" + (f" -> {line['num_judged']} {line['unit']}s" if cut else "")
        reasons = ", ".join(f"{name} {cost['num']}" for name, cost in line["reasons"].items())
        table.add_row(
            line["stage"],
            came,
            _or_dot(line["num_dropped"]),
            _or_dot(line["num_pending"]),
            f"{line['num_out']}",
            duration_text(line["hours_out"]),
            reasons,
        )
    console.print(table)
    share = f"{totals['kept_ratio']:.1%} of {duration_text(totals['hours_in'])}"
    console.print(
        f"Kept [bold]{totals['num_kept']}[/bold] clips, [bold]{duration_text(totals['hours_kept'])}[/bold] ({share}), "
        f"{totals['num_identities']} identities, from {totals['num_sources_kept']} of {totals['num_sources']} sources. "
        f"{totals['num_rows']} rows = {totals['num_kept']} kept + {totals['num_dropped']} dropped "
        f"+ {totals['num_pending']} pending.",
        highlight=False,
    )


def _or_dot(count: int) -> str:
    return str(count) if count else "·"


def duration_text(hours: float) -> str:
    """A length for people: 130.4 h, 12.3 min or 8.0 s."""
    if abs(hours) >= 1:
        return f"{hours:.1f} h"
    if abs(hours) * 60 >= 1:
        return f"{hours * 60:.1f} min"
    return f"{hours * 3600:.1f} s"
