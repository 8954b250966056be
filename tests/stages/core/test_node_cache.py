"""Media in a bucket, copied here once for all workers of a node."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.job.manifest import is_there
from pipeline.job.plan import Stage
from pipeline.job.step import Runner
from pipeline.rules.config import Config
from stages.core.node_cache import NodeCache
from stages.core.reasons import Dropped, DropReason
from stages.core.records import Row
from stages.core.storage import StorageError, as_path, write_text
from stages.core.weights import WeightStore
from tests.object_store import READER, connecting_with


def _copies(cache: NodeCache) -> list[bytes]:
    return [file.read_bytes() for file in cache.folder.glob("[!.]*")]


def test_a_copy_is_fetched_once_and_again_when_the_object_changes(remote, tmp_path):
    cache, seen = NodeCache(tmp_path / "cache"), []

    def use() -> None:
        with cache.local_copy(remote / "v.mp4") as copy:
            seen.append((copy.read_text(), copy.suffix, copy.stat().st_ino))

    write_text(remote / "v.mp4", "first")
    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    use()
    assert len(seen) == 5 and len(set(seen)) == 1 and seen[0][:2] == ("first", ".mp4")
    write_text(remote / "v.mp4", "other")  # as long as it was
    use()
    assert seen[-1][0] == "other" and len(_copies(cache)) == 2
    with cache.local_copy(tmp_path / "here.mp4") as copy:
        assert copy == tmp_path / "here.mp4"


def test_the_copy_used_longest_ago_makes_room_unless_it_is_in_use(remote, tmp_path, monkeypatch):
    # Copies that share a lock by chance, one pair in 256, spare each other.
    own_lock = lambda cache, file, timeout_s=-1: FileLock(cache.folder / f".lock-{file.name}", timeout=timeout_s)  # noqa: E731
    monkeypatch.setattr(NodeCache, "lock", own_lock)
    cache = NodeCache(tmp_path / "cache", max_bytes=2_500)
    for name in "abc":
        write_text(remote / name, name * 1_000)
    for number, name in enumerate("ab"):
        with cache.local_copy(remote / name) as copy:
            pass
        os.utime(copy, (number, number))
    with cache.local_copy(remote / "a") as held:
        os.utime(held, (0, 0))
        with cache.local_copy(remote / "c"):
            assert sorted(content[:1] for content in _copies(cache)) == [b"a", b"c"]
        with cache.local_copy(remote / "b"):
            assert held.read_text() == "a" * 1_000


def test_media_that_are_gone_or_forbidden_are_unavailable(store, remote, tmp_path, monkeypatch):
    cache = NodeCache(tmp_path / "cache")
    write_text(remote / "v.mp4", "x")
    with pytest.raises(Dropped) as dropped, cache.local_copy(remote / "gone.mp4"):
        pass
    assert (dropped.value.reason, dropped.value.detail) == (
        DropReason.UNAVAILABLE,
        f"no such object: {remote}/gone.mp4",
    )
    with connecting_with(monkeypatch, **READER | {"secret": "wrong"}):
        place = as_path(f"{remote}/v.mp4")
        with pytest.raises(Dropped) as dropped, cache.local_copy(place):
            pass
        assert dropped.value.reason == DropReason.UNAVAILABLE and not is_there(str(place))
    assert is_there(f"{remote}/v.mp4") and not is_there(f"{remote}/gone.mp4")


def test_a_stage_sees_a_real_file_and_the_row_keeps_its_address(remote, tmp_path, monkeypatch):
    facts = {"duration_s": 16.0, "width_px": 640, "height_px": 480, "fps_num": 25, "fps_den": 1}
    shot = {"num_shots": 2, "shot_start_s": 0.0, "shot_end_s": 8.0, "shot_face_ratio": 1.0}
    seen = []

    def scan(row: Row) -> Iterator[Row]:
        for idx in range(2):
            seen.append((Path(row["media_path"]), Path(row["media_path"]).read_text()))
            yield row | shot | {"shot_idx": idx, "shot_multi_face_ratio": 0.0, "shot_face_px": 200.0}

    def run(address: str) -> list[Row]:
        stage = Stage("scan", lambda config, weights, out: scan, reads=("media_path",), splits_into="shot")
        runner = Runner((stage,), Config(), WeightStore(tmp_path / "weights"), tmp_path, lambda event: None)
        return list(runner.run(facts | {"source_id": "a", "media_path": address}))

    write_text(remote / "v.mp4", "bytes")
    rows = run(f"{remote}/v.mp4")
    assert [row["media_path"] for row in rows] == [f"{remote}/v.mp4"] * 2
    assert [text for _, text in seen] == ["bytes"] * 2 and seen[0][0].parent == tmp_path / "objects"
    (gone,) = run(f"{remote}/gone.mp4")
    assert (gone["drop_reason"], gone["media_path"]) == ("unavailable", f"{remote}/gone.mp4")
    with connecting_with(monkeypatch, endpoint_url="http://127.0.0.1:1"), pytest.raises(StorageError):
        run(f"{remote}/v.mp4")
