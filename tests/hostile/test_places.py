"""Things that are no files, and names that are no names: nothing hangs, nothing runs, each row says why."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.known.media_files import steady, write_media
from pipeline.job.manifest import read_manifest
from stages.media import probe_media
from tests.hostile.conftest import Outcome

Run = Callable[[str | Path], Outcome]
SHELL = "a; touch OWNED; $(touch OWNED) `touch OWNED` | touch OWNED && 'x\" \\ * ?.mp4"


def _link(path: Path, target: str) -> Path:
    path.symlink_to(target)
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _sparse(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(2**42)  # 4 TB that take no room
    return path


def _socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    return path


@pytest.mark.parametrize(
    ("make", "stage", "reason"),
    [
        (lambda path: _link(path, path.name), "crawl", "unavailable"),
        (lambda path: _link(path, "nowhere.mp4"), "crawl", "unavailable"),
        (lambda path: _link(path, "/dev/zero"), "crawl", "unavailable"),
        (lambda path: _link(path, "/dev/stdin"), "crawl", "unavailable"),
        (_pipe, "crawl", "unavailable"),
        (_folder, "crawl", "unavailable"),
        (_sparse, "crawl", "too_large"),
        (lambda path: Path("/proc/self/mem"), "crawl", "error"),  # an error of reading, as of a bad disk
        (lambda path: Path("/proc/self/pagemap"), "probe", "corrupt"),  # 256 GB, and calls itself empty
        (lambda path: Path("/proc/self/status"), "probe", "corrupt"),
        (lambda path: path.with_name("a" * 251 + ".mp4"), "crawl", "unavailable"),
        (lambda path: path.with_name("a" * 300 + ".mp4"), "crawl", "unavailable"),
        (lambda path: path.parent.joinpath(*["d"] * 3000, "a.mp4"), "crawl", "unavailable"),
    ],
    ids=[
        "link to itself",
        "link to nothing",
        "link to an endless device",
        "link to a pipe",
        "pipe",
        "folder",
        "4 TB of nothing",
        "memory",
        "endless file of the kernel",
        "file of the kernel",
        "longest name",
        "too long a name",
        "too long a path",
    ],
)
def test_what_is_no_media_file_is_not_waited_for(
    make: Callable[[Path], Path], stage: str, reason: str, tmp_path: Path, run_source: Run
) -> None:
    outcome = run_source(make(tmp_path / "a.mp4"))
    assert outcome.status == 0
    assert outcome.ends == {(stage, reason)}, outcome.details
    assert outcome.cpu_s < 10.0


def test_a_socket_is_no_file(run_source: Run, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # its address has 108 bytes
        _socket(Path("a.mp4"))
    assert run_source(tmp_path / "a.mp4").ends == {("crawl", "unavailable")}


@pytest.mark.parametrize(
    "name",
    [SHELL, "new\nline.mp4", "-i.mp4", "%d.mp4", "concat:a|b.mp4", "http:x.mp4", "data:,x.mp4", "tab\t\x1b[31m.mp4"],
)
def test_names_are_only_names(name: str, tmp_path: Path, run_source: Run) -> None:
    write_media(tmp_path / name, steady(50))
    (source,) = read_manifest(tmp_path)
    outcome = run_source(source["uri"])
    assert outcome.ends == {("probe", "no_audio")}, outcome.details
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_names_that_are_no_utf_8_are_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    shutil.copy(write_media(tmp_path / "a.mp4", steady(50)), path)
    assert probe_media(path).duration_s == pytest.approx(2.0, abs=0.1)


def test_a_path_upwards_is_the_file_it_names(tmp_path: Path, run_source: Run) -> None:
    (tmp_path / "lists").mkdir()
    write_media(tmp_path / "a.mp4", steady(50))
    (tmp_path / "lists" / "m.yaml").write_text("- ../a.mp4\n- ../../../../../../../../etc/passwd\n")
    media, other = read_manifest(tmp_path / "lists" / "m.yaml")
    assert run_source(media["uri"]).ends == {("probe", "no_audio")}
    assert run_source(other["uri"]).ends == {("probe", "not_video")}
    assert "/" not in other["source_id"] and ".." not in other["source_id"]
