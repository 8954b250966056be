"""The plan as a Ray Data stream: pools of actors, one terminal write, progress reported by the workers."""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import math
import os
import queue
import signal
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset

from pipeline.job.coordinator import RemoteAttempts, RemoteGate, start_coordinator
from pipeline.job.guard import Guard
from pipeline.job.parts import compact, write_part
from pipeline.job.plan import STAGE_NAMES, STAGES, Stage
from pipeline.job.sources import expand, spread_hosts
from pipeline.job.step import Event, Runner
from pipeline.job.tally import Tally
from pipeline.rules.config import Config, PoolConfig, config_hash
from stages.core.records import ROW, SOURCE, Row
from stages.core.rows import rows_from_table, table_from_rows
from stages.core.weights import WEIGHTS, MissingWeights, WeightStore

ROOT = Path(__file__).resolve().parents[2]
REFRESH_S = 1.0
STDERR = 2
"""The file that Ray's C++ code writes to, whatever `sys.stderr` is."""
STOP_S = 10.0
"""Time that a stopped stream may take to release its workers."""
_QUIET: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
_COUNTED = ("shot_idx", "num_shots", "clip_idx", "num_clips")


@dataclass(frozen=True)
class State:
    """Progress of a stream."""

    num_done: int
    num_sources: int
    tally: Tally


class Pool:
    """Actor that runs consecutive stages on every row of a block; their models load once."""

    def __init__(
        self, stages: tuple[Stage, ...], config: Config, weights: WeightStore, out: Path, coordinator: Any
    ) -> None:
        cv2.setNumThreads(1)  # parallelism is across actors
        self._events: list[Event] = []
        self._coordinator = coordinator
        guard = Guard(config.run, RemoteAttempts(coordinator))
        self._runner = Runner(stages, config, weights, out, self._events.append, guard)

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        for row in rows_from_table(block):
            for result in self._runner.run(row):
                yield table_from_rows([result])
            self._report_events()

    def _report_events(self) -> None:
        if self._events:
            self._coordinator.count.remote(list(self._events))
            self._events.clear()


class PartWriter:
    """Terminal write: writes a block as a part and returns one small row per source."""

    def __init__(self, out: Path, generation: int, versions: dict[str, str]) -> None:
        self._out, self._generation, self._versions = out, generation, versions

    def __call__(self, block: pa.Table) -> pa.Table:
        versions = pa.array([self._versions[stage] for stage in block["last_stage"].to_pylist()], pa.string())
        block = block.set_column(block.schema.get_field_index("versions"), "versions", versions).cast(ROW)
        write_part(block, self._out, self._generation)
        return block.select([*_COUNTED, *SOURCE.names, "fault_reason", "entries"])


