"""What a run has to do."""

from __future__ import annotations

from pathlib import Path

from pipeline.job.manifest import id_of
from pipeline.job.parts import read_parts
from pipeline.job.todo import find_todo
from pipeline.rules.config import Config
from stages.core.reasons import DropReason
from stages.core.records import Row
from tests.rows import kept_clip, write_rows

PAGE = {"source_id": "page", "uri": "https://video.test/page"}


def dropped(source: Row, reason: DropReason, **more: object) -> Row:
    return source | {"row_id": source["source_id"], "last_stage": "crawl", "fault_reason": str(reason)} | more


def test_everything_is_to_be_done_at_first(tmp_path: Path) -> None:
    todo = find_todo([PAGE], read_parts(tmp_path), Config())
    assert (todo.sources, todo.known, todo.num_done, todo.num_again) == ([PAGE], {"page": PAGE}, 0, 0)


def test_what_listings_led_to_is_done_like_the_manifests_own_sources(tmp_path: Path) -> None:
    seen, unseen = ({"source_id": id_of(uri), "uri": uri} for uri in ("https://video.test/1", "https://video.test/2"))
    entries = [seen["uri"], unseen["uri"]]
    failed, new = ({"source_id": name, "uri": f"https://video.test/{name}"} for name in ("failed", "new"))
    write_rows(
        tmp_path,
        dropped(PAGE, DropReason.LISTING, entries=entries),
        dropped(failed, DropReason.ERROR),
        kept_clip(seen["source_id"], 0),
    )
    todo = find_todo([PAGE, failed, new], read_parts(tmp_path), Config())
    assert [source["source_id"] for source in todo.sources] == ["failed", "new", unseen["source_id"]]
    assert set(todo.known) == {"page", "failed", "new", seen["source_id"], unseen["source_id"]}
    assert (todo.num_done, todo.num_again) == (2, 1)
    assert todo.known[unseen["source_id"]]["parent_id"] == "page"
