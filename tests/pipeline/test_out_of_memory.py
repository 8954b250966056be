"""A record that takes more memory than there is: Ray ends its workers, and the run goes on without it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from pipeline import finalize
from pipeline.job.stream import Stream
from pipeline.rules.config import Config, RunConfig
from stages.core.records import Row
from tests.faulty_stages import FAULTY_STAGES, GREED_BYTES

pytestmark = pytest.mark.cluster  # it takes 6 GB


def test_a_greedy_record_is_set_aside_and_named(
    weights, own_ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = psutil.virtual_memory()
    limit = (memory.total - memory.available + GREED_BYTES // 2) / memory.total
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{limit:.3f}")
    names = ("good", "greedy", "late")
    for name in names:
        (tmp_path / f"{name}.mp4").write_text(f"{name}: no video at all")
    sources: list[Row] = [{"source_id": n, "uri": str(tmp_path / f"{n}.mp4"), "tags": []} for n in names]
    out, config = tmp_path / "out", Config(run=RunConfig(max_tries=2))
    with Stream(out, config, weights, 1, FAULTY_STAGES) as stream:
        out.mkdir()
        *_, state = stream.measure(sources, {source["source_id"]: source for source in sources})
    assert state.num_done == state.num_sources == 3
    finalize.finalize(out, config)
    ledger = {row["source_id"]: row for row in pq.read_table(out / "ledger.parquet").to_pylist()}
    assert {name: row["drop_reason"] for name, row in ledger.items()} == {
        "good": "not_video",
        "greedy": "crashed",
        "late": "not_video",
    }
