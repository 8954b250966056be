"""The clips that the report shows, with their measurements."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.rules.policy import PolicyConfig
from pipeline.rules.quantities import QUANTITIES
from pipeline.show.clip_geometry import UnknownClip, open_clip
from pipeline.show.text import printable
from stages.core.reasons import DropReason, Verdict
from stages.core.records import Row
from stages.core.rows import rows_from_table
from stages.core.storage import named, open_parquet, read_table
from stages.face3d.model import FaceModelError

MAX_KEPT = 24
MAX_PER_REASON = 6
MAX_READINGS = 7
MAX_GEOMETRY = 8
"""Largest number of kept clips whose fitted face is shown; each is read from its shard."""
_FIRST_SHARDS = "*-00000.parquet"
_HEAVY = {"face_embedding", "voice_embedding", "audio_fingerprint", "motion_fingerprint"}


@dataclass(frozen=True)
class Reading:
    """One line of a card: a measurement, its limit, and whether it holds."""

    name: str
    value: str
    limit: str
    holds: bool


@dataclass(frozen=True)
class Card:
    """One clip, shot or source of the gallery. Every text is raw: the template escapes it."""

    row_id: str
    title: str
    uri: str
    is_link: bool
    span: str
    facts: str
    thumb: str | None
    geometry: str | None
    stage: str
    detail: str
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class Group:
    """The cards of one drop reason, or of kept clips."""

    key: str
    text: str
    num: int
    cards: tuple[Card, ...]

    @property
    def num_hidden(self) -> int:
        return self.num - len(self.cards)


def read_gallery(ledger: Path, policy: PolicyConfig) -> tuple[Group, list[Group]]:
    """Choose and read the rows to show.

    Args:
        ledger: `ledger.parquet` of a run; only the shown rows are read in full.
        policy: thresholds shown beside the measurements.
    Returns:
        The kept clips, and one group for each drop reason, the most frequent first.
    """
    keys = read_table(ledger, ["row_id", "source_id", "verdict", "drop_reason"]).to_pylist()
    kept = [key for key in keys if key["verdict"] == Verdict.KEEP]
    by_reason: dict[str, list[Row]] = defaultdict(list)
    for key in keys:
        if key["verdict"] == Verdict.DROP:
            by_reason[key["drop_reason"]].append(key)
    shown = {reason: _spread_out(rows, MAX_PER_REASON) for reason, rows in by_reason.items()}
    shown_kept = _spread_out(kept, MAX_KEPT)
    rows = read_rows(ledger, [*shown_kept, *(row_id for ids in shown.values() for row_id in ids)])

    for row_id in shown_kept[:MAX_GEOMETRY]:
        rows[row_id]["geometry_jpeg"] = _draw_geometry(ledger.parent, row_id)

    def group(key: str, text: str, num: int, ids: list[str]) -> Group:
        return Group(key, text, num, tuple(make_card(rows[row_id], policy) for row_id in ids))

    texts = {str(reason): reason.text for reason in DropReason}
    ranked = sorted(by_reason, key=lambda reason: (-len(by_reason[reason]), reason))
    dropped = [group(reason, texts[reason], len(by_reason[reason]), shown[reason]) for reason in ranked]
    return group("kept", "clips of the data set", len(kept), shown_kept), dropped


def _spread_out(rows: list[Row], limit: int) -> list[str]:
    """Ids of up to `limit` rows from as many sources as possible: the first of every source, then the second, ..."""
    turn: dict[str, int] = defaultdict(int)
    ranked = []
    for row in sorted(rows, key=lambda row: row["row_id"]):
        ranked.append((turn[row["source_id"]], row["row_id"]))
        turn[row["source_id"]] += 1
    return [row_id for _, row_id in sorted(ranked)[:limit]]


def read_rows(ledger: Path, ids: list[str]) -> dict[str, Row]:
    """Rows of a ledger by `row_id`, without embeddings and fingerprints."""
    wanted = pa.array(ids, pa.string())
    with named(ledger, "read"), open_parquet(ledger) as file:
        columns = [name for name in file.schema_arrow.names if name not in _HEAVY]
        batches = file.iter_batches(columns=columns)
        found = [pa.Table.from_batches([batch]).filter(pc.field("row_id").isin(wanted)) for batch in batches]
    return {row["row_id"]: row for table in found for row in rows_from_table(table)}


def _draw_geometry(out: Path, row_id: str) -> bytes:
    """A clip's fitted face as JPEG; empty if the first shards lack it, or its face model is missing."""
    try:
        still = open_clip(out, row_id, _FIRST_SHARDS).still()
    except (UnknownClip, FaceModelError):
        return b""
    return cv2.imencode(".jpg", still[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def _base64(jpeg: bytes) -> str | None:
    return base64.b64encode(jpeg).decode() if jpeg.startswith(b"\xff\xd8") else None


def make_card(row: Row, policy: PolicyConfig) -> Card:
    """The card of one ledger row."""
    uri = str(row.get("uri", ""))
    return Card(
        row_id=row["row_id"],
        title=printable(row.get("title") or Path(uri).name),
        uri=printable(uri),
        is_link=uri.startswith(("https://", "http://")),
        span=_span(row),
        facts=_facts(row),
        thumb=_base64(row.get("thumb_jpeg", b"")),
        geometry=_base64(row.get("geometry_jpeg", b"")),
        stage=row.get("drop_stage", ""),
        detail=printable(row.get("drop_detail", "")),
        readings=_readings(row, policy),
    )


def _readings(row: Row, policy: PolicyConfig) -> tuple[Reading, ...]:
    """Failing measurements first, then the most informative ones."""
    readings = []
    for quantity in QUANTITIES:
        known = [(limit, value) for limit in quantity.limits() if (value := limit.number.value(row)) is not None]
        if known:
            limit, value = known[0]
            threshold = float(getattr(policy, limit.key))
            sign = "≥" if limit.at_least else "≤"
            holds = not limit.fails(value, threshold)
            readings.append(Reading(quantity.title, _number(value, quantity.unit), f"{sign} {threshold:g}", holds))
    return tuple(sorted(readings, key=lambda reading: reading.holds)[:MAX_READINGS])


def _number(value: float, unit: str) -> str:
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text + {"deg": "°", "px": " px", "s": " s", "ms": " ms", "dB": " dB"}.get(unit, "")


def _span(row: Row) -> str:
    if "start_s" in row:
        return f"{_clock(row['start_s'])}-{_clock(row['end_s'])}"
    if "shot_start_s" in row:
        return f"shot {_clock(row['shot_start_s'])}-{_clock(row['shot_end_s'])}"
    return f"whole file, {_clock(row['duration_s'])}" if "duration_s" in row else "whole file"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 10), 600)
    return f"{minutes}:{rest / 10:04.1f}"


def _facts(row: Row) -> str:
    facts: list[tuple[str, Callable[[Any], str]]] = [
        ("language", str),
        ("gender", str),
        ("age_years", lambda age: f"about {age:.0f}"),
        ("identity_id", str),
        ("split", str),
    ]
    found = [show(row[name]) for name, show in facts if name in row]
    if "language" not in row and "source_language" in row:
        found.insert(0, row["source_language"])
    return " · ".join(printable(fact) for fact in found)
