"""The doctor's checks: what each finds, and whether it stands in the demo's way."""

from __future__ import annotations

import io
import json
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path

import pytest
import ray
from rich.console import Console

from pipeline import doctor
from pipeline.doctor import Finding, State
from stages.core.weights import WEIGHTS, WeightStore

ROOT = Path(__file__).resolve().parents[2]
LOCK = "av==18.1.0\n    # via something\ntorch==2.13.0+cpu\n\nray==2.60.0\n"


def _versions(**installed: str):
    def version_of(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    return version_of


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 10, 13), State.MISSING), ((3, 11, 2), State.OK), ((3, 13, 0), State.OK), ((3, 14, 0), State.MISSING)],
)
def test_pythons_of_the_lock(version, state):
    assert doctor.check_python(version).state == state


def test_doctor_installer_and_project_name_the_same_pythons():
    oldest, newest = doctor.OLDEST_PYTHON, doctor.NEWEST_PYTHON
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"
    installer = (ROOT / "pipeline" / "setup" / "install.sh").read_text(encoding="utf-8")
    assert f"{oldest} <= sys.version_info[:2] <= {newest}" in installer


def test_packages_as_locked_whatever_the_build():
    found = doctor.check_packages(LOCK, _versions(av="18.1.0", torch="2.13.0+cu130", ray="2.60.0"))
    assert (found.state, found.found) == (State.OK, "all 3 as locked")


def test_a_missing_package_stops_the_demo_and_another_version_does_not():
    missing = doctor.check_packages(LOCK, _versions(av="18.1.0", torch="2.13.0"))
    assert (missing.state, missing.found) == (State.MISSING, "2 of 3; without ray")
    other = doctor.check_packages(LOCK, _versions(av="17.0.0", torch="2.13.0", ray="2.60.0"))
    assert (other.state, other.found) == (State.NOTE, "av 17.0.0, locked 18.1.0")


@pytest.mark.parametrize(("reachable", "state"), [(True, State.NOTE), (False, State.MISSING)])
def test_absent_weights_matter_only_where_they_cannot_be_fetched(tmp_path, reachable, state):
    needed, *optional = doctor.check_weights(WeightStore(tmp_path, fetch=False), reachable)
    assert needed.state == state
    assert needed.found.startswith("0 of ")
    assert {f.name for f in optional} == {f"weights: {w.name}" for w in WEIGHTS.values() if not w.mirrors}
    assert {f.state for f in optional} == {State.NOTE}


def test_all_weights_are_there(weights):
    assert next(doctor.check_weights(weights, registry_reachable=False)).state == State.OK


def test_ffmpeg_and_espeak_of_the_environment():
    assert doctor.check_ffmpeg().state == State.OK
    assert doctor.check_espeak().state == State.OK


def test_disk_of_a_folder_that_is_still_to_be_made(tmp_path):
    folder = tmp_path / "a" / "b"
    assert doctor.check_disk("disk", folder, 1).state == State.OK
    full = doctor.check_disk("disk", folder, 10**18)
    assert (full.state, full.found.split(" at ")[1]) == (State.MISSING, str(tmp_path))
    assert not folder.exists()


def test_shared_memory(tmp_path):
    assert doctor.check_shared_memory(tmp_path / "none").state == State.NOTE


def test_memory_is_that_of_the_container(tmp_path):
    limit = tmp_path / "memory.max"
    assert doctor.memory_limit_bytes(16, limit) == 16
    limit.write_text("max\n")
    assert doctor.memory_limit_bytes(16, limit) == 16
    limit.write_text("9\n")
    assert doctor.memory_limit_bytes(16, limit) == 9
    assert doctor.check_memory(2 * 10**9).state == State.NOTE
    assert doctor.check_cpus(1).state == State.NOTE


@pytest.fixture
def dashboard():
    """A local server that answers as Ray's dashboard does; its `answer` may be changed."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(server.answer)

        def log_message(self, format, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{server.server_port}"}
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (json.dumps({"ray_version": ray.__version__}), State.OK),
        (json.dumps({"ray_version": "1.0"}), State.NOTE),
        ("<html>", State.NOTE),
    ],
)
def test_cluster_by_its_dashboard(dashboard, answer, state):
    server, environment = dashboard
    server.answer = answer.encode()
    assert doctor.check_ray(environment).state == state


def test_a_cluster_that_is_named_but_not_there_stops_runs():
    nowhere = {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9"}
    assert doctor.check_ray(nowhere).found == f"{ray.__version__}; no cluster"
    assert doctor.check_ray(nowhere | {"RAY_ADDRESS": "127.0.0.1:9"}).state == State.MISSING
    assert doctor.check_ray(nowhere | {"RAY_ADDRESS": "nonsense"}).state == State.MISSING


def test_table_shows_what_an_absence_costs():
    text = io.StringIO()
    finding = Finding("GPU [x]", State.NOTE, "none", "slow", "buy one")
    doctor.print_findings([finding], Console(file=text, width=120))
    assert "GPU [x]" in text.getvalue()
    assert "slow -> buy one" in text.getvalue()


@pytest.mark.slow
def test_exit_code_says_whether_the_demo_can_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert doctor.main(["--out", str(tmp_path)]) == 1
    assert "The demo cannot run yet: Ray." in capsys.readouterr().out
    monkeypatch.delenv("RAY_ADDRESS")
    assert doctor.main(["--out", str(tmp_path)]) == 0
