"""Every form of a source list, and every way in which one can be wrong."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.job.manifest import ManifestError, id_of, missing_files, read_manifest
from stages.core.rows import rows_from_table, table_from_rows


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


def test_spans_in_every_form_are_the_same_spans(tmp_path):
    (tmp_path / "m.yaml").write_text(
        "- {id: a, uri: a.mp4, spans: ['5:00-6:00', '0:05-4:40']}\n"
        "- {id: a2, uri: a.mp4, spans: [[5, 280], [300.0, 360]], span_names: [a_1, a_0]}\n"
    )
    (tmp_path / "m.csv").write_text("id,uri,spans,span_names\na,a.mp4,0:05-4:40; 5:00-6:00,a_1;a_0\nb,b.mp4,,\n")
    rows = [{"uri": "a.mp4", "id": "a", "spans": [[300.0, 360.0], [5.0, 280.0]]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    read = [row for kind in ("yaml", "csv", "parquet") for row in read_manifest(tmp_path / f"m.{kind}")]
    spans = [row for row in read if "spans" in row]
    assert len(spans) == 4 and len(read) == 5
    assert all(row["spans"] == [[5.0, 280.0], [300.0, 360.0]] for row in spans)
    assert all(row["span_names"] == ["a_1", "a_0"] for row in spans)
    assert rows_from_table(table_from_rows(spans))[0]["spans"].tolist() == spans[0]["spans"]


def test_times_may_have_hours_and_fractions(tmp_path):
    (tmp_path / "m.yaml").write_text("- {id: a, uri: a.mp4, spans: '1:02:03.5-1:03:00 01:10:00-4300'}\n")
    assert read_manifest(tmp_path / "m.yaml")[0]["spans"] == [[3723.5, 3780.0], [4200.0, 4300.0]]


def test_a_plain_list_of_addresses_and_shared_texts(tmp_path):
    text = """# talks
https://www.bilibili.com/video/BV1xx411c7mD?p=2

7.43 复制打开抖音，看看【小王的作品】今天讲讲儿化音 https://v.douyin.com/iRNBho6/ 02/11 x@f.oD
【大学语文】https://b23.tv/abc123。
  https://www.bilibili.com/video/BV1xx411c7mD?p=2
