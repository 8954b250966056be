"""What the stream does with blocks, without Ray."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipeline.job.parts import part_files
from pipeline.job.stream import PartWriter
from stages.core.records import ROW
from stages.core.rows import rows_from_table, table_from_rows
from stages.core.storage import read_table
from tests.rows import kept_clip


def test_a_block_becomes_a_part_that_says_what_measured_each_row(tmp_path: Path) -> None:
    silent = {"row_id": "b", "source_id": "b", "uri": "b", "last_stage": "hear", "fault_reason": "no_audio"}
    rows = [kept_clip("other", 0), kept_clip("a", 1), silent]
    block = pa.concat_tables([table_from_rows([row]) for row in rows]).slice(1).replace_schema_metadata()
    left = PartWriter(tmp_path, 3, {"hear": "code 1", "features": "code 2"})(block)
    assert left.select(["source_id", "shot_idx", "num_shots", "fault_reason"]).to_pylist() == [
        {"source_id": "a", "shot_idx": 0, "num_shots": 1, "fault_reason": None},
        {"source_id": "b", "shot_idx": None, "num_shots": None, "fault_reason": "no_audio"},
    ]
    (part,) = part_files(tmp_path)
    written = read_table(part)
    assert written.schema.equals(ROW)
    assert b"description" in (written.schema.field("start_s").metadata or {})
    expected = table_from_rows([rows[1] | {"versions": "code 2"}, silent | {"versions": "code 1"}])
    assert written.equals(expected)
    assert [row["versions"] for row in rows_from_table(written)] == ["code 2", "code 1"]
