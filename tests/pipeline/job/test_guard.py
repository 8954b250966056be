"""A record that never ends, and one that kills its worker."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from pipeline.job.guard import Attempts, Guard, time_limit
from pipeline.rules.config import RunConfig
from stages.core.reasons import Dropped, DropReason

ROW = {"source_id": "a"}


def test_a_body_that_never_ends_is_stopped_where_it_is():
    with pytest.raises(Dropped, match=r"not done after 0\.2 s") as caught, time_limit(0.2):
        time.sleep(30)
    assert caught.value.reason == DropReason.TIME_LIMIT
    assert "time.sleep(30)" in caught.value.detail


def test_a_long_video_has_more_time():
    with Guard(RunConfig(record_limit_s=0.1, record_limit_ratio=1.0))("scan", ROW | {"duration_s": 20.0}):
        time.sleep(0.5)


def test_no_limit_is_left_behind():
    with time_limit(0.1):
        pass
    time.sleep(0.3)


@pytest.mark.slow
def test_a_loop_inside_a_library_ends_its_process():
    body = (
        "from pipeline.job import guard; guard.GRACE_S = 0.0\n"
        "with guard.time_limit(1.0):\n"
        "    sum(range(10**12))\n"  # in C, with the interpreter's lock held
    )
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Timeout" in done.stderr and "line 3" in done.stderr


def _begin(attempts: Attempts, times: int) -> Attempts:
    """Attempts of workers that never came to the end."""
    for _ in range(times):
        attempts.begin("track a 0")
    return attempts


def test_a_record_whose_workers_die_is_set_aside():
    with Guard(RunConfig(max_tries=3), _begin(Attempts(), 2))("track", ROW):
        pass
    attempts = _begin(Attempts(), 3)
    with (
        pytest.raises(Dropped, match="3 workers died in track") as caught,
        Guard(RunConfig(max_tries=3), attempts)("track", ROW),
    ):
        pytest.fail("the record was tried again")
    assert caught.value.reason == DropReason.CRASHED
    assert attempts.begin("track a 0") == 1  # forgotten: a later run tries again


def test_rows_before_the_one_that_kills_do_not_clear_it():
    attempts = Attempts()
    for _ in range(2):
        guard = Guard(RunConfig(), attempts)
        with guard("track", ROW, 0):
            pass
        attempts.begin("track a 1")
    assert attempts.begin("track a 1") == 3


def test_an_error_is_an_end():
    attempts = Attempts()
    with pytest.raises(KeyError), Guard(RunConfig(), attempts)("track", ROW):
        raise KeyError("x")
    assert attempts.begin("track a 0") == 1