https://youtu.be/dQw4w9WgXcQ
https://evil-bilibili.com/x
"""
    (tmp_path / "m.txt").write_text(text, encoding="utf-8-sig")
    rows = read_manifest(tmp_path / "m.txt")
    assert [(row["platform"], row["uri"]) for row in rows] == [
        ("bilibili", "https://www.bilibili.com/video/BV1xx411c7mD?p=2"),
        ("douyin", "https://v.douyin.com/iRNBho6/"),
        ("bilibili", "https://b23.tv/abc123"),
        ("youtube", "https://www.youtube.com/watch?v=dQw4w9WgXcQ"),
        ("web", "https://evil-bilibili.com/x"),
    ]


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
        ("m.txt", "https://a.test/v\nnothing here\n", "line 2: no address in 'nothing here'"),
        ("m.yaml", "- {uri: a.mp4, spans: 0:10-0:05}", "source 1: spans: a span ends after it starts"),
        ("m.yaml", "- {uri: a.mp4, spans: [[0, 10], [9, 20]]}", "overlap: 9 s < 10 s"),
        ("m.yaml", "- {uri: a.mp4, spans: [[0, .inf]]}", "a span ends after it starts"),
        ("m.yaml", "- {uri: a.mp4, spans: [0, 10]}", "expected a span like 0:05-4:40, got 0"),
        ("m.yaml", "- {uri: a.mp4, spans: soon-later}", "not a time: 'soon'"),
        ("m.yaml", f"- {{uri: a.mp4, spans: [[0, 1{'0' * 400}]]}}", "not a time"),
        ("m.yaml", "- {uri: a.mp4, spans: [[[0], true]]}", "not a time"),
        ("m.yaml", "- {uri: a.mp4, spans: 7}", "expected spans like 0:05-4:40, got 7"),
        ("m.yaml", "- {uri: a.mp4, spans: 0:05-0:10, span_names: a;b}", "1 spans need as many different names"),
        ("m.yaml", "- {uri: a.mp4, span_names: a}", "span_names without spans"),
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


BV = "https://www.bilibili.com/video/BV1aa411c7mD"


def _uris(path) -> list[str]:
    return [row["uri"] for row in read_manifest(path)]


def test_a_video_is_one_source_and_keeps_its_first_name(tmp_path):
    first = f"{BV}/?spm_id_from=333.999.0.0"
    (tmp_path / "m.txt").write_text(f"{first}\n{BV}\n{BV}?p=2\nhttps://m.bilibili.com/video/BV1aa411c7mD?t=3\n")
    video, part = read_manifest(tmp_path / "m.txt")
    assert (video["uri"], part["uri"]) == (BV, f"{BV}?p=2")
    assert video["source_id"] == id_of(first) == "BV1aa411c7mD-89c1124f"


def test_the_whole_of_a_video_stands_for_its_first_part(tmp_path):
    for text in (f"{BV}?p=1\n{BV}\n", f"{BV}\n{BV}?p=1\n"):
        (tmp_path / "m.txt").write_text(text)
        (row,) = read_manifest(tmp_path / "m.txt")
        assert (row["uri"], row["source_id"]) == (BV, id_of(BV))
    (tmp_path / "m.txt").write_text(f"{BV}?p=1\n{BV}?p=2\n")
    assert _uris(tmp_path / "m.txt") == [f"{BV}?p=1", f"{BV}?p=2"]


def test_rows_of_one_video_with_names_stay_and_without_may_not_differ(tmp_path):
    (tmp_path / "m.csv").write_text(f"id,uri,speaker_id\na,{BV},wang\nb,{BV}/,li\n")
    assert _ids(tmp_path / "m.csv") == ["a", "b"]
    (tmp_path / "m.csv").write_text(f"id,uri,speaker_id\n,{BV},wang\nb,{BV}/,wang\n,{BV}?t=1,wang\n")
    assert _ids(tmp_path / "m.csv") == ["b"]
    (tmp_path / "m.csv").write_text(f"uri,speaker_id\n{BV},wang\n\n{BV}/,li\n")
    with pytest.raises(ManifestError, match="line 4: the same video as in line 2, with another speaker_id; remove one"):
        read_manifest(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("cell", "uri"),
    [
        ("2.00 复制打开抖音，看看【王老师】讲课 https://v.douyin.com/iYVcy3HJ/ G@I.ip 01/07", "https://v.douyin.com/iYVcy3HJ/"),
        ("BV1aa411c7mD", BV),
        ("www.bilibili.com/video/BV1aa411c7mD", BV),
        ("\ufeff\u3000HTTPS://www.Bilibili.com/video/BV1aa411c7mD\u200b ", BV),
        ("https://example.com/x)", "https://example.com/x)"),
        ("https://example.com/视频/口型", "https://example.com/视频/口型"),
        ("BV1aa411c7mD 讲课.mp4", "BASE/BV1aa411c7mD 讲课.mp4"),
        ("own/【讲课】，上.mp4 ", "BASE/own/【讲课】，上.mp4"),
        ("example.com/here", "BASE/example.com/here"),
        ("./example.com/there", "BASE/example.com/there"),
        ("./【讲课】 BV1aa411c7mD", "BASE/【讲课】 BV1aa411c7mD"),
        ("file:///BASE/own%20one.mp4", "BASE/own one.mp4"),
        ("FILE://localhost/BASE/%E5%8F%A3.mp4", "BASE/口.mp4"),
        ("file:///BASE/100%25.mp4", "BASE/100%25.mp4"),
    ],
)  # fmt: skip
def test_an_address_or_a_path_in_a_cell(tmp_path, cell, uri):
    for name in ("example.com/here", "100%25.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    cell = cell.replace("/BASE", str(tmp_path))
    for name, text in (("m.jsonl", json.dumps({"uri": cell})), ("m.csv", f'uri\n"{cell}"\n')):
        (tmp_path / name).write_text(text)
        assert _uris(tmp_path / name) == [uri.replace("BASE", str(tmp_path))]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            "example.com/watch/1",
            "'example.com/watch/1' is no address and no file; write https://",
        ),
        ("http:/a.test/1", "is no address and no file"),
        ("BV1zz411c7mD", "is an address and a file; write https://... or, for the file, ./..."),
        (f"{BV} https://a.test/1", "2 addresses in one cell .*; give each a row of its own"),
        ("https://a.test/my talk", "write it alone, with %20 for blanks"),
        ("https://a.test/1，复制", "write it alone"),
        ("file://elsewhere/a.mp4", "is no path on this machine"),
        ("file:///%E9.mp4", "not valid UTF-8; rename it"),
    ],
)
def test_a_cell_that_is_not_clear_is_an_error(tmp_path, cell, message):
    (tmp_path / "BV1zz411c7mD").touch()
    (tmp_path / "m.csv").write_text(f'uri\n"{cell}"\n')
    with pytest.raises(ManifestError, match=f"line 2: .*{message}"):
        read_manifest(tmp_path / "m.csv")


def test_files_of_a_folder_are_files_whatever_their_names(tmp_path):
    names = ["BV1aa411c7mD https：__b23.tv.mp4", " a.mp4", "www.bilibili.com.mp4"]
    for name in names:
        (tmp_path / name).touch()
    assert sorted(_uris(tmp_path)) == sorted(str(tmp_path / name) for name in names)


def test_names_made_from_addresses_are_of_the_address_as_it_stands(tmp_path):
    spelled = ["https://youtu.be/dQw4w9WgXcQ", "https://m.bilibili.com/video/av2?t=1", "http://WWW.example.com/a?b=c#d"]
    for name, text in (("m.txt", "\n".join(spelled)), ("m.yaml", "".join(f"- '{uri}'\n" for uri in spelled))):
        (tmp_path / name).write_text(text)
        assert _ids(tmp_path / name) == [id_of(uri) for uri in spelled]