class Stream:
    """A running Ray and the counts of its workers; use as a context manager.

    Args:
        generation: number of this run on `out`, which the names of its parts carry.
        stages: the plan.
    """

    def __init__(
        self,
        out: Path,
        config: Config,
        weights: WeightStore,
        generation: int,
        stages: tuple[Stage, ...] = STAGES,
    ) -> None:
        self._out, self._config, self._weights, self._generation = out, config, weights, generation
        self._stages = stages

    def __enter__(self) -> Stream:
        self._own_ray = not ray.is_initialized()
        if self._own_ray:
            start_ray(self._config)
        self._coordinator = start_coordinator(STAGE_NAMES, self._config.crawl)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._own_ray:
            with _noted_interrupts() as heard:
                ray.shutdown()
            if heard:
                raise KeyboardInterrupt

    def measure(self, sources: list[Row], known: Mapping[str, Row]) -> Iterator[State]:
        """Run all stages on sources and on the entries of listings among them; yields about once a second.

        Args:
            known: all sources by id, including those that are done.

        Raises:
            OSError, MemoryError, MissingWeights: an error of the machine, from a worker.
            ray.exceptions.RayTaskError: a bug, or with `run.strict` the first unknown error.
        """
        done, left, known = _Completion(), spread_hosts(sources), dict(known)
        num_sources, size = len(left), self._config.run.wave_sources or _wave_size()
        while left:
            wave, left = left[:size], left[size:]
            found: list[Row] = []
            for block in self._written(wave):
                for row in block.to_pylist() if block is not None else ():
                    done.add(row)
                    found += expand([row], known)
                if block is None:
                    counts = self._counts()
                    num_done = min(max(done.num_sources, counts.num_measured), num_sources)  # some wait to be written
                    yield State(num_done, num_sources + len(found), counts)
            known |= {source["source_id"]: source for source in found}
            left, num_sources = left + spread_hosts(found), num_sources + len(found)
            compact(self._out)
        yield State(done.num_sources, num_sources, self._counts())

    def _counts(self) -> Tally:
        return ray.get(self._coordinator.tally.remote())

    def _written(self, sources: list[Row]) -> Iterator[pa.Table | None]:
        """The small rows that `PartWriter` returns for each block, and None about once a second."""
        written = queue.Queue[pa.Table | Exception | None]()
        driver = threading.Thread(target=_consume, args=(self._dataset(sources), written), daemon=True)
        refreshed_s = time.monotonic()
        with _noted_interrupts() as heard, _driven_by(driver):
            while not heard:
                if time.monotonic() - refreshed_s >= REFRESH_S:
                    refreshed_s = time.monotonic()
                    yield None
                try:
                    block = written.get(timeout=REFRESH_S)
                except queue.Empty:
                    continue
                if not isinstance(block, pa.Table):
                    driver.join()
                if isinstance(block, Exception):
                    raise block if self._config.run.strict else unwrapped(block)
                if block is None:
                    return
                yield block
            raise KeyboardInterrupt

    def _dataset(self, sources: list[Row]) -> Dataset:
        context = DataContext.get_current()
        context.target_max_block_size = self._config.run.block_bytes
        context.target_min_block_size = 1
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.raise_original_map_exception = True
        context.execution_options.preserve_order = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised, and printed by the caller
        blocks = [table_from_rows([source], SOURCE) for source in sources]  # of the whole schema it would take 130 kB
        dataset = ray.data.from_arrow(blocks)
        pools = [pool for pool in self._config.run.pools.values() if pool.stages]
        share, most = _cpu_share(len(pools) + 1, self._own_ray)
        for pool in pools:
            dataset = dataset.map_batches(
                Pool,
                fn_constructor_args=(self._stages_of(pool), self._config, self._weights, self._out, self._coordinator),
                batch_size=None,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(min_size=1, max_size=pool.max_actors or most),
                num_cpus=pool.cpus if pool.cpus is not None else share,
                num_gpus=pool.gpus,
            )
        return dataset.map_batches(
            PartWriter,
            fn_constructor_args=(self._out, self._generation, self._versions()),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=1),
            num_cpus=share / 2,
        )

    def _stages_of(self, pool: PoolConfig) -> tuple[Stage, ...]:
        gate = RemoteGate(self._coordinator)
        return tuple(stage.behind(gate) for stage in self._stages if stage.name in pool.stages)

    def _versions(self) -> dict[str, str]:
        """JSON of the code, the settings and the weights used, by the last stage that measured a row."""
        packages = {name: version(name) for name in ("av", "mediapipe", "insightface", "ctranslate2", "torch")}
        common = {"code": code_version(), "config": config_hash(self._config), "packages": packages}
        weights: dict[str, str] = {}
        versions = {}
        for stage in self._stages:
            weights = weights | {name: (WEIGHTS[name].sha256 or "")[:12] for name in stage.weights(self._config)}
            versions[stage.name] = json.dumps(common | {"weights": weights})
        return versions


def _consume(dataset: Dataset, written: queue.Queue[pa.Table | Exception | None]) -> None:
    """Drive the stream in a separate thread, so that progress and Ctrl-C do not wait for a block."""
    try:
        for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            written.put(block)
    except KeyboardInterrupt:
        return  # from `_driven_by`
    except Exception as error:  # noqa: BLE001 - handed to the main thread, which raises it
        written.put(error)
    else:
        written.put(None)


@contextmanager
def _driven_by(thread: threading.Thread) -> Iterator[None]:
    """Run a thread at most until the body ends: Ray's shutdown under a running stream may crash.

    `iter_batches` waits in Python, where an exception from another thread reaches it; it then stops its workers.
    """
    thread.start()
    try:
        yield
    finally:
        if thread.is_alive() and thread.ident is not None:
            raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
            raise_in(ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt))
            thread.join(STOP_S)


