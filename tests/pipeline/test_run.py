"""The main job on real video: every source accounted for, each for the reason it was made for; resume; re-decision."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from pipeline import finalize, run
from pipeline.job.parts import read_parts, read_rows
from pipeline.job.plan import STAGES
from pipeline.rules.config import Config
from stages.core.command import INTERRUPTED
from stages.core.records import CLIP_FPS, Row, shard_schema
from stages.core.rows import rows_from_table, table_from_rows
from stages.depth import decode_depth
from tests.runs import CORPUS, ONE_WORKER, command

ROOT = Path(__file__).resolve().parents[2]
RAY_LINE = r"^(\[?\d{4}-\d\d-\d\d |\(\w+ pid=|\(raylet)"
"""How Ray's C++ code, its Python code and its workers begin what they print."""


@pytest.fixture
def copy(corpus_run, tmp_path) -> Path:
    return Path(shutil.copytree(corpus_run, tmp_path / "copy"))


def _ledger(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "ledger.parquet")


def test_every_source_is_there_with_the_verdict_it_was_made_for(corpus, corpus_run):
    truth = json.loads((corpus / "truth.json").read_text())
    ledger = _ledger(corpus_run)
    assert set(ledger.source_id) == set(CORPUS)
    for name in CORPUS:
        rows = ledger[ledger.source_id == name]
        if truth[name]["expect"] == "keep":
            assert (rows.verdict == "keep").any(), name
        else:
            assert set(rows.verdict) == {"drop"} and set(rows.drop_reason) == {truth[name]["reason"]}, name


def test_kept_and_dropped_equal_what_went_in(corpus_run):
    stats = json.loads((corpus_run / "stats.json").read_text())
    ledger = _ledger(corpus_run)
    assert Counter(ledger.verdict) == {"keep": len(pq.read_table(corpus_run / "shards")), "drop": 5}
    assert stats["num_incomplete_sources"] == 0


