"""Faults injected into a real stream: dying workers, a poison record, a stage that hangs."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray

from pipeline import finalize
from pipeline.job.parts import part_files, read_parts
from pipeline.job.plan import STAGE_NAMES
from pipeline.job.stream import Stream
from pipeline.job.todo import wanted_sources
from pipeline.rules.config import Config, PoolConfig, RunConfig
from stages.core.records import Row
from tests.faulty_stages import FAULTY_STAGES


@pytest.fixture(scope="module")
def out(weights, own_ray, tmp_path_factory) -> Path:
    """A run over five files that are no videos, three of them with a fault beside."""
    folder = tmp_path_factory.mktemp("faults")
    names = ("good", "poison", "hanging", "unlucky", "late")
    for name in names:
        (folder / f"{name}.mp4").write_text(f"{name}: no video at all")
    sources: list[Row] = [{"source_id": n, "uri": str(folder / f"{n}.mp4"), "tags": []} for n in names]
    pools = {"all": PoolConfig(STAGE_NAMES)}
    config = Config(run=RunConfig(pools, record_limit_s=8.0, max_tries=2, wave_sources=4))
    with Stream(folder / "out", config, weights, 1, FAULTY_STAGES) as stream:
        (folder / "out").mkdir()
        *_, state = stream.measure(sources, {source["source_id"]: source for source in sources})
    assert state.num_done == state.num_sources == state.tally.counts["crawl"].num_left == 5
    assert state.tally.failed_sources == {"poison", "hanging"}
    finalize.finalize(folder / "out", config)
    return folder / "out"


def _ledger(out: Path) -> dict[str, Row]:
    return {row["source_id"]: row for row in pq.read_table(out / "ledger.parquet").to_pylist()}


def test_each_record_ends_for_its_own_reason(out):
    reasons = {name: (row["drop_stage"], row["drop_reason"]) for name, row in _ledger(out).items()}
    assert reasons == {
        "good": ("probe", "not_video"),
        "late": ("probe", "not_video"),
        "unlucky": ("probe", "not_video"),
        "poison": ("probe", "crashed"),
        "hanging": ("probe", "time_limit"),
    }


def test_the_report_names_the_poison_record(out):
    assert _ledger(out)["poison"]["drop_detail"] == "2 workers died in probe of this record"
    assert "poison" in (out / "report.html").read_text()


def test_a_hanging_record_says_where_it_hung(out):
    assert "time.sleep(600)" in _ledger(out)["hanging"]["drop_detail"]


def test_what_was_set_aside_is_tried_again_by_the_next_run(out, tmp_path):
    sources = [{"source_id": name, "uri": row["uri"]} for name, row in _ledger(out).items()]
    done, again = wanted_sources(sources, read_parts(out), Config())
    assert (done, again) == ({"good", "late", "unlucky"}, {"poison", "hanging"})


def test_small_parts_are_joined(out):
    assert len(part_files(out)) == 1


def test_ray_is_gone(out):
    assert not ray.is_initialized()
