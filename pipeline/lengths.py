"""How long the video is that a row stands for: its clip, else its shot, else its source."""

from __future__ import annotations

from typing import Any

from stages.core.records import Row

TIMES = ("duration_s", "shot_start_s", "shot_end_s", "start_s", "end_s")
"""Columns that tell it."""


def length_s(row: Row) -> float:
    """Of one row; 0 where nothing was measured."""
    for start, end in (("start_s", "end_s"), ("shot_start_s", "shot_end_s")):
        if end in row:
            return row[end] - row[start]
    return row.get("duration_s", 0.0)


def lengths_s(frame: Any) -> Any:
    """The same of every row of a pandas table with `TIMES`, NaN where nothing is told; a series."""
    shot_s = frame["shot_end_s"] - frame["shot_start_s"]
    return (frame["end_s"] - frame["start_s"]).fillna(shot_s).fillna(frame["duration_s"]).fillna(0.0)
