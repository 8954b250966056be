"""Bad input and a bad machine: each a clear message, the right exit code, and nothing lost of what was done."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from ray.exceptions import RayTaskError

from pipeline import finalize, run
from pipeline.job.manifest import ManifestError, missing_files, read_manifest
from pipeline.job.parts import alone, read_parts, write_part
from pipeline.job.stream import unwrapped
from pipeline.job.todo import wanted_sources
from pipeline.rules.config import Config
from stages.core.reasons import DropReason
from stages.core.records import Row, row_id
from stages.core.rows import rows_from_table, table_from_rows
from stages.core.storage import staging_name, write_text
from stages.core.weights import MissingWeights

NOBODY = 65_534


def _dropped(source_id: str, reason: DropReason, stage: str, **more) -> Row:
    row = {"source_id": source_id, "uri": f"/{source_id}.mp4", "last_stage": stage, "fault_reason": str(reason)} | more
    return row | {"row_id": row_id(row), "fault_detail": "as the test says"}


def _measured(out: Path, *rows: Row) -> Path:
    write_part(table_from_rows(rows), out, generation=1)
    return out


@pytest.fixture
def out(tmp_path) -> Path:
    """A run of two sources, both dropped; so nothing is left to measure and no Ray is needed."""
    gone = _dropped("gone", DropReason.UNAVAILABLE, "crawl")
    return _measured(tmp_path / "out", gone, _dropped("silent", DropReason.NO_AUDIO, "probe"))


@contextmanager
def _without_rights():
    """As a user whom permissions bind, even where the tests run as root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.yaml", "videos: [a.mp4]", "with the key 'sources'"),
        ("m.yaml", "- {uri: a.mp4, tags: 3}", "source 1: tags must be a list or text, got 3"),
        ("m.yaml", "- {uri: [a.mp4, b.mp4]}", "source 1: uri must be text"),
        ("m.yaml", "- {uri: a.mp4, language: no}", "declared_language must be text, in quotes if need be; got False"),
        ("m.yaml", "- {uri: ''}", "source 1: no uri"),
        ("m.csv", "uri,tags\na.mp4,x,y,z\n", "cells without a heading"),
    ],
)
def test_a_list_with_wrong_values_names_the_source(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / name)


