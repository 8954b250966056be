from __future__ import annotations

import gc
import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from model.shards.clip_cache import ClipCache


def clip(number: int) -> pa.Table:
    return pa.table({"num_frames": [number], "face_jpeg": [[bytes([number]) * 1000] * 50]})


def never() -> pa.Table:
    raise AssertionError("it was read again")


def test_what_one_process_read_all_have():
    made = ClipCache(limit=4)
    worker = pickle.loads(pickle.dumps(made))  # noqa: S301 - what a loader does with its data set
    assert made.get(3, lambda: clip(3)) == clip(3)
    assert worker.get(3, never) == clip(3)
    assert worker.get(5, lambda: clip(5)) == clip(5)
    assert made.get(5, never) == clip(5)


def test_the_oldest_go_and_stay_readable_where_they_are_open():
    cache = ClipCache(limit=2)
    for number in range(3):
        cache.get(number, lambda number=number: clip(number))
    first = cache.get(1, never)
    cache.get(3, lambda: clip(3))
    assert sorted(path.name for path in cache.folder.iterdir()) == ["2", "3"]
    assert first == clip(1)
    with pytest.raises(AssertionError, match="read again"):
        cache.get(1, never)


def test_the_folder_goes_with_its_maker_and_not_with_a_worker():
    made = ClipCache(limit=2)
    folder: Path = made.folder
    worker = pickle.loads(pickle.dumps(made))  # noqa: S301 - what a loader does with its data set
    worker.get(0, lambda: clip(0))
    del worker
    gc.collect()
    assert made.get(0, never) == clip(0)
    del made
    gc.collect()
    assert not folder.exists()
