"""What finalize decides over the whole set: copies of files and of clips, and people who keep their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config import Config, load_config
from pipeline.finalize import finalize
from pipeline.ledger import write_part
from pipeline.records import Row, row_id
from pipeline.rows import table_from_rows
from tests.ledger_rows import make_rows
from tests.shards import clip_row

NUM_FRAMES = 75


@pytest.fixture(scope="module")
def measured() -> Row:
    """A clip that the default policy keeps, with all its payload."""
    row = next(row for row in make_rows(num_good_sources=1, num_bad_sources=0) if row["verdict"] == "keep")
    return {
        key: value
        for key, value in (row | clip_row(0, NUM_FRAMES)).items()
        if key not in ("split", "identity_id", "fps", "verdict")
    }


def _clip(measured: Row, source: str, person: int, sound: int, **more) -> Row:
    face = np.random.default_rng(person).normal(size=512)
    words = np.random.default_rng(sound).integers(0, 2**32, 60, dtype=np.uint32)
    row = measured | {"source_id": source, "uri": f"{source}.mp4", "sha256": source, "num_shots": 1, "num_clips": 1}
    row |= {"shot_idx": 0, "clip_idx": 0, "audio_fingerprint": words, "face_px": 200.0}
    row |= {"face_embedding": (face / np.linalg.norm(face)).astype(np.float16)} | more
    return row | {"row_id": row_id(row)}


def _finalize(out: Path, rows: list[Row], config: Config | None = None) -> pd.DataFrame:
    if rows:
        write_part(table_from_rows(rows), out, 1)
    finalize(out, config or Config())
    return pd.read_parquet(out / "ledger.parquet").set_index("source_id")


def test_of_two_sources_with_the_same_bytes_one_stays(tmp_path, measured):
    rows = [_clip(measured, name, 0, sound, sha256="same") for sound, name in enumerate(("b", "a"))]
    ledger = _finalize(tmp_path, [*rows, _clip(measured, "c", 0, 7)])
    assert dict(ledger.verdict) == {"a": "keep", "b": "drop", "c": "keep"}
    assert (ledger.drop_stage["b"], ledger.drop_reason["b"]) == ("finalize", "duplicate_source")
    assert ledger.drop_detail["b"] == "same file as a"


def test_of_two_clips_with_one_sound_and_one_face_the_larger_stays(tmp_path, measured):
    rows = [_clip(measured, "a", 0, 0), _clip(measured, "b", 0, 0, face_px=300.0), _clip(measured, "c", 0, 7)]
    ledger = _finalize(tmp_path, rows)
    assert dict(ledger.verdict) == {"a": "drop", "b": "keep", "c": "keep"}
    assert (ledger.drop_stage["a"], ledger.drop_reason["a"]) == ("finalize", "duplicate_clip")
    assert ledger.drop_detail["a"] == "same sound as b-s0000-c000"
    shards = pd.read_parquet(tmp_path / "shards", columns=["source_id", "identity_id"])
    assert set(shards.source_id) == {"b", "c"} and shards.identity_id.nunique() == 1


def test_added_clips_rename_and_move_nobody(tmp_path, measured):
    before = _finalize(tmp_path, [_clip(measured, f"p{n}", n, n) for n in range(4)])
    added = [_clip(measured, f"a{n}", n, 100 + n) for n in range(12)]  # their ids come first
    after = _finalize(tmp_path, added)
    for column in ("identity_id", "split"):
        assert dict(after[column][before.index]) == dict(before[column])
        assert after[column]["a3"] == before[column]["p3"]
    assert after.identity_id.nunique() == 12
    assert sorted(before.split) == ["test", "train", "train", "val"]


def test_other_shares_draw_the_splits_anew(tmp_path, measured):
    before = _finalize(tmp_path, [_clip(measured, f"p{n}", n, n) for n in range(4)])
    after = _finalize(tmp_path, [], load_config([], ["finalize.val_ratio=0", "finalize.test_ratio=1"]))
    assert dict(after.identity_id) == dict(before.identity_id)
    assert set(after.split) == {"test"}
