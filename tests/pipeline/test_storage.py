"""Files in a bucket of a real S3 server: written whole, listed as they are, read in part, copied here once."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import s3fs
from datasets import load_dataset

from model.config import AugmentConfig, LoaderConfig
from model.data import DataError, EditorDataset
from pipeline.config import Config
from pipeline.doctor import State, check_output
from pipeline.ledger import next_generation, part_files, read_parts, read_rows, write_part
from pipeline.manifest import ManifestError, is_there, missing_files, read_manifest
from pipeline.node_cache import NodeCache
from pipeline.plan import Stage
from pipeline.records import Dropped, DropReason, Row
from pipeline.rows import table_from_rows
from pipeline.step import Runner
from pipeline.storage import (
    Forbidden,
    StorageError,
    UnknownStorage,
    as_path,
    is_dir,
    is_file,
    list_files,
    local_folder,
    open_parquet,
    read_table,
    read_text,
    remove,
    title_of,
    upload,
    write_parquet,
    write_text,
    write_whole,
)
from pipeline.swap import swap_files
from pipeline.weights import WeightStore
from tests.object_store import BUCKET, READER
from tests.shards import write_shards


def put_folder(folder: Path, remote: Path) -> None:
    for file in folder.iterdir():
        upload(file, remote / file.name)


@contextlib.contextmanager
def connecting_with(monkeypatch, **options) -> Iterator[None]:
    """With other settings of fsspec's own configuration, as in `~/.config/fsspec`."""
    with monkeypatch.context() as patch:
        patch.setitem(fsspec.config.conf, "s3", options)
        yield


@pytest.fixture
def requests(monkeypatch) -> list[int]:
    """Sizes of what is fetched from objects, as it happens."""
    fetched = []
    fetch_range = s3fs.S3File._fetch_range

    def counted(self, start, end) -> bytes:
        fetched.append(end - start)
        return fetch_range(self, start, end)

    monkeypatch.setattr(s3fs.S3File, "_fetch_range", counted)
    return fetched


@pytest.mark.parametrize("text", ["a/b.csv", "/a/b.csv", "~/b", "C:/x", "odd:name", "."])
def test_a_path_stays_a_path(text):
    assert as_path(text) == Path(text) and isinstance(as_path(text), Path)


def test_addresses_are_told_apart():
    assert as_path("file:///a/b") == Path("/a/b")
    assert str(as_path("s3://bucket/a") / "b#?.mp4") == "s3://bucket/a/b#?.mp4"
    assert as_path("s3://bucket/set/") == as_path("s3://bucket/set")
    assert [title_of(as_path(text)) for text in ("s3://bucket/", "s3://bucket/set", "/a/b/")] == ["bucket", "set", "b"]
    for text, message in [
        ("nfsx://a/b", "nothing opens nfsx://; known are abfs"),
        ("gs://bucket/a", "pip install gcsfs"),
        ("s3:///a", "names no bucket"),
    ]:
        with pytest.raises(UnknownStorage, match=message):
            as_path(text)
    with pytest.raises(Exception, match="not on this machine"):
        local_folder("s3://bucket/run")


def test_what_is_written_is_there_and_replaced_as_a_whole(remote):
    file = remote / "a" / "b.txt"
    assert not is_file(file) and not is_dir(file.parent) and list_files(file.parent, "*") == []
    write_text(file, "一\r\n")
    assert is_file(file) and not is_dir(file) and is_dir(file.parent) and not is_file(file.parent)
    write_text(file, "二")
    assert read_text(file) == "二"
    assert list_files(file.parent, "*.txt") == [file] and list_files(file.parent, "*.csv") == []
    remove(file)
    remove(file)
    assert not is_file(file)


