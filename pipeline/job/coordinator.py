"""The actor that all workers of a run report to and ask: counts, metrics, attempts, and the gate to each host."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ray
from ray.util import metrics

from pipeline.job.guard import Attempts
from pipeline.job.step import Event
from pipeline.job.tally import Tally
from stages.crawl import CrawlConfig, Gate, HostGate


class Coordinator(Attempts, HostGate):
    """Counts, metrics, attempts and the host gate in one actor; if its node dies, it restarts with empty counts."""

    def __init__(self, stages: Iterable[str], crawl: CrawlConfig) -> None:
        Attempts.__init__(self)
        HostGate.__init__(self, crawl)
        self._tally = Tally(stages)
        self._metrics = Metrics()

    def count(self, events: list[Event]) -> None:
        self._tally.add(events)
        self._metrics.add(events)

    def tally(self) -> Tally:
        return self._tally


def start_coordinator(stages: Iterable[str], crawl: CrawlConfig) -> Any:
    """Start the coordinator and return its handle. It claims no CPU; calls wait while it restarts."""
    return ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Coordinator).remote(stages, crawl)


class RemoteAttempts(Attempts):
    """Client of the coordinator's count of attempts, for a worker."""

    def __init__(self, coordinator: Any) -> None:
        self._coordinator = coordinator

    def begin(self, key: str) -> int:
        return ray.get(self._coordinator.begin.remote(key))

    def end(self, key: str) -> None:
        ray.get(self._coordinator.end.remote(key))  # waits: the next stage may kill this worker before it is sent


class RemoteGate(Gate):
    """Client of the coordinator's host gate, for a worker."""

    def __init__(self, coordinator: Any) -> None:
        self._coordinator = coordinator

    def enter(self, host: str, lease: str) -> float:
        return ray.get(self._coordinator.enter.remote(host, lease))

    def leave(self, host: str, lease: str) -> None:
        self._coordinator.leave.remote(host, lease)

    def request(self, host: str, lease: str) -> float:
        return ray.get(self._coordinator.request.remote(host, lease))

    def renew(self, lease: str) -> None:
        self._coordinator.renew.remote(lease)

    def penalise(self, host: str, retry_after_s: float | None) -> None:
        ray.get(self._coordinator.penalise.remote(host, retry_after_s))

    def succeed(self, host: str) -> None:
        self._coordinator.succeed.remote(host)


class Metrics:
    """The same counts for Ray's dashboard and for Prometheus, which reads them from every Ray node."""

    def __init__(self) -> None:
        by_stage = ("stage",)
        self._rows = metrics.Counter(
            "kouxing_rows", "Rows that left a stage; reason is empty for those that passed.", ("stage", "reason")
        )
        self._hours = metrics.Counter("kouxing_hours_passed", "Hours of video that passed a stage.", by_stage)
        self._busy = metrics.Counter("kouxing_cpu_seconds", "CPU seconds spent in a stage.", by_stage)

    def add(self, events: list[Event]) -> None:
        for event in events:
            stage = {"stage": event.stage}
            self._rows.inc(1, stage | {"reason": event.dropped or ""})
            _increase(self._busy, event.busy_s, stage)
            if event.dropped is None:
                _increase(self._hours, event.hours, stage)


def _increase(counter: metrics.Counter, value: float, tags: dict[str, str]) -> None:
    if value > 0:  # a counter refuses 0
        counter.inc(value, tags)