class _Completion:
    """Counts the sources whose rows have all been written."""

    def __init__(self) -> None:
        self._clips: dict[tuple[str, int], tuple[int, int]] = {}
        self._shots: dict[str, int] = {}
        self.num_sources = 0

    def add(self, row: Row) -> None:
        source = row["source_id"]
        if row["shot_idx"] is None:
            self.num_sources += 1
            return
        shot = (source, row["shot_idx"])
        num_seen, num_clips = self._clips.get(shot, (0, 0))
        announced = row["num_clips"] if row["clip_idx"] is not None else 1  # only the last clip has it
        self._clips[shot] = num_seen, num_clips = num_seen + 1, max(num_clips, announced or 0)
        if num_seen == num_clips:
            self._shots.setdefault(source, row["num_shots"])
            self._shots[source] -= 1
            self.num_sources += self._shots[source] == 0


def _cpu_share(num_pools: int, own_ray: bool) -> tuple[float, int | None]:
    """CPUs that an actor claims so that every pool gets one, and the largest number of actors of a pool.

    With fewer CPUs than pools each actor claims an equal fraction, since most wait for the slowest most of the time.
    With more it claims a whole CPU, and Ray gives spare ones to the pool that is the bottleneck. A cluster that others
    started may begin with no CPU and grow, so there only `max_actors` bounds a pool.
    """
    cpus = ray.cluster_resources().get("CPU", 0.0)
    if 0 < cpus <= num_pools:
        return math.floor(cpus / num_pools * 100) / 100, 1 if own_ray else None
    return 1.0, int(cpus) - num_pools + 1 if own_ray else None


def _wave_size() -> int:
    """Number of sources in a wave: so many that its end, with few busy workers, is a small part of it."""
    return max(500, 40 * int(ray.cluster_resources().get("CPU", 0.0)))


def start_ray(config: Config) -> None:
    """Join the Ray of the job or the configured cluster, else start a local one that ends with this run."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if config.run.ray_address or os.environ.get("RAY_ADDRESS"):
        ray.init(address=config.run.ray_address, **_QUIET)
    else:
        _start_local_ray(config)
    _hear_out_ray()


def _start_local_ray(config: Config) -> None:
    for is_last in (False, False, True):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=config.run.object_store_bytes,
                _system_config={"task_events_report_interval_ms": 0},  # a record of every call, which is not used
                runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "PYANNOTE_METRICS_ENABLED": "0"}},
                **_QUIET,
            )
            return
        except Exception:
            # A busy machine may not bring Ray's agents up within its 15 s, and then Ray raises nothing narrower.
            ray.shutdown()
            if is_last:
                raise


def _hear_out_ray() -> None:
    """Make Ray print, unseen, the ERROR line that it prints once in a process, so that no run begins with it.

    The line warns that an actor which may restart has arguments in the object store, where they could be lost. Every
    actor of Ray Data has such arguments (https://github.com/ray-project/ray/issues/57733), and their owner is this
    process, so they live as long as the run. The line stays in the driver's log of Ray's session.
    """
    actor, argument = ray.remote(num_cpus=0, max_restarts=1)(_Idle), ray.put(None)
    sys.stderr.flush()
    shown, nowhere = os.dup(STDERR), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDERR)
    try:
        actor.remote(argument)  # ends at once: nobody keeps its handle
    finally:
        os.dup2(shown, STDERR)
        os.close(shown)
        os.close(nowhere)


class _Idle:
    """An actor that does nothing."""

    def __init__(self, _: None) -> None:
        pass


@contextmanager
def _noted_interrupts() -> Iterator[list[int]]:
    """Record Ctrl-C for the caller to raise; a second one is raised at once.

    Raised anywhere, one of Ray's destructors may swallow it, and in Ray's shutdown it would end the process before the
    message on how to resume.
    """
    heard: list[int] = []

    def note(number: int, _: object) -> None:
        if heard:
            raise KeyboardInterrupt
        heard.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


def unwrapped(error: Exception) -> Exception:
    """The original error of a worker, if it is one of the machine; a bug keeps the worker's traceback."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, OSError) and cause.errno is not None:
        return OSError(cause.errno, cause.strerror)  # without what Ray adds to it
    return cause if isinstance(cause, OSError | MemoryError | MissingWeights) else error


def code_version() -> str:
    """The release and a hash of the code that measures, such as `0.1.0+1f3a9c2e04d7`."""
    release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    digest = hashlib.sha256()
    for file in sorted((ROOT / "stages").rglob("*.py")):
        digest.update(f"{file.relative_to(ROOT).as_posix()}\n".encode() + file.read_bytes())
    return f"{release}+{digest.hexdigest()[:12]}"
