"""Completeness by count, and which version of a row counts."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.job.parts import BrokenPart, compact, next_generation, part_files, read_parts, read_rows, write_part
from stages.core.records import Row, row_id
from stages.core.rows import table_from_rows


def _row(source: str, shot: int | None = None, clip: int | None = None, **more) -> Row:
    row = {"source_id": source} | more
    if shot is not None:
        row["shot_idx"] = shot
    if clip is not None:
        row["clip_idx"] = clip
    return row | {"row_id": row_id(row)}


def _write(out: Path, generation: int, *rows: Row) -> None:
    write_part(table_from_rows(rows), out, generation)


def _ids(out: Path) -> list[str]:
    return read_parts(out).ledger["row_id"].to_pylist()


def test_a_source_dropped_before_its_shots_is_complete(tmp_path):
    _write(tmp_path, 1, _row("a", fault_reason="no_audio"))
    assert _ids(tmp_path) == ["a"]


def test_a_source_waits_for_all_its_shots_and_clips(tmp_path):
    _write(tmp_path, 1, _row("a", 0, num_shots=2))
    assert read_parts(tmp_path).incomplete == ["a"]
    _write(tmp_path, 1, _row("a", 1, 0, num_shots=2))  # only the last clip tells how many there are
    assert read_parts(tmp_path).incomplete == ["a"]
    _write(tmp_path, 1, _row("a", 1, 1, num_shots=2, num_clips=2))
    assert _ids(tmp_path) == ["a-s0000", "a-s0001-c000", "a-s0001-c001"]


def test_the_newest_complete_generation_counts(tmp_path):
    _write(tmp_path, 1, _row("a", 0, 0, num_shots=1, num_clips=1, title="old"))
    _write(tmp_path, 3, _row("a", 0, 0, num_shots=1, num_clips=2, title="cut short"))
    _write(tmp_path, 2, _row("a", 0, 0, num_shots=1, num_clips=1, title="new"))
    assert read_parts(tmp_path).ledger["title"].to_pylist() == ["new"]


@pytest.mark.parametrize(
    "later",
    [
        [_row("a", fault_reason="speech")],
        [_row("a", 0, num_shots=1)],
        [_row("a", 0, 0, num_shots=2, num_clips=1), _row("a", 1, num_shots=2)],
    ],
)
def test_a_source_measured_again_may_have_fewer_rows_or_more(tmp_path, later):
    """A crash in the first run left it incomplete, or its file is another now."""
    _write(tmp_path, 1, _row("a", 0, num_shots=3))
    _write(tmp_path, 2, _row("a", 0, 0, num_shots=1, num_clips=3), _row("a", 0, 1, num_shots=1, num_clips=3))
    assert read_parts(tmp_path).incomplete == ["a"]
    _write(tmp_path, 3, *later)
    assert _ids(tmp_path) == [row["row_id"] for row in later]


def test_finer_rows_supersede_coarser_ones(tmp_path):
    _write(tmp_path, 1, _row("a", fault_reason="speech"))
    _write(tmp_path, 1, _row("a", 0, num_shots=1))
    assert _ids(tmp_path) == ["a-s0000"]
    _write(tmp_path, 1, _row("a", 0, 0, num_shots=1, num_clips=1))
    assert _ids(tmp_path) == ["a-s0000-c000"]


def test_small_parts_are_joined_by_generation_and_say_the_same(tmp_path):
    for name in "abc":
        _write(tmp_path, 1, _row(name, title="old"))
    _write(tmp_path, 2, _row("a", title="new"))
    _write(tmp_path, 2, _row("d", 0, num_shots=2))
    before = read_parts(tmp_path)
    compact(tmp_path)
    after = read_parts(tmp_path)
    assert len(part_files(tmp_path)) == 2
    assert after.ledger.equals(before.ledger) and after.incomplete == before.incomplete == ["d"]
    compact(tmp_path)
    assert read_parts(tmp_path).addresses == after.addresses


def test_parts_of_an_older_version_lack_what_it_did_not_measure(tmp_path):
    older = table_from_rows([_row("a", 0, 0, num_shots=1, num_clips=1, face_px=120.0, flat_ratio=0.2)])
    write_part(older.drop(["flat_ratio", "detail_px"]), tmp_path, 1)
    _write(tmp_path, 1, _row("b", 0, 0, num_shots=1, num_clips=1, face_px=150.0, flat_ratio=0.01))
    for _ in range(2):
        found = read_parts(tmp_path).ledger
        assert found["row_id"].to_pylist() == ["a-s0000-c000", "b-s0000-c000"]
        assert found["face_px"].to_pylist() == [120.0, 150.0]
        assert found["flat_ratio"].to_pylist() == [None, pytest.approx(0.01)]
        compact(tmp_path)
    assert len(part_files(tmp_path)) == 1


def test_a_part_of_something_else_is_named(tmp_path):
    write_part(pa.table({"row_id": ["a"], "title": ["x"]}), tmp_path, 1)
    with pytest.raises(BrokenPart, match=r"part-g00001.* cannot be read"):
        read_parts(tmp_path)


def test_a_repeated_task_writes_the_same_file(tmp_path):
    for _ in range(2):
        _write(tmp_path, 1, _row("a"))
    assert len(part_files(tmp_path)) == 1


def test_generations_count_up(tmp_path):
    assert next_generation(tmp_path) == 1
    _write(tmp_path, 41, _row("a"))
    assert next_generation(tmp_path) == 42


def test_addresses_lead_to_their_rows(tmp_path):
    _write(tmp_path, 1, *(_row("a", 0, clip, num_shots=1, num_clips=20, title=str(clip)) for clip in range(20)))
    parts = read_parts(tmp_path)
    wanted = [parts.addresses[idx] for idx in (3, 17)]
    assert [table["title"][0].as_py() for table in read_rows(wanted)] == ["3", "17"]


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    (tmp_path / "parts").write_text("a file where the folder should be")
    with pytest.raises(FileExistsError):
        _write(tmp_path, 1, _row("a"))
    assert [p.name for p in tmp_path.iterdir()] == ["parts"]
