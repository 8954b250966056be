"""Files in a bucket of a real S3 server: written whole, listed as they are, read in part."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import s3fs

from stages.core.node_cache import NodeCache
from stages.core.storage import (
    Forbidden,
    StorageError,
    UnknownStorage,
    as_path,
    is_dir,
    is_file,
    list_files,
    local_path,
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
from tests.object_store import BUCKET, READER, connecting_with


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
        local_path("s3://bucket/run")


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
    code = f"from stages.core.storage import *; write_text(as_path('{remote}/2.txt'), 'new')"
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


def test_many_threads_may_write_one_file_at_a_time(tmp_path):
    target = tmp_path / "same.txt"
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: write_text(target, "the same\n" * 1000), range(200)))
    assert target.read_text() == "the same\n" * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["same.txt"]