@pytest.mark.parametrize("before", [None, "old"])
def test_a_writer_that_fails_leaves_what_was_there(remote, before):
    file = remote / "x.bin"
    if before:
        write_text(file, before)
    with pytest.raises(ZeroDivisionError), write_whole(file) as target:
        target.write(b"half")
        raise ZeroDivisionError
    assert (read_text(file) if is_file(file) else None) == before
    assert [path.name for path in list_files(remote, "*")] == (["x.bin"] if before else [])


def test_what_another_process_writes_is_seen_at_once(remote):
    write_text(remote / "1.txt", "")
    assert len(list_files(remote, "*")) == 1
    code = f"from pipeline.storage import *; write_text(as_path('{remote}/2.txt'), 'new')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [path.name for path in list_files(remote, "*")] == ["1.txt", "2.txt"]
    assert read_text(remote / "2.txt") == "new"


def test_only_the_columns_asked_for_are_fetched(remote, requests):
    heavy = [os.urandom(100_000) for _ in range(100)]
    write_parquet(pa.table({"light": range(100), "heavy": heavy}), remote / "t.parquet", row_group_size=10)
    assert read_table(remote / "t.parquet", ["light"])["light"].to_pylist() == list(range(100))
    assert sum(requests) < 200_000
    with open_parquet(remote / "t.parquet") as file:
        assert file.read_row_group(3, columns=["heavy"])["heavy"].to_pylist() == heavy[30:40]
    assert 1_000_000 < sum(requests) < 1_400_000


def test_a_big_object_arrives_in_parts_and_whole(remote, tmp_path):
    content = np.random.default_rng(0).bytes(130_000_000)  # beyond twice s3fs's 50 MB: a multipart upload
    (tmp_path / "big").write_bytes(content)
    upload(tmp_path / "big", remote / "big.bin")
    with NodeCache(tmp_path / "cache").local_copy(remote / "big.bin") as copy:
        assert copy.read_bytes() == content


class Flaky:
    """Stands before the server and hangs up on the first connections."""

    def __init__(self, endpoint: str, num_failures: int) -> None:
        self.left, self._port = num_failures, int(endpoint.rpartition(":")[2])
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                client, _ = self._server.accept()
                if self.left > 0:
                    self.left -= 1
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._port))
                for a, b in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(a, b), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)


def test_a_connection_that_breaks_is_tried_again(store, remote, monkeypatch):
    proxy = Flaky(store.endpoint, num_failures=3)
    with connecting_with(monkeypatch, endpoint_url=proxy.endpoint):
        write_text(as_path(f"{remote}/a.txt"), "came through")
    assert proxy.left == 0
    assert read_text(remote / "a.txt") == "came through"


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("s3://no-such-bucket/set/x", {}, "s3://no-such-bucket/set/x cannot be written: .*bucket does not exist"),
        (f"s3://{BUCKET}/x", READER, f"s3://{BUCKET}/x cannot be written: Access Denied"),
        (f"s3://{BUCKET}/x", READER | {"secret": "wrong"}, f"s3://{BUCKET}/x cannot be written: .*signature"),
        (f"s3://{BUCKET}/x", {"endpoint_url": "http://127.0.0.1:1"}, "x cannot be written: Could not connect"),
    ],
)
def test_trouble_names_the_place(store, monkeypatch, address, options, message):
    with connecting_with(monkeypatch, **options), pytest.raises(StorageError, match=message):
        write_text(as_path(address), "x")


def test_trouble_is_not_taken_for_absence(store, monkeypatch):
    with connecting_with(monkeypatch, **READER | {"secret": "wrong"}):
        place = as_path(f"s3://{BUCKET}/x")
        for look in (is_file, is_dir, read_text, lambda path: list_files(path, "*")):
            with pytest.raises(Forbidden):
                look(place)


def test_the_doctor_tries_a_bucket(remote, monkeypatch):
    assert check_output(str(remote)).state == State.OK
    assert list_files(remote, "*") == []
    with connecting_with(monkeypatch, **READER):
        finding = check_output(str(remote))
    assert finding.state == State.MISSING and f"{remote}/.doctor cannot be written" in finding.found
    assert check_output("gs://bucket/x").state == State.MISSING


