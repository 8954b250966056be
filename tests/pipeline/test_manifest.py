"""Every form of a source list, and every way in which one can be wrong."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.manifest import ManifestError, missing_files, read_manifest


def _ids(path) -> list[str]:
    return [row["source_id"] for row in read_manifest(path)]


def test_the_same_list_in_four_formats(tmp_path):
    rows = [{"source_id": "a", "uri": "a.mp4"}, {"source_id": "b", "uri": "https://example.com/v"}]
    (tmp_path / "m.yaml").write_text(
        "sources:\n- {source_id: a, uri: a.mp4}\n- {id: b, url: 'https://example.com/v'}\n"
    )
    (tmp_path / "m.csv").write_text("source_id,uri\na,a.mp4\nb,https://example.com/v\n", encoding="utf-8-sig")
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    read = [read_manifest(tmp_path / f"m.{suffix}") for suffix in ("yaml", "csv", "jsonl", "parquet")]
    assert read[0] == read[1] == read[2] == read[3]
    assert read[0][0]["uri"] == str(tmp_path / "a.mp4") and read[0][1]["uri"] == "https://example.com/v"


def test_a_folder_lists_its_media_files_only(tmp_path):
    for name in ("b.mkv", "a.MP4", "notes.txt", "sub/c.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [row["uri"].rsplit("/", 1)[1] for row in read_manifest(tmp_path)] == ["a.MP4", "b.mkv", "c.avi"]


def test_ids_are_made_from_the_address_and_stay(tmp_path):
    (tmp_path / "m.yaml").write_text("- 新闻/主播 01.mp4\n- other/主播 01.mp4\n")
    first, second = _ids(tmp_path / "m.yaml")
    assert first.startswith("主播-01-") and first != second
    assert _ids(tmp_path / "m.yaml") == [first, second]


def test_language_is_an_alias_and_tags_may_be_text(tmp_path):
    (tmp_path / "m.csv").write_text("uri,language,tags\na.mp4,zh,news;studio\n")
    (row,) = read_manifest(tmp_path / "m.csv")
    assert row["declared_language"] == "zh" and row["tags"] == ["news", "studio"]


def test_files_that_do_not_exist_are_named(tmp_path):
    (tmp_path / "m.yaml").write_text("- gone.mp4\n- https://example.com/v\n")
    assert missing_files(read_manifest(tmp_path / "m.yaml")) == [str(tmp_path / "gone.mp4")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.yaml", "", "lists no source"),
        ("m.yaml", "sources: 3", "must hold a list"),
        ("m.yaml", "- [1, 2", "not valid YAML"),
        ("m.yaml", "- {uri: a.mp4, langage: zh}", "langage"),
        ("m.yaml", "- {platform: local}", "source 1: no uri"),
        ("m.yaml", "- {id: a, uri: a.mp4}\n- {id: a, uri: b.mp4}", "'a' stands twice"),
        ("m.yaml", "- 7", "got 7"),
        ("m.jsonl", '{"uri": ', "not valid JSONL"),
        ("m.parquet", "no parquet", "not valid PARQUET"),
        ("m.docx", "x", "a manifest is"),
    ],
)
def test_a_bad_list_says_what_is_wrong(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / name)


def test_a_missing_list_and_an_empty_folder(tmp_path):
    with pytest.raises(ManifestError, match="no such manifest"):
        read_manifest(tmp_path / "gone.yaml")
    with pytest.raises(ManifestError, match="holds no media file"):
        read_manifest(tmp_path)


def test_searches_stay_as_they_are_and_other_schemes_are_named(tmp_path):
    (tmp_path / "m.yaml").write_text("- bilisearch10:口型 教程\n")
    (row,) = read_manifest(tmp_path / "m.yaml")
    assert (row["uri"], row["platform"]) == ("bilisearch10:口型 教程", "web")
    assert missing_files([row]) == []
    (tmp_path / "m.yaml").write_text("- ftp://example.com/a.mp4\n")
    with pytest.raises(ManifestError, match=r"source 1: ftp:// is not supported"):
        read_manifest(tmp_path / "m.yaml")
