"""The same file through `ray job submit`, on a Ray that runs already."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def head(tmp_path):
    """A Ray head of our own, told apart from any other by its ports; ends with the test."""
    address = f"http://127.0.0.1:{_free_port()}"
    ports = [f"--port={_free_port()}", f"--dashboard-port={address.rsplit(':', 1)[1]}"]
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "RAY_AUTH_MODE": "disabled"}
    command = [BIN / "ray", "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats", *ports]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield environment | {"RAY_ADDRESS": address}
        process.terminate()
        process.wait(60)


def _submit(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess:
    """Submit and wait; a head that has just started refuses until its dashboard and its job agent are up."""
    command = [BIN / "ray", "job", "submit", "--working-dir", ".", "--", "python", "pipeline/run.py", *words]
    for _ in range(60):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if not any(text in done.stderr + done.stdout for text in ("Failed to connect to Ray", "No available agent")):
            break
        time.sleep(1)
    return done


@pytest.mark.cluster
def test_a_submitted_job_writes_the_data_set(head, tmp_path):
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "text.mp4").write_text("no video at all")
    done = _submit(head, "--manifest", str(tmp_path / "media"), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout + done.stderr
    ledger = pd.read_parquet(tmp_path / "out" / "ledger.parquet")
    assert list(ledger.drop_reason) == ["not_video"]
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.cluster
def test_a_submitted_job_leaves_nothing_in_its_own_folder(head, tmp_path):
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "text.mp4").write_text("no video at all")
    done = _submit(head, "--manifest", str(tmp_path / "media"), "--out", "out")
    assert done.returncode != 0
    assert "--out out is relative" in done.stdout + done.stderr
