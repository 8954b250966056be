"""Spans of a video, as a manifest writes them and as the file holds them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from stages.core.records import Row

Span = tuple[float, float, str]
"""Start and end in seconds, half-open, and a name."""
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d{1,2}(?:\.\d+)?)")


def read_spans(value: Any, names: Any, source_id: str) -> list[Span]:
    """The spans of a manifest's row, sorted by time.

    Args:
        value: `0:05-4:40; 5:00-6:00` as text, a list of such texts, or of pairs; times as `[H:]MM:SS[.f]` or seconds.
        names: one for each span, a list or text joined by `;`; without them `source_id` and a number.
    Raises:
        ValueError: another form, an empty span, overlapping spans, or another number of names.
    """
    if isinstance(value, str):
        value = [part for part in re.split(r"[;,\s]+", value) if part]
    if not isinstance(value, Sequence) or not value:
        raise ValueError(f"expected spans like 0:05-4:40, got {value!r}")
    pairs = [_pair(item) for item in value]
    if isinstance(names, str):
        names = [name.strip() for name in names.split(";")]
    if names is None:
        names = [f"{source_id}_{idx}" for idx in range(len(pairs))]
    if not isinstance(names, Sequence) or len(names) != len(pairs) or len({str(name) for name in names}) != len(pairs):
        raise ValueError(f"{len(pairs)} spans need as many different names, got {names!r}")
    spans = sorted((start_s, end_s, str(name)) for (start_s, end_s), name in zip(pairs, names, strict=True))
    for (_, end_s, name), (start_s, _, following) in pairwise(spans):
        if start_s < end_s:
            raise ValueError(f"spans {name} and {following} overlap: {start_s:g} s < {end_s:g} s")
    return spans


def _pair(item: Any) -> tuple[float, float]:
    ends = item.split("-") if isinstance(item, str) else item
    if not isinstance(ends, Sequence) or len(ends) != 2:
        raise ValueError(f"expected a span like 0:05-4:40, got {item!r}")
    start_s, end_s = (_seconds(end) for end in ends)
    if not 0 <= start_s < end_s < float("inf"):
        raise ValueError(f"a span ends after it starts, got {item!r}")
    return start_s, end_s


def _seconds(time: Any) -> float:
    if isinstance(time, bool) or not isinstance(time, str | int | float):
        raise ValueError(f"not a time: {time!r}")
    clock = _CLOCK.fullmatch(str(time).strip())
    try:
        if clock is not None:
            hours, minutes, seconds = map(float, clock.groups("0"))
            return 3600 * hours + 60 * minutes + seconds
        return float(time)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"not a time: {time!r}") from error


def spans_within(row: Row, duration_s: float) -> list[Span]:
    """The spans of a row cut to the file's length; a span that starts after its end is left out.

    A row without spans has one span over the whole file, without a name.
    """
    if row.get("spans") is None:
        return [(0.0, duration_s, "")]
    named = zip(row["spans"], row["span_names"], strict=True)
    return [(float(a), min(float(b), duration_s), name) for (a, b), name in named if a < duration_s]
