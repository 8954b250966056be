"""One door to each host for all workers: how many at a time, how often, and when not at all."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from stages.crawl.config import CrawlConfig

_MAX_NAP_S = 2.0
"""Longest wait for a place before asking again."""


class Gate(Protocol):
    """What a crawler asks of it. No call blocks: a wait in seconds is returned, 0 means go, and the caller sleeps."""

    def enter(self, host: str, lease: str) -> float: ...

    def leave(self, host: str, lease: str) -> None: ...

    def request(self, host: str, lease: str) -> float: ...

    def renew(self, lease: str) -> None: ...

    def penalise(self, host: str, retry_after_s: float | None) -> None: ...

    def succeed(self, host: str) -> None: ...


@dataclass
class _Host:
    leases: dict[str, float] = field(default_factory=dict)  # holder to the time it lapses
    free_at_s: float = 0.0  # next request
    resting_until_s: float = 0.0
    strikes: int = 0


class HostGate:
    """Politeness towards hosts, in one process, or for a whole cluster inside an actor. Thread-safe.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, config: CrawlConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._hosts: dict[str, _Host] = {}
        self._places: dict[str, str] = {}  # holder to host
        self._lock = threading.Lock()
        self._random = random.Random()  # noqa: S311 - spreads load, guards nothing

    def enter(self, host: str, lease: str) -> float:
        """Ask for one of the host's places; the holder keeps it by `request` and `renew`, at least every `lease_s`."""
        with self._lock:
            state, now = self._state(host), self._clock()
            state.leases = {holder: lapses for holder, lapses in state.leases.items() if lapses > now}
            if lease in state.leases or len(state.leases) < self._config.host_concurrency:
                self._places[lease] = host
                state.leases[lease] = now + self._config.lease_s
                return 0.0
            return self._jittered(min(_MAX_NAP_S, min(state.leases.values()) - now))

    def leave(self, host: str, lease: str) -> None:
        with self._lock:
            self._places.pop(lease, None)
            self._state(host).leases.pop(lease, None)

    def request(self, host: str, lease: str) -> float:
        """Ask to send one request; 0 means send it now, and the next one may follow after the interval."""
        with self._lock:
            state, now = self._state(host), self._clock()
            self._renew(lease, now)
            wait_s = max(state.resting_until_s, state.free_at_s) - now
            if wait_s > 0:
                return wait_s
            state.free_at_s = now + self._jittered(self._config.host_interval_s)
            return 0.0

    def renew(self, lease: str) -> None:
        with self._lock:
            self._renew(lease, self._clock())

    def penalise(self, host: str, retry_after_s: float | None) -> None:
        """The host asked for less: it rests, twice as long each time. Refusals of requests under way count once."""
        with self._lock:
            state, now = self._state(host), self._clock()
            if now >= state.resting_until_s:
                state.strikes += 1
            rest_s = self._config.backoff_s * 2 ** min(state.strikes - 1, 30)
            rest_s = min(max(self._jittered(rest_s), retry_after_s or 0.0), self._config.max_backoff_s)
            state.resting_until_s = max(state.resting_until_s, now + rest_s)

    def succeed(self, host: str) -> None:
        with self._lock:
            state = self._state(host)
            state.strikes = max(0, state.strikes - 1)

    def _state(self, host: str) -> _Host:
        return self._hosts.setdefault(host, _Host())

    def _renew(self, lease: str, now: float) -> None:
        leases = self._state(self._places.get(lease, "")).leases
        if lease in leases:
            leases[lease] = now + self._config.lease_s

    def _jittered(self, wait_s: float) -> float:
        return wait_s * (1 + self._config.host_jitter * self._random.random())
