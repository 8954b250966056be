"""Lists by strangers: a bomb is refused before it goes off, and no message is longer than a person reads."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.job.manifest import ManifestError, missing_files, read_manifest
from stages.core.records import SOURCE, Row
from stages.core.rows import table_from_rows

pytestmark = pytest.mark.slow  # bombs take their time before they are refused

LAUGHS = "\n".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 10))
MERGES = "\n".join(f"- &a{k}\n  <<: [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 10))
QUADRATIC = "- &a " + "x" * 100_000 + "\n" + "- *a\n" * 100_000
NESTED_JSON = '{"uri": "a.mp4", "tags": ' + "[" * 200_000 + "]" * 200_000 + "}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.yaml", f"a0: &a0 x\n{LAUGHS}\nsources: *a9\n", "aliases"),
        ("m.yaml", f"- &a0 {{uri: a.mp4}}\n{MERGES}\n", "aliases"),
        ("m.yaml", QUADRATIC, "aliases"),
        ("m.yaml", "- " * 200_000, "levels"),
        ("m.yaml", "[" * 200_000, "levels"),
        ("m.yaml", "{a: " * 200_000, "levels"),
        ("m.yaml", "- !!python/object/apply:os.system ['touch OWNED']", "could not determine a constructor"),
        ("m.yaml", "- uri: " + "9" * 100_000, "not valid YAML"),
        ("m.yaml", "- {uri: a.mp4, x" + "y" * 10**6 + ": 1}", "not valid YAML"),
        ("m.yaml", "- {uri: a.mp4, ? x" + "y" * 10**6 + " : 1}", "unknown columns"),
        ("m.yaml", "- uri: {" + ", ".join(f"k{k}: v" for k in range(100_000)) + "}", "uri must be text"),
        ("m.jsonl", NESTED_JSON, "not valid JSONL"),
        ("m.jsonl", '{"uri": ' + "9" * 100_000 + "}", "not valid JSONL"),
        ("m.jsonl", '{"uri": "a.mp4", "tags": [' + "1," * 100_000 + "[]]}", "tags must be text"),
        ("m.jsonl", '["' + "x" * 10**6 + '"]', "expected a URL"),
        ("m.csv", "uri\n" + "x" * 10**6, "field larger than field limit"),
        ("m.csv", 'uri\n"never closed' + "\n" * 10**6, "field larger than field limit"),
        ("m.csv", "uri" + ",a" * 100_000 + "\nx" + ",1" * 100_000 + "\n", "unknown columns"),
    ],
)
def test_bombs_in_text_are_refused_with_a_short_message(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    began_s, before_kb = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ManifestError, match=message) as refused:
        read_manifest(tmp_path / name)
    assert len(str(refused.value)) < 2_000
    assert time.process_time() - began_s < 20.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 500_000
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_zero_bytes_in_a_table_stay_in_their_cell(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"uri,licence\na\0b.mp4,c\0\n")
    (row,) = read_manifest(tmp_path / "m.csv")
    assert row["uri"].endswith("a\0b.mp4")
    assert missing_files([row]) == [row["uri"]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"uri": ["a.mp4"], "x" * 10**5: [1]}), "unknown columns"),
        (pa.table({"uri": [{"a": {"b": 1}}]}), "uri must be text"),
        (pa.table({"uri": ["a.mp4"], "tags": [[["deep"]]]}), "tags must be text"),
        (pa.table([["a.mp4"], ["b.mp4"]], names=["uri", "uri"]), "twice"),
        (pa.table([["a.mp4"], ["b.mp4"]], names=["uri", "path"]), "twice"),
        (pa.table({"uri": pa.array([b"\xff\xfe"])}), "uri must be text"),
        (pa.table({"uri": pa.nulls(3)}), "no uri"),
        (pa.table({"uri": pa.DictionaryArray.from_arrays(pa.array([0] * 2), pa.array([True]))}), "uri must be text"),
        (pa.table({"source_id": pa.array([2**62], pa.timestamp("us")), "uri": ["a"]}), "not valid PARQUET"),
        (pa.table({}), "lists no source"),
    ],
)
def test_strange_tables_are_refused(tmp_path: Path, table: pa.Table, message: str) -> None:
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=message) as refused:
        read_manifest(tmp_path / "m.parquet")
    assert len(str(refused.value)) < 2_000


def test_a_table_of_a_billion_rows_is_refused_unread(tmp_path: Path) -> None:
    rows = pa.table({"uri": pa.DictionaryArray.from_arrays(pa.array([0] * 10**6, pa.int8()), pa.array(["a.mp4"]))})
    with pq.ParquetWriter(tmp_path / "m.parquet", rows.schema) as file:
        for _ in range(11):
            file.write_table(rows)
    assert (tmp_path / "m.parquet").stat().st_size < 100_000
    with pytest.raises(ManifestError, match="11000000 rows, at most 10000000"):
        read_manifest(tmp_path / "m.parquet")


def test_lists_that_are_no_files_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.yaml")
    (tmp_path / "n.yaml").symlink_to("/dev/zero")
    with (tmp_path / "o.yaml").open("wb") as file:
        file.truncate(2**42)
    for name, message in (("m.yaml", "no such manifest"), ("n.yaml", "no such manifest"), ("o.yaml", "at most")):
        with pytest.raises(ManifestError, match=message):
            read_manifest(tmp_path / name)


def test_cost_grows_with_the_number_of_sources_and_no_faster(tmp_path: Path) -> None:
    def seconds(num_sources: int) -> float:
        file = tmp_path / f"{num_sources}.jsonl"
        file.write_text("\n".join(f'{{"uri": "https://example.com/BV{k:09d}"}}' for k in range(num_sources)))
        began_s = time.process_time()
        assert len(read_manifest(file)) == num_sources
        return time.process_time() - began_s

    seconds(1_000)
    assert seconds(40_000) < 12 * seconds(10_000)  # quadratic would be 16


TEXT = st.text(max_size=40)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ENTRY = VALUE | st.dictionaries(st.sampled_from([*SOURCE.names, "url", "path", "id", "language"]) | TEXT, VALUE)


def _read(write: Callable[[Path], object], path: Path) -> list[Row]:
    """Rows, of which every one fits its columns; none where the list is refused."""
    write(path)
    try:
        rows = read_manifest(path)
    except ManifestError as refused:
        assert str(path) in str(refused)
        return []
    assert len({row["source_id"] for row in rows}) == len(rows)
    table_from_rows(rows, SOURCE)
    missing_files(rows)
    return rows


@settings(derandomize=True, max_examples=200, deadline=2000)
@given(st.lists(ENTRY, max_size=4))
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, entries: list) -> None:
    text = "\n".join(json.dumps(entry) for entry in entries)
    _read(lambda path: path.write_text(text), tmp_path_factory.mktemp("fuzz") / "m.jsonl")


@settings(derandomize=True, max_examples=200, deadline=2000)
@given(st.sampled_from(["m.yaml", "m.csv", "m.jsonl", "m.parquet"]), st.binary(max_size=200) | TEXT.map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes) -> None:
    _read(lambda path: path.write_bytes(content), tmp_path_factory.mktemp("fuzz") / name)
