"""The page's server, started as a user starts it, dubs a video that comes over HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import requests

from model import web
from model.dubbing.marks import read_comment
from stages.core.weights import WeightStore
from stages.media import probe_media, write_video
from tests.talking import moving_photo, save_run, untrained_editor

WAIT_S = 120.0


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "v.mp4"
    write_video(path, moving_photo(8), Fraction(25), 0.2 * np.sin(np.arange(8 * 640) / 9).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, weights: WeightStore) -> Iterator[str]:
    run = save_run(tmp_path_factory.mktemp("runs") / "tiny", untrained_editor(weights))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "model.web", "--run", str(run), "--port", str(port), "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        address = f"http://127.0.0.1:{port}/"
        try:
            _until(lambda: server.poll() is not None or _answers(address))
            assert server.poll() is None
            yield address
        finally:
            server.terminate()


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=60).ok
    except requests.ConnectionError:
        return False


def _until(done) -> None:
    end_s = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < end_s, "it took too long"
        time.sleep(0.2)


def finished(site: str, **fields) -> dict:
    reply = requests.post(site + "api/jobs", **fields, timeout=60)
    assert reply.status_code == 202, reply.text
    job = f"{site}api/jobs/{reply.json()['id']}"
    _until(lambda: requests.get(job, timeout=60).json()["state"] in ("done", "failed"))
    return {**requests.get(job, timeout=60).json(), "job": job}


def test_a_video_is_dubbed_over_http(site: str, video: Path, tmp_path: Path):
    page = requests.get(site, timeout=60)
    assert 'name="video"' in page.text and '<option value="a2m" disabled>' in page.text
    content = video.read_bytes()
    facts = finished(site, files={"video": content, "audio": content}, data={"loop": "stop", "depth": "original"})
    assert facts["state"] == "done" and facts["notes"] == ["8 frames at 25.000 fps, depth: original"]
    (tmp_path / "y.mp4").write_bytes(requests.get(facts["job"] + "/video", timeout=60).content)
    assert probe_media(tmp_path / "y.mp4").width_px == 420
    made = read_comment(tmp_path / "y.mp4")
    assert made is not None and made["run"] == "tiny"


def test_what_is_wrong_is_said_in_words(site: str, video: Path):
    content = video.read_bytes()
    failed = finished(site, files={"video": b"no video at all", "audio": content})
    assert failed["state"] == "failed" and "not_video" in failed["notes"][0]
    assert requests.get(failed["job"] + "/video", timeout=60).json() == {"error": "this job has no result yet"}
    for fields, message in [
        ({"files": {"video": content}}, "choose a file first: audio"),
        ({"files": {"video": content, "audio": content}, "data": {"loop": "x"}}, "none of those on the page"),
        ({"files": {"video": content}, "headers": {"Origin": "http://elsewhere.example"}}, "another site"),
    ]:
        reply = requests.post(site + "api/jobs", **fields, timeout=60)
        assert reply.status_code == 400 and message in reply.json()["error"]
    assert requests.get(site + "api/jobs/none", timeout=60).json() == {"error": "there is no such job"}


def test_a_port_that_is_taken_is_told(tmp_path: Path, weights: WeightStore, capsys):
    run = save_run(tmp_path / "tiny", untrained_editor(weights))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert web.main(["--run", str(run), "--port", str(port), "--device", "cpu"]) == 2
    told = capsys.readouterr().err
    assert str(port) in told and "--port" in told
