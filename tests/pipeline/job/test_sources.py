"""Listings become sources, each once, and never without end."""

from __future__ import annotations

from pipeline.job.manifest import read_manifest
from pipeline.job.sources import MAX_DEPTH, entries_of, expand, spread_hosts
from stages.core.reasons import DropReason
from stages.core.records import Row

PART = "https://www.bilibili.com/video/BV1xx?p="


def listing(name: str, *entries: str, **changes: object) -> Row:
    row = {"source_id": name, "uri": f"https://a.example/{name}", "fault_reason": str(DropReason.LISTING)}
    return row | {"entries": list(entries)} | changes


def test_entries_say_what_their_listing_said_and_are_told_apart() -> None:
    row = listing("list", f"{PART}1", f"{PART}2", licence="CC-BY-4.0", platform="bilibili", tags=["x"], title="List")
    first, second = entries_of(row)
    assert first["source_id"] != second["source_id"]
    assert first["source_id"].startswith("BV1xx-")
    assert first == entries_of(row)[0]
    told = {"uri": f"{PART}1", "licence": "CC-BY-4.0", "platform": "bilibili", "tags": ["x"], "parent_id": "list"}
    assert first == told | {"source_id": first["source_id"]}
    assert entries_of(listing("empty")) == []


def test_an_entry_is_the_source_that_a_manifest_would_make_of_it(tmp_path) -> None:
    (tmp_path / "m.yaml").write_text(f"- {PART}1\n")
    assert read_manifest(tmp_path / "m.yaml")[0]["source_id"] == entries_of(listing("l", f"{PART}1"))[0]["source_id"]


def test_each_address_is_found_once() -> None:
    rows = [listing("a", f"{PART}1", f"{PART}2"), listing("b", f"{PART}2", f"{PART}3"), {"source_id": "c", "uri": "x"}]
    known = {row["source_id"]: row for row in rows} | {"named": {"source_id": "named", "uri": f"{PART}1"}}
    found = expand(rows, known)
    assert [(row["uri"], row["parent_id"]) for row in found] == [(f"{PART}2", "a"), (f"{PART}3", "b")]


def test_a_video_of_two_lists_is_found_once_by_whatever_address() -> None:
    video = "https://www.bilibili.com/video/BV1aa411c7mD"
    rows = [listing("a", f"{video}/?spm_id_from=1", f"{video}?p=1"), listing("b", f"{video}?t=3", f"{video}?p=2")]
    found = expand(rows, {row["source_id"]: row for row in rows})
    assert [row["uri"] for row in found] == [video, f"{video}?p=1", f"{video}?p=2"]
    known = {"named": {"source_id": "named", "uri": "https://www.bilibili.com/video/BV1aa411c7mD?p=2"}}
    assert f"{video}?p=2" not in [row["uri"] for row in expand(rows, known)]


def test_lists_that_name_each_other_end() -> None:
    known = {"a": listing("a")}
    found = expand([listing("a", "https://a.example/b")], known)
    assert [row["uri"] for row in found] == ["https://a.example/b"]
    known |= {row["source_id"]: row for row in found}
    back = found[0] | {"fault_reason": str(DropReason.LISTING), "entries": ["https://a.example/a", found[0]["uri"]]}
    assert expand([back], known) == []


def test_lists_of_ever_new_lists_end() -> None:
    rows, known = [{"source_id": "0", "uri": "https://a.example/0"}], {}
    for depth in range(10):
        known |= {row["source_id"]: row for row in rows}
        entry = f"https://a.example/{depth + 1}"
        rows = expand([rows[0] | {"fault_reason": str(DropReason.LISTING), "entries": [entry]}], known)
        if not rows:
            break
    assert depth == MAX_DEPTH - 1


def test_hosts_take_turns() -> None:
    uris = ["https://a.example/1", "https://a.example/2", "https://a.example/3", "bilisearch5:口型", "/data/x.mp4"]
    spread = spread_hosts([{"uri": uri} for uri in uris])
    assert [row["uri"] for row in spread] == [uris[0], uris[3], uris[4], uris[1], uris[2]]
