"""Forgotten rows removed from tables; each leaves the ids that keep it from being measured again."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipeline.job.parts import BrokenPart, part_files
from pipeline.job.plan import STAGES
from pipeline.job.tombstones import KEPT_OF_SOURCE, Tombstones, when_text
from stages.core.reasons import DropReason
from stages.core.records import CRAWL, PROBE, SOURCE, Row
from stages.core.rows import rows_from_table, table_from_rows
from stages.core.storage import read_table, write_parquet

PARTS_ROW_GROUP = 8
KEYS = ("row_id", "source_id", "sha256", "fault_reason")
_KEPT_OF_CLIP = {
    *("row_id", "versions", "span", "shot_idx", "num_shots", "shot_start_s", "shot_end_s"),
    *("clip_idx", "num_clips", "start_s", "end_s", "num_frames", *SOURCE.names, *CRAWL.names, *PROBE.names),
}
_FIRST_STAGE = STAGES[0].name
_CLIP_STAGE = next(stage.name for stage in STAGES if stage.splits_into == "clip")


def gone(table: pa.Table, tombstones: Tombstones) -> list[bool]:
    """Which rows of a table are forgotten but still hold measurements."""
    names = [name for name in KEYS if name in table.column_names]
    return [_is_gone(row, tombstones) for row in table.select(names).to_pylist()]


def _is_gone(row: Row, tombstones: Tombstones) -> bool:
    left = row.get("fault_reason") == DropReason.FORGOTTEN
    if tombstones.by_name(row) is not None:
        return not left or row["row_id"] != row["source_id"]
    return row["row_id"] in tombstones.row_ids and not left


def remains(row: Row, tombstones: Tombstones) -> Row:
    """The remains of a forgotten row: the ids that keep it from being measured again, and the reason."""
    when = tombstones.by_name(row)
    if when is not None:
        left = {name: value for name, value in row.items() if name in KEPT_OF_SOURCE}
        return left | {"row_id": row["source_id"], "last_stage": _FIRST_STAGE, **_fault(when)}
    left = {name: value for name, value in row.items() if name in _KEPT_OF_CLIP}
    return left | {"last_stage": _CLIP_STAGE, **_fault(tombstones.row_ids[row["row_id"]])}


def _fault(when: str) -> Row:
    return {"fault_reason": str(DropReason.FORGOTTEN), "fault_detail": when_text(when)}


def scrub_parts(out: Path, tombstones: Tombstones) -> list[Path]:
    """Remove everything forgotten from the parts; return the files that were rewritten, each as a whole.

    Raises:
        BrokenPart: one of them cannot be read.
    """
    touched = []
    for file in part_files(out) if tombstones else ():
        try:
            marked = gone(read_table(file, columns=list(KEYS)), tombstones)
            table = read_table(file) if any(marked) else None
        except (pa.ArrowException, KeyError) as error:
            raise BrokenPart(f"{file} cannot be read: {error}\nDelete it; its sources are measured again.") from error
        if table is not None:
            write_parquet(scrubbed(table, tombstones), file, row_group_size=PARTS_ROW_GROUP)
            touched.append(file)
    return touched


def scrubbed(table: pa.Table, tombstones: Tombstones) -> pa.Table:
    """A table with forgotten rows replaced by their remains."""
    marked = gone(table, tombstones) if tombstones else []
    if not any(marked):
        return table
    forgotten = rows_from_table(table.filter(pa.array(marked)).select(_small(table)))
    left = {row["row_id"]: row for row in (remains(row, tombstones) for row in forgotten)}
    stay = table.filter(pa.array([not mark for mark in marked]))
    return pa.concat_tables([stay, table_from_rows(left.values(), stay.schema)])


def _small(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name in KEPT_OF_SOURCE | _KEPT_OF_CLIP]
