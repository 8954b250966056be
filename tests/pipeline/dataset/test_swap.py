"""Files of a folder replaced all at once, on a disk and in a bucket."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.swap import swap_files
from stages.core.storage import StorageError, list_files, read_table


def fill(folder: Path, **files: str) -> None:
    with swap_files(folder) as open_file:
        for name, text in files.items():
            with open_file(f"{name}.parquet") as path:
                pq.write_table(pa.table({"text": [text] * 20_000}), path)


def _texts(folder: Path) -> list[str]:
    return [read_table(file)["text"][0].as_py() for file in list_files(folder, "*.parquet")]


def test_files_are_swapped_as_a_whole(remote):
    folder = remote / "shards"
    fill(folder, a="one", b="two")
    before = list_files(folder, "*")
    assert [file.name[:2] for file in before] == ["a-", "b-"]
    fill(folder, a="one", b="three")
    after = list_files(folder, "*")
    assert _texts(folder) == ["one", "three"]
    assert after[0] == before[0] and after[1] != before[1]
    with pytest.raises(ZeroDivisionError), swap_files(folder) as open_file:
        with open_file("a.parquet") as path:
            pq.write_table(pa.table({"text": ["never seen"]}), path)
        raise ZeroDivisionError
    assert list_files(folder, "*") == after and list_files(remote / ".shards.new", "*") == []
    fill(folder)
    assert list_files(folder, "*") == []


def test_what_a_crash_between_copying_and_removing_leaves_is_put_right(remote):
    folder = remote / "shards"
    fill(folder, a="old", b="old")
    code = (
        "import os, stages.core.storage as p, pipeline.dataset.swap as s, tests.pipeline.dataset.test_swap as t\n"
        "s.remove = lambda file: os._exit(9)\n"
        f"t.fill(p.as_path('{folder}'), a='new', b='new')\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert sorted(_texts(folder)) == ["new", "new", "old", "old"]
    assert list_files(remote / ".shards.new", "*")
    fill(folder, a="new", b="new")
    assert _texts(folder) == ["new", "new"]
    assert not list_files(remote / ".shards.new", "*")


def test_a_reader_in_the_middle_of_a_swap_sees_whole_files_only(remote):
    folder, stop, seen, broken = remote / "shards", threading.Event(), [], []
    fill(folder, a="0", b="0")

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
        fill(folder, a=f"{number}", b=f"{number}")
    stop.set()
    reader.join()
    assert not broken and len(seen) > 5 and set(seen) == {20_000}