def test_lists_written_elsewhere_are_read(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(
        '\ufeff{"uri": "a.mp4", "tags": ["one\u2028two"]}\r\n{"uri": "b.mp4", "id": ""}\n'.encode()
    )
    first, second = read_manifest(tmp_path / "m.jsonl")
    assert first["tags"] == ["one\u2028two"]
    assert second["source_id"].startswith("b-")


def test_links_that_lead_nowhere_and_impossible_names_are_missing_files(tmp_path):
    (tmp_path / "dangling.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "folder.mp4").mkdir()
    names = ["dangling.mp4", "loop.mp4", "folder.mp4", "a" * 300 + ".mp4", "a\\0b.mp4"]
    (tmp_path / "m.yaml").write_text("".join(f'- "{name}"\n' for name in names))
    assert len(missing_files(read_manifest(tmp_path / "m.yaml"))) == len(names)
    assert [Path(row["uri"]).name for row in read_manifest(tmp_path)] == ["dangling.mp4", "loop.mp4"]


def test_a_name_that_is_no_text_is_refused(tmp_path):
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.mp4")).touch()
    with pytest.raises(ManifestError, match="not valid UTF-8; rename it"):
        read_manifest(tmp_path)


def test_an_unreadable_folder_inside_a_folder_is_not_passed_over():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "a.mp4").touch()
        (folder / "locked").mkdir(mode=0o000)
        with _without_rights(), pytest.raises(ManifestError, match="locked"):
            read_manifest(folder)


def test_names_with_brackets_quotes_and_newlines_go_through(tmp_path, capsys):
    names = ["a[/].mp4", '主播\'s "夜".mp4', "new\nline.mp4"]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(pd.DataFrame({"uri": names}).to_json(orient="records", lines=True))
    sources = read_manifest(manifest)
    rows = [_dropped(row["source_id"], DropReason.UNAVAILABLE, "crawl", uri=row["uri"]) for row in sources]
    out = _measured(tmp_path / "out [/]", *rows)
    assert run.main(["--manifest", str(manifest), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"3 of 3 files are not there and will be listed as unavailable: {tmp_path}/a[/].mp4" in printed
    assert f"Open {out}/report.html" in printed


def test_a_file_as_out_is_refused(tmp_path, capsys):
    (tmp_path / "m.yaml").write_text("- a.mp4")
    assert run.main(["--manifest", str(tmp_path / "m.yaml"), "--out", str(tmp_path / "m.yaml")]) == 2
    assert "is a file; name a folder" in capsys.readouterr().err
    assert (tmp_path / "m.yaml").read_text() == "- a.mp4"


def test_a_submitted_job_may_not_leave_its_data_in_its_own_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(run.JOB_VARIABLE, "{}")
    monkeypatch.chdir(tmp_path)
    assert run.main(["--manifest", str(tmp_path), "--out", "out"]) == 2
    assert "--out out is relative" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_broken_part_is_named_with_the_way_out(tmp_path, out, capsys):
    (tmp_path / "m.yaml").write_text("- {id: gone, uri: /gone.mp4}")
    (out / "parts" / "part-g00002-0.parquet").write_bytes(b"PAR1")
    assert run.main(["--manifest", str(tmp_path / "m.yaml"), "--out", str(out)]) == 2
    assert finalize.main(["--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert message.count("part-g00002-0.parquet cannot be read") == message.count("Delete it") == 2


def test_a_full_disk_leaves_the_old_data_set_whole_and_the_same_command_goes_on(out, capsys):
    assert finalize.main(["--out", str(out)]) == 0
    before = (out / "ledger.parquet").read_bytes()
    staging_name(out / "ledger.parquet").symlink_to("/dev/full")
    assert finalize.main(["--out", str(out), "policy.min_face_px=1"]) == 1
    assert "the disk is full; free some space for" in capsys.readouterr().err
    assert (out / "ledger.parquet").read_bytes() == before
    assert not [path.name for path in out.iterdir() if path.name.startswith(".") and path.suffix != ".lock"]
    assert finalize.main(["--out", str(out), "policy.min_face_px=1"]) == 0


def test_a_configuration_that_cannot_be_written_stays_as_it_was(tmp_path):
    target = tmp_path / "config.yaml"
    write_text(target, "old")
    staging_name(target).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_text(target, "new")
    assert target.read_text() == "old"
    write_text(target, "new")
    assert target.read_text() == "new" and [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    "cause",
    [
        OSError(errno.ENOSPC, "No space left on device", "Failed to apply UDF transform"),
        MemoryError(),
        MissingWeights("no such file"),
    ],
)
def test_trouble_of_the_machine_is_told_without_the_workers_traceback(cause):
    error = RayTaskError("task", "Traceback ...", cause, "worker", 1, "127.0.0.1").as_instanceof_cause()
    plain = unwrapped(error)
    assert type(plain) is type(cause)
    assert "Traceback" not in str(plain) and "UDF" not in str(plain)
    assert getattr(plain, "errno", None) == getattr(cause, "errno", None)


def test_a_bug_keeps_the_workers_traceback():
    error = RayTaskError("task", "Traceback ...", KeyError("x"), "worker", 1, "127.0.0.1").as_instanceof_cause()
    assert unwrapped(error) is error


def test_faults_that_may_be_gone_are_tried_again(tmp_path):
    (tmp_path / "came.mp4").touch()
    out = _measured(
        tmp_path / "out",
        _dropped("gone", DropReason.UNAVAILABLE, "crawl"),
        _dropped("came", DropReason.UNAVAILABLE, "crawl", uri=str(tmp_path / "came.mp4")),
        _dropped("bug", DropReason.ERROR, "crawl"),
        _dropped("silent", DropReason.NO_AUDIO, "probe"),
    )
    sources = rows_from_table(pq.read_table(out / "parts", columns=["source_id", "uri"]))
    assert wanted_sources(sources, read_parts(out), Config()) == ({"gone", "silent"}, {"came", "bug"})


def test_a_corrected_path_is_tried_and_a_source_that_left_the_list_is_not(tmp_path):
    out = _measured(tmp_path, *(_dropped(name, DropReason.UNAVAILABLE, "crawl") for name in ("moved", "left")))
    sources = [{"source_id": "moved", "uri": "elsewhere.mp4"}, {"source_id": "new", "uri": "new.mp4"}]
    assert wanted_sources(sources, read_parts(out), Config()) == (set(), {"moved"})


def test_two_runs_on_one_folder_do_not_meet(tmp_path, out, capsys):
    (tmp_path / "m.yaml").write_text("- a.mp4")
    with alone(out, "run"):
        assert run.main(["--manifest", str(tmp_path / "m.yaml"), "--out", str(out)]) == 2
    assert f"another process is at run on {out}" in capsys.readouterr().err


def test_a_copy_that_was_dropped_keeps_its_own_reason(tmp_path):
    rows = [_dropped(name, DropReason.NO_AUDIO, "probe", sha256="same") for name in ("a", "b")]
    finalize.finalize(_measured(tmp_path, *rows), Config())
    assert list(pd.read_parquet(tmp_path / "ledger.parquet").drop_reason) == ["no_audio", "no_audio"]
