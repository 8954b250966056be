"""The data set card, and the generated pages of columns and weights."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.rules.policy import PolicyConfig
from pipeline.show.card import render_card
from pipeline.show.markdown import table
from stages.core.records import shard_schema
from stages.core.rows import table_from_rows
from tests.ledger_rows import make_rows, write_out

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


def _card(out: Path, splits: tuple[str, ...]) -> tuple[dict, str]:
    (out / "shards").mkdir()
    for split in splits:
        schema = shard_schema(51, 1024)
        pq.write_table(table_from_rows([], schema), out / "shards" / f"{split}-00000.parquet")
    text = render_card(out, json.loads((out / "stats.json").read_text()), PolicyConfig())
    _, matter, body = text.split("---\n", 2)
    return yaml.safe_load(matter), body


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> tuple[dict, str]:
    rows = make_rows(12)
    for row in rows:
        row["licence"] = "<b>own</b> [terms](javascript:x) | v1"
    return _card(write_out(tmp_path_factory.mktemp("card") / "口型集", rows), ("train", "test"))


def test_front_matter_names_the_files_that_are_there(full):
    matter, _ = full
    files = [{"split": s, "path": f"shards/{s}-*.parquet"} for s in ("train", "test")]
    assert matter["configs"] == [{"config_name": "default", "data_files": files}]
    assert matter["pretty_name"] == "口型集"
    assert matter["language"] == ["zh"]
    assert matter["size_categories"] == ["n<1K"]


def test_columns_are_those_of_the_shards_with_their_meaning(full):
    _, body = full
    for name in shard_schema(51, 1024).names:
        assert f"| `{name}` |" in body
    assert "`list<fixed_size_list<float>[51]>`" in body
    assert "box around the landmarks in the source frame" in body
    assert "| `media_path` |" not in body


def test_weights_of_the_rows_are_listed_and_non_commercial_ones_flagged(full):
    _, body = full
    assert "| yunet | face detection in the coarse scan | MIT | yes |" in body
    assert "**arcface_mbf: not for commercial use.**" in body
    assert "sd_vae" not in body


def test_words_of_strangers_are_text(full):
    _, body = full
    assert "<b>own" not in body
    assert r"&lt;b&gt;own&lt;/b&gt; \[terms\](javascript:x) \| v1" in body


def test_the_funnel_and_thresholds_are_told(full):
    _, body = full
    assert "| `min_face_px` | 90.0 |" in body
    assert "mouth_hidden 2" in body


def test_a_set_without_clips_has_a_card_without_files(tmp_path):
    rows = [row for row in make_rows(0) if row["verdict"] == "drop" and row["drop_stage"] != "finalize"]
    matter, body = _card(write_out(tmp_path / "none", rows), ())
    assert "configs" not in matter
    assert "**nothing was kept**" in body
    assert "There are no shards to load." in body


def test_a_cell_keeps_its_table_together():
    assert table(["a", "b"], [["x|y", "1\n2"]]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 2 |"