def test_parts_in_a_bucket_are_the_memory_of_a_run(remote):
    def rows(*titles: str) -> pa.Table:
        keys = {"source_id": "a", "shot_idx": 0, "num_shots": 1, "num_clips": len(titles)}
        return table_from_rows(
            [keys | {"clip_idx": i, "row_id": f"a-s0000-c{i:03d}", "title": t} for i, t in enumerate(titles)]
        )

    assert next_generation(remote) == 1 and read_parts(remote).ledger.num_rows == 0
    for _ in range(2):  # a task that is repeated
        write_part(rows("old", "old"), remote, generation=1)
    assert len(part_files(remote)) == 1 and next_generation(remote) == 2
    write_part(rows("new", "newer"), remote, generation=2)
    parts = read_parts(remote)
    assert parts.ledger["title"].to_pylist() == ["new", "newer"]
    assert [table["title"][0].as_py() for table in read_rows(parts.addresses[1:])] == ["newer"]


def _fill(folder: Path, **files: str) -> None:
    with swap_files(folder) as open_file:
        for name, text in files.items():
            with open_file(f"{name}.parquet") as path:
                pq.write_table(pa.table({"text": [text] * 20_000}), path)


def _texts(folder: Path) -> list[str]:
    return [read_table(file)["text"][0].as_py() for file in list_files(folder, "*.parquet")]


def test_files_are_swapped_as_a_whole(remote):
    folder = remote / "shards"
    _fill(folder, a="one", b="two")
    before = list_files(folder, "*")
    assert [file.name[:2] for file in before] == ["a-", "b-"]
    _fill(folder, a="one", b="three")
    after = list_files(folder, "*")
    assert _texts(folder) == ["one", "three"]
    assert after[0] == before[0] and after[1] != before[1]
    with pytest.raises(ZeroDivisionError), swap_files(folder) as open_file:
        with open_file("a.parquet") as path:
            pq.write_table(pa.table({"text": ["never seen"]}), path)
        raise ZeroDivisionError
    assert list_files(folder, "*") == after and list_files(remote / ".shards.new", "*") == []
    _fill(folder)
    assert list_files(folder, "*") == []


def test_what_a_crash_between_copying_and_removing_leaves_is_put_right(remote):
    folder = remote / "shards"
    _fill(folder, a="old", b="old")
    code = (
        "import os, sys, pipeline.swap as s, tests.pipeline.test_storage as t\n"
        "removed = s._remove_all\n"
        "s._remove_all = lambda files: os._exit(9) if files else removed(files)\n"
        f"t._fill(t.as_path('{folder}'), a='new', b='new')\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert sorted(_texts(folder)) == ["new", "new", "old", "old"]
    assert list_files(remote / ".shards.new", "*")
    _fill(folder, a="new", b="new")
    assert _texts(folder) == ["new", "new"]
    assert not list_files(remote / ".shards.new", "*")


def test_a_reader_in_the_middle_of_a_swap_sees_whole_files_only(remote):
    folder, stop, seen, broken = remote / "shards", threading.Event(), [], []
    _fill(folder, a="0", b="0")

    def read() -> None:
        while not stop.is_set():
            for file in list_files(folder, "*.parquet"):
                try:
                    seen.append(read_table(file).num_rows)
                except StorageError as error:
                    if not isinstance(error.__cause__, FileNotFoundError):  # it may have gone since it was listed
                        broken.append(error)
                except pa.ArrowException as error:
                    broken.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 7):
        _fill(folder, a=f"{number}", b=f"{number}")
    stop.set()
    reader.join()
    assert not broken and len(seen) > 5 and set(seen) == {20_000}


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


