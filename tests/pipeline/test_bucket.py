"""What the rest of the pipeline, and other readers, make of a bucket."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import s3fs
from datasets import load_dataset

from model.shards.clips import DataError
from model.shards.samples import EditorDataset
from model.training.config import AugmentConfig, LoaderConfig
from pipeline.doctor import State, check_output
from pipeline.job.manifest import ManifestError, missing_files, read_manifest
from pipeline.job.parts import next_generation, part_files, read_parts, read_rows, write_part
from stages.core.rows import table_from_rows
from stages.core.storage import list_files, upload, write_parquet, write_text
from tests.object_store import READER, connecting_with
from tests.shards import write_shards


def put_folder(folder: Path, remote: Path) -> None:
    for file in folder.iterdir():
        upload(file, remote / file.name)


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
