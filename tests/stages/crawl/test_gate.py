"""Politeness: places, intervals and rests of hosts, on a clock of our own."""

from __future__ import annotations

import pytest

from stages.crawl import CrawlConfig, HostGate


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def gate(clock: Clock, **changes: object) -> HostGate:
    calm = {"host_jitter": 0.0, "host_concurrency": 2, "host_interval_s": 0.5, "backoff_s": 10.0, "lease_s": 60.0}
    return HostGate(CrawlConfig(**calm | changes), clock)  # pyright: ignore


def test_a_host_has_so_many_places_and_others_have_their_own(clock: Clock) -> None:
    door = gate(clock)
    assert [door.enter("a", "1"), door.enter("a", "2"), door.enter("b", "3")] == [0, 0, 0]
    assert 0 < door.enter("a", "4") <= 2.0
    assert door.enter("a", "1") == 0  # it is inside already
    door.leave("a", "1")
    assert door.enter("a", "4") == 0


def test_the_place_of_a_dead_worker_lapses_and_that_of_a_live_one_does_not(clock: Clock) -> None:
    door = gate(clock)
    assert [door.enter("a", "dead"), door.enter("a", "alive")] == [0, 0]
    for _ in range(3):
        clock.now_s += 25
        door.renew("alive")
    assert door.enter("a", "next") == 0
    assert door.enter("a", "another") > 0


def test_requests_keep_their_distance_and_renew_the_lease(clock: Clock) -> None:
    door = gate(clock)
    assert door.enter("a", "1") == 0
    assert door.request("a", "1") == 0
    assert door.request("a", "1") == pytest.approx(0.5)
    assert door.request("cdn", "1") == 0
    clock.now_s += 0.5
    assert door.request("a", "1") == 0


def test_a_host_rests_twice_as_long_each_time_and_forgives_with_every_success(clock: Clock) -> None:
    door = gate(clock)
    rests = []
    for _ in range(3):
        door.penalise("a", None)
        rests.append(door.request("a", "1"))
        clock.now_s += rests[-1]
    assert rests == pytest.approx([10, 20, 40])
    for _ in range(3):
        door.succeed("a")
    door.penalise("a", None)
    assert door.request("a", "1") == pytest.approx(10)


def test_refusals_of_requests_under_way_count_once(clock: Clock) -> None:
    door = gate(clock)
    for _ in range(5):
        door.penalise("a", None)
    assert door.request("a", "1") == pytest.approx(10)


def test_a_host_says_how_long_but_not_longer_than_we_allow(clock: Clock) -> None:
    door = gate(clock, max_backoff_s=100.0)
    door.penalise("a", 33.0)
    assert door.request("a", "1") == pytest.approx(33)
    door.penalise("b", 1e9)
    assert door.request("b", "1") == pytest.approx(100)
    assert door.request("c", "1") == 0


def test_waits_are_spread(clock: Clock) -> None:
    rests = set()
    for _ in range(5):
        door = gate(clock, host_jitter=0.5)
        door.penalise("a", None)
        rests.add(door.request("a", "1"))
    assert len(rests) == 5
    assert all(10 <= rest_s <= 15 for rest_s in rests)
