"""Lists as editors, spreadsheets and telephones save them: any encoding, any delimiter, shared texts, blank rows."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.job.manifest import ManifestError, read_manifest
from stages.core.records import Row

BV = "https://www.bilibili.com/video/BV1aa411c7mD"
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030")


def _read(folder: Path, name: str, content: bytes | str) -> list[Row]:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_manifest(folder / name)


def _uris(folder: Path, name: str, content: bytes | str) -> list[str]:
    return [row["uri"] for row in _read(folder, name, content)]


CELL = st.text(st.sampled_from("王老师讲课,;\t\"'| aA1。，"), max_size=8)


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(CELL, CELL), min_size=1, max_size=4),
    st.sampled_from(ENCODINGS),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.integers(0, 2),
)
def test_a_table_in_any_encoding_and_delimiter(
    tmp_path_factory: pytest.TempPathFactory, cells, encoding, delimiter, end, told, num_blank
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
    writer.writerow(["uri", "Licence ", "speaker_id", ""])
    for idx, (licence, speaker) in enumerate(cells):
        writer.writerow([f"https://a.test/{idx}", licence, speaker, ""])
        for _ in range(num_blank):
            writer.writerow(["", " ", "\u3000", ""])
    content = f"sep={delimiter}{end}" * told + text.getvalue()
    folder = tmp_path_factory.mktemp("table")
    for name in ("m.csv", "m.tsv", "m.txt"):
        rows = _read(folder, name, content.encode(encoding))
        found = [(row["uri"], row.get("licence", ""), row.get("speaker_id", "")) for row in rows]
        wanted = [(f"https://a.test/{idx}", *(cell.strip() for cell in pair)) for idx, pair in enumerate(cells)]
        assert found == wanted


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_text_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    text = "# 讲课\r\n7.43 复制打开抖音，看看【王老师】讲课 https://v.douyin.com/iABCDEF/ 10/27\r\n"
    assert _uris(tmp_path, "m.txt", text.encode(encoding)) == ["https://v.douyin.com/iABCDEF/"]


def test_bytes_of_another_encoding_are_refused_with_the_way_out(tmp_path: Path) -> None:
    for content in (b"uri\ncaf\xe9.mp4\n", b"uri,licence\na.mp4,\xaa\xa1\n"):
        with pytest.raises(ManifestError, match=r"m\.csv is neither UTF-8, UTF-16 nor GB18030; save it as UTF-8"):
            _read(tmp_path, "m.csv", content)


def test_a_table_without_headings_and_cells_without_one_are_named_by_line(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="line 1: no headings"):
        _read(tmp_path, "m.csv", f"{BV}\n")
    with pytest.raises(ManifestError, match=r"line 3: unknown columns \['\(cells without a heading"):
        _read(tmp_path, "m.csv", f"uri,,\n,,\n{BV},,x\n")


def test_what_tables_write_for_no_value_is_absent(tmp_path: Path) -> None:
    (row,) = _read(tmp_path, "m.csv", f"uri,licence,speaker_id,spans\n{BV},NaN,#N/A,0：05-0:10；1:00-1:10\n\x1a")
    assert {"licence", "speaker_id"}.isdisjoint(row)
    assert row["spans"] == [[5.0, 10.0], [60.0, 70.0]]


def test_what_is_not_a_number_is_absent(tmp_path: Path) -> None:
    rows = [{"uri": f"https://a.test/{idx}", "licence": float("nan"), "tags": [float("nan"), "x"]} for idx in range(2)]
    lists = {
        "m.jsonl": "\n".join(map(json.dumps, rows)),
        "m.yaml": "- {uri: https://a.test/0, licence: .nan, tags: [.nan, x]}",
    }
    pq.write_table(pa.table({"uri": ["https://a.test/0"], "licence": pa.array([float("nan")])}), tmp_path / "m.parquet")
    read = [row for name, text in lists.items() for row in _read(tmp_path, name, text)]
    assert [row["tags"] for row in read] == [["x"]] * 3
    assert not any("licence" in row for row in [*read, *read_manifest(tmp_path / "m.parquet")])


@pytest.mark.parametrize(
    ("text", "uris"),
    [
        ("#在抖音，记录美好生活#讲课 https://v.douyin.com/kPJm4r/ 复制此链接", ["https://v.douyin.com/kPJm4r/"]),
        ("3.51 第一行\n\n第二行 https://v.douyin.com/kPJm4r/ 复制", ["https://v.douyin.com/kPJm4r/"]),
        (f"# {BV.replace('aa', 'xx')}\n#{BV.replace('aa', 'yy')}\n## x\n#\n{BV}", [BV]),
        (f"{BV} {BV}?p=2\nbilisearch10:口型\ns3://b/v.mp4", [BV, f"{BV}?p=2", "bilisearch10:口型", "s3://b/v.mp4"]),
        ("\ufeff\u3000BV1aa411c7mD\u200b\xa0\n", [BV]),
    ],
)
def test_lines_of_a_text(tmp_path: Path, text: str, uris: list[str]) -> None:
    assert _uris(tmp_path, "m.txt", text) == uris


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#old https://a.test/1\n", "line 1 begins with # and holds an address: begin a comment with '# '"),
        (
            "https://a.test/1\nrecordings/a.mp4\n",
            "line 2: no address in 'recordings/a.mp4'; .* files are listed by a CSV",
        ),
        ("3.51 看看\nnothing\n", "line 1: no address in or below this line"),
        ("https://a.test/1\n看https://a.test/1讲课\n", "line 2: it is not clear where"),
    ],
)
def test_a_line_that_is_not_clear_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        _read(tmp_path, "m.txt", text)