def test_the_copy_used_longest_ago_makes_room_unless_it_is_in_use(remote, tmp_path):
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
        stage = Stage(
            "scan", lambda config, weights, out: scan, reads=("media_path",), splits=("shot_idx", "num_shots")
        )
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


def test_lists_and_folders_in_a_bucket_name_their_media(remote, tmp_path):
    (tmp_path / "here.mp4").touch()
    for name in ("media/b.mp4", "media/deep/a.MKV", "media/notes.txt"):
        write_text(remote / name, "x")
    rows = read_manifest(remote / "media")
    assert [row["uri"] for row in rows] == [f"{remote}/media/b.mp4", f"{remote}/media/deep/a.MKV"]
    local = tmp_path / "media"
    (local / "deep").mkdir(parents=True)
    for name in ("b.mp4", "deep/a.MKV"):
        (local / name).touch()
    assert [row["source_id"] for row in read_manifest(local)] == [row["source_id"] for row in rows]
    write_text(remote / "l.csv", f"uri\nmedia/b.mp4\n{tmp_path}/here.mp4\nhttps://site/v\ns3://other/v.mp4\n")
    sources = read_manifest(remote / "l.csv")
    assert [row["uri"] for row in sources] == [
        f"{remote}/media/b.mp4",
        f"{tmp_path}/here.mp4",
        "https://site/v",
        "s3://other/v.mp4",
    ]
    assert [row["platform"] for row in sources] == ["s3", "local", "web", "s3"]
    assert missing_files(sources) == []
    write_parquet(pa.table({"uri": ["media/b.mp4"]}), remote / "l.parquet")
    assert read_manifest(remote / "l.parquet")[0]["uri"] == f"{remote}/media/b.mp4"
    for uri in ("sftp://192.168.0.1/etc/passwd", "memory://x.mp4", "gs://bucket/v.mp4"):
        write_text(remote / "bad.jsonl", f'{{"uri": "{uri}"}}')
        with pytest.raises(ManifestError, match=f"source 1: .*{uri}"):
            read_manifest(remote / "bad.jsonl")
    with pytest.raises(ManifestError, match="no such manifest: s3://"):
        read_manifest(remote / "none.csv")


def test_shards_in_a_bucket_are_read_by_others_and_give_the_same_samples(remote, tmp_path):
    local = write_shards(tmp_path / "shards")
    put_folder(local, remote / "shards")
    address = f"{remote}/shards"
    filesystem = s3fs.S3FileSystem()
    frame = pd.read_parquet(f"{address}/", columns=["row_id", "num_frames"])
    assert frame.num_frames.tolist() == [30, 30, 24]
    dataset = ds.dataset(address.removeprefix("s3://"), filesystem=filesystem)
    assert dataset.to_table(columns=["row_id"]).to_pydict() == frame[["row_id"]].to_dict("list")
    with duckdb.connect() as database:
        database.register_filesystem(filesystem)
        counted = database.sql(f"select count(*), sum(num_frames) from '{address}/train-*.parquet'").fetchall()  # noqa: S608
    assert counted == [(3, 84)]
    files = {"train": f"{address}/train-*.parquet"}
    stream = load_dataset("parquet", data_files=files, split="train", streaming=True, cache_dir=str(tmp_path / "cache"))
    assert [row["row_id"] for row in stream] == frame.row_id.tolist()
    config = LoaderConfig(draws_per_visit=4, pool_clips=2, num_workers=0)
    ours, theirs = (EditorDataset(str(root), "train", config, AugmentConfig(), 0) for root in (address, local))
    for number in (0, 5, 11):
        sample, other = ours[number], theirs[number]
        assert all((sample[key] == other[key]).all() for key in other)
    with pytest.raises(DataError, match=f"no val-\\*.parquet in {address}"):
        EditorDataset(address, "val", config, AugmentConfig(), 0)
    with pytest.raises(DataError, match="pip install gcsfs"):
        EditorDataset("gs://bucket/shards", "train", config, AugmentConfig(), 0)
