"""A ledger's kept sources as a manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from manifests.from_ledger import main
from pipeline.job.manifest import read_manifest
from stages.core.records import LEDGER
from stages.core.rows import table_from_rows

TALK = {"source_id": "talk", "uri": "https://a.example/v?p=2", "licence": "CC0", "tags": ["x"], "parent_id": "list"}
FACTS = {"sha256": "ab" * 32, "format_id": "80+30280"}


def test_kept_sources_are_listed_once_with_what_to_expect(tmp_path: Path) -> None:
    clips = [TALK | FACTS | {"row_id": f"talk-s0000-c00{idx}", "verdict": "keep"} for idx in range(2)]
    dropped = {"row_id": "bad", "source_id": "bad", "uri": "https://a.example/b", "verdict": "drop"}
    pq.write_table(table_from_rows([*clips, dropped], LEDGER), tmp_path / "ledger.parquet")
    out = tmp_path / "m.jsonl"
    assert main([str(tmp_path), "--out", str(out)]) == 0
    assert [json.loads(line)["source_id"] for line in out.read_text().splitlines()] == ["talk"]
    expected = {"expect_sha256": FACTS["sha256"], "expect_format_id": FACTS["format_id"], "platform": "web"}
    told = {column: value for column, value in TALK.items() if column != "parent_id"}
    assert read_manifest(out) == [told | expected]


def test_no_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--out", str(tmp_path / "m.jsonl")]) == 2
    assert "ledger.parquet" in capsys.readouterr().err
    assert not (tmp_path / "m.jsonl").exists()