def test_a_shard_row_fits_together(corpus_run):
    (file, *_) = (corpus_run / "shards").glob("*.parquet")
    table = pq.read_table(file)
    row = table.slice(0, 1).to_pylist()[0]
    frames = row["num_frames"]
    for name in ("face_jpeg", "landmarks", "depth", "pose", "exp_coeff", "pts_s", "crop_box_xyxy_px"):
        assert len(row[name]) == frames, name
    assert len(row["audio_pcm16"]) == frames * 16_000 // CLIP_FPS
    assert abs(len(row["whisper"]) - 2 * frames) <= 1
    assert table.schema.names == shard_schema(52, 2560).names
    depth_mm = decode_depth(row["depth"][frames // 2])
    face = depth_mm > 0
    assert 0.15 < face.mean() < 0.95 and 300 < depth_mm[face].mean() < 3000


@pytest.fixture(scope="module")
def kept(corpus_run) -> Row:
    """A clip as it stands in the parts: all that every stage has written."""
    parts = read_parts(corpus_run)
    verdicts = _ledger(corpus_run).set_index("row_id").verdict
    addresses = [
        a for a, name in zip(parts.addresses, parts.ledger["row_id"], strict=True) if verdicts[str(name)] == "keep"
    ]
    return rows_from_table(next(read_rows(addresses[:1])))[0]


class _Watched(dict):
    """A row that remembers what it was asked for, there or not."""

    def __init__(self, row: Row) -> None:
        super().__init__(row)
        self.asked: set[str] = set()

    def __getitem__(self, name: str):
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default=None):
        self.asked.add(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_reads_no_more_than_it_declares(stage, kept, weights, tmp_path):
    """From its declared columns alone it measures again what it measured in the run."""
    row = _Watched({name: kept[name] for name in stage.reads if name in kept})
    found = stage.build(Config(), weights, tmp_path)(row)
    if stage.splits:
        index = stage.splits[0]
        (found,) = [row for row in found if row[index] == kept[index]]
    later = {name for other in STAGES[STAGES.index(stage) + 1 :] for name in other.writes}
    names = set(stage.writes) - later - {"retrieved_at"}
    (again,) = rows_from_table(table_from_rows([{name: found[name] for name in names if name in found}]))
    expected = {name: kept[name] for name in names if name in kept}
    assert expected and again.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
            np.testing.assert_allclose(again[name], value, rtol=1e-3, atol=1e-3, err_msg=name)
        elif name == "depth":  # drawn from coefficients that were rounded when they were written
            shown = [np.stack([decode_depth(png) for png in pngs]) for pngs in (again[name], value)]
            assert np.mean(shown[0] != shown[1]) < 1e-4
        else:
            np.testing.assert_array_equal(again[name], value, err_msg=name)
    assert row.asked <= {*stage.reads, *stage.writes}


def test_three_readers_open_the_shards(corpus_run, tmp_path):
    files = str(corpus_run / "shards" / "*.parquet")
    rows = len(pd.read_parquet(corpus_run / "shards"))
    assert load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")).num_rows == rows
    counted = duckdb.sql(f"select count(*), sum(len(face_jpeg)) from '{files}'").fetchall()  # noqa: S608
    assert counted[0][0] == rows
    assert rows >= 1


def test_a_second_run_has_nothing_to_do(corpus, copy, capsys):
    before = {file.name for file in (copy / "parts").iterdir()}
    assert run.main(command(corpus / "manifest.yaml", copy)) == 0
    assert "0 to do" in capsys.readouterr().out
    assert {file.name for file in (copy / "parts").iterdir()} == before


def test_lost_parts_are_made_again_and_the_rest_is_not(corpus, copy):
    victims = [f for f in (copy / "parts").iterdir() if "english" in pq.read_table(f)["source_id"].to_pylist()]
    for victim in victims:
        victim.unlink()
    before = _ledger(copy)
    kept_parts = {file.name for file in (copy / "parts").iterdir()}
    assert run.main(command(corpus / "manifest.yaml", copy, *ONE_WORKER)) == 0
    after = _ledger(copy)
    assert list(after.row_id) == list(before.row_id) and list(after.verdict) == list(before.verdict)
    assert len({file.name for file in (copy / "parts").iterdir()} - kept_parts) == 1


def test_a_stricter_policy_needs_no_video(copy):
    assert finalize.main(["--out", str(copy), "policy.min_face_px=100000"]) == 0
    ledger = _ledger(copy)
    assert not (ledger.verdict == "keep").any()
    assert not list((copy / "shards").glob("*.parquet"))
    assert finalize.main(["--out", str(copy), "policy.min_face_px=90"]) == 0
    assert (_ledger(copy).verdict == "keep").any()


def test_a_looser_policy_leaves_rows_pending_for_the_next_run(corpus, copy):
    assert finalize.main(["--out", str(copy), "policy.languages=[zh,en]"]) == 0
    pending = _ledger(copy).query("verdict == 'pending'")
    assert set(pending.source_id) == {"english"}
    assert run.main(command(corpus / "manifest.yaml", copy, *ONE_WORKER)) == 0
    ledger = _ledger(copy)
    assert set(ledger[ledger.source_id == "english"].verdict) == {"keep"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["policy.min_fase_px=3"], "policy.min_fase_px"),
        (["policy.min_face_px=wide"], "policy.min_face_px"),
        (["nonsense"], "key=value"),
        (["--config", "gone.yaml"], "gone.yaml"),
        (["run.pools.clip.stages=[identity]"], "run.pools"),
    ],
)
def test_a_wrong_setting_fails_at_start_by_name(corpus, tmp_path, capsys, arguments, message):
    assert run.main(command(corpus / "manifest.yaml", tmp_path / "out", *arguments)) == 2
    assert message in capsys.readouterr().err


def test_a_measuring_key_cannot_change_in_place(corpus, copy, capsys):
    assert run.main(command(corpus / "manifest.yaml", copy, "track.max_clip_s=5")) == 2
    assert "track.max_clip_s" in capsys.readouterr().err


def test_finalize_without_a_run_says_what_to_do(tmp_path, capsys):
    assert finalize.main(["--out", str(tmp_path)]) == 2
    assert "run.py" in capsys.readouterr().err


def test_a_stopped_run_goes_on_where_it_was(corpus, corpus_run, tmp_path):
    """Ctrl-C from another folder, once the first source is judged; the same command then gives the same data set."""
    stopped, manifest = tmp_path / "out", corpus / "manifest.yaml"
    words = [sys.executable, str(ROOT / "pipeline" / "run.py"), *command(manifest, stopped)]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = []
        while not printed or "dropped" not in printed[-1] or "dropped 0" in printed[-1]:
            assert process.poll() is None, process.communicate()[1]
            printed.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, stderr = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED, stderr
    assert "run the same command again" in stderr
    assert [line for line in [*printed, rest, stderr] if re.search(RAY_LINE, line, re.MULTILINE)] == []
    assert run.main(command(manifest, stopped, *ONE_WORKER)) == 0
    columns = ["row_id", "verdict", "drop_reason", "face_px", "language_prob", "fit_error_px"]
    pd.testing.assert_frame_equal(_ledger(stopped)[columns], _ledger(corpus_run)[columns])
