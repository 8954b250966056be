"""A local Ray that does not come up at the first try."""

from __future__ import annotations

import signal
import threading
import time

import psutil
import pytest
import ray

from pipeline.job.stream import Stream
from pipeline.rules.config import Config
from stages.core.weights import WeightStore


def _hold_up_the_first_agent(held: list[int]) -> None:
    while not held:
        for process in psutil.Process().children(recursive=True):
            try:
                if any(word.endswith("dashboard/agent.py") for word in process.cmdline()):
                    process.send_signal(signal.SIGSTOP)
                    held.append(process.pid)
            except psutil.Error:  # gone meanwhile
                continue
        time.sleep(0.02)


@pytest.mark.cluster
def test_a_ray_that_is_too_slow_to_start_is_started_again(weights: WeightStore, own_ray, tmp_path):
    held: list[int] = []
    threading.Thread(target=_hold_up_the_first_agent, args=(held,), daemon=True).start()
    with Stream(tmp_path, Config(), weights, 1):
        assert held and ray.cluster_resources()["CPU"] > 0
    assert not ray.is_initialized()
