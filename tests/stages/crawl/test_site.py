"""yt-dlp against a site that refuses, throttles and breaks off."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.known.media_files import steady, tone, write_media
from stages.core.reasons import DropReason
from stages.crawl import Crawler, HostGate
from tests.stages.crawl.crawling import drop_of, hash_of, quick
from tests.stages.crawl.video_site import Handler, Site

Route = Callable[[Handler, int], None]


def refusing(status: int, times: int, **headers: str) -> Route:
    """Answers `status` the first times, then serves the good video."""

    def route(handler: Handler, number: int) -> None:
        if number <= times:
            handler.answer(status, headers={name.replace("_", "-"): value for name, value in headers.items()})
        else:
            handler.serve("/talk.mp4")

    return route


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, DropReason.LOGIN_REQUIRED),
        (403, DropReason.FORBIDDEN),
        (404, DropReason.DELETED),
        (410, DropReason.DELETED),
        (451, DropReason.GEO_BLOCKED),
    ],
)
def test_refusals_have_their_reason_and_are_not_repeated(
    tmp_path: Path, site: Site, status: int, reason: DropReason
) -> None:
    site.routes["/a.mp4"] = refusing(status, 99)
    dropped = drop_of(Crawler(quick(retries=5), tmp_path / "media"), f"{site.address}/a.mp4")
    assert dropped.reason == reason
    assert str(status) in dropped.detail
    assert len(site.asked) <= 2


@pytest.mark.parametrize("status", [412, 429, 503])
def test_a_site_that_is_busy_for_a_while_is_asked_again(tmp_path: Path, site: Site, status: int) -> None:
    site.routes["/a.mp4"] = refusing(status, 2)
    row = Crawler(quick(), tmp_path / "media")({"uri": f"{site.address}/a.mp4"})
    assert row["sha256"] == hash_of(site.folder / "talk.mp4")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(412, DropReason.RATE_LIMITED), (429, DropReason.RATE_LIMITED), (503, DropReason.UNAVAILABLE)],
)
def test_a_site_that_stays_busy_is_given_up(tmp_path: Path, site: Site, status: int, reason: DropReason) -> None:
    site.routes["/a.mp4"] = refusing(status, 99)
    assert drop_of(Crawler(quick(), tmp_path / "media"), f"{site.address}/a.mp4").reason == reason
    assert site.num_asked("/a.mp4") >= 3


def test_nobody_there(tmp_path: Path) -> None:
    assert drop_of(Crawler(quick(), tmp_path), "http://127.0.0.1:9/a.mp4").reason == DropReason.UNAVAILABLE
    assert drop_of(Crawler(quick(), tmp_path), "http://nowhere.invalid/a.mp4").reason == DropReason.UNAVAILABLE


def test_retry_after_is_obeyed_by_all_workers(tmp_path: Path, site: Site) -> None:
    site.routes["/a.mp4"] = refusing(429, 1, Retry_After="1")
    shutil.copy(site.folder / "talk.mp4", site.folder / "b.mp4")
    config = quick()
    gate = HostGate(config)
    threads = []
    for name in ("a", "b"):
        crawler = Crawler(config, tmp_path / name, gate)
        threads.append(threading.Thread(target=crawler, args=({"uri": f"{site.address}/{name}.mp4"},)))
        threads[-1].start()
        while threads[0].is_alive() and gate.request("127.0.0.1", "") == 0.0:  # until the refusal has come back
            time.sleep(0.005)
    for thread in threads:
        thread.join(timeout=20)
    refused_s = site.asked[0].at_s
    assert {asked.path for asked in site.asked[1:]} == {"/a.mp4", "/b.mp4"}
    assert min(asked.at_s for asked in site.asked[1:]) - refused_s >= 1.0


def test_a_host_that_rests_too_long_is_given_up_at_once(tmp_path: Path, site: Site) -> None:
    site.routes["/a.mp4"] = refusing(429, 99, Retry_After="1000")
    config = quick(max_wait_s=5.0)
    gate = HostGate(config)
    dropped = drop_of(Crawler(config, tmp_path / "media", gate), f"{site.address}/a.mp4")
    assert dropped.reason == DropReason.RATE_LIMITED
    assert drop_of(Crawler(config, tmp_path / "media", gate), f"{site.address}/talk.mp4").reason == dropped.reason
    assert len(site.asked) == 1


def test_requests_keep_their_distance_whoever_sends_them(tmp_path: Path, site: Site) -> None:
    config = quick(host_interval_s=0.2, host_jitter=0.0)
    gate = HostGate(config)
    uris = [f"{site.address}/talk.mp4?{number}" for number in range(3)]
    crawlers = [Crawler(config, tmp_path / "media", gate) for _ in uris]
    threads = [
        threading.Thread(target=crawler, args=({"uri": uri},)) for crawler, uri in zip(crawlers, uris, strict=True)
    ]
    began_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    arrived_s = [asked.at_s - began_s for asked in site.asked]
    assert len(arrived_s) >= 6
    # A busy machine may hold a request up on its way, but none can arrive before its turn.
    assert all(at_s >= 0.2 * turn - 0.001 for turn, at_s in enumerate(arrived_s))
    assert len(list((tmp_path / "media").glob("*.mp4"))) == 1


def test_only_so_many_sources_of_a_host_at_a_time(tmp_path: Path, site: Site) -> None:
    config = quick()
    lock, all_there, under_way, most = threading.Lock(), threading.Event(), 0, 0

    def route(handler: Handler, number: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
            if under_way == config.host_concurrency:
                all_there.set()
        all_there.wait(60)  # as many as may come, however busy the machine is
        time.sleep(0.1)  # and one more could
        with lock:  # before the answer: the next may come as soon as it is read
            under_way -= 1
        handler.serve("/talk.mp4")

    site.routes["/talk.mp4"] = route
    gate = HostGate(config)
    rows = [{"uri": f"{site.address}/talk.mp4?{number}"} for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(Crawler(config, tmp_path / "media", gate), rows))
    assert len(done) == 6
    assert most == config.host_concurrency < 6


def test_what_is_left_of_one_format_is_not_continued_with_another(tmp_path: Path, site: Site) -> None:
    other = write_media(site.folder / "b.mp4", steady(75), sound=tone(3.0))
    half = (site.folder / "talk.mp4").stat().st_size // 2
    page = '<html><title>T</title><body><video><source src="{}" label="{}"></video></body></html>'

    def route(handler: Handler, number: int) -> None:
        handler.answer(503) if site.asked[-1].first_byte else handler.serve("/talk.mp4", cut_at=half)

    site.routes["/talk.mp4"] = route
    (site.folder / "page.html").write_text(page.format("talk.mp4", "fine"))
    crawler = Crawler(quick(), tmp_path / "media")
    assert drop_of(crawler, f"{site.address}/page.html").reason == DropReason.UNAVAILABLE
    (site.folder / "page.html").write_text(page.format("b.mp4", "coarse"))
    assert crawler({"uri": f"{site.address}/page.html"})["sha256"] == hash_of(other)


def test_a_connection_that_breaks_off_is_taken_up_where_it_broke(tmp_path: Path, site: Site) -> None:
    half = (site.folder / "talk.mp4").stat().st_size // 2
    site.routes["/talk.mp4"] = lambda handler, number: handler.serve("/talk.mp4", cut_at=half if number <= 2 else None)
    row = Crawler(quick(), tmp_path / "media")({"uri": f"{site.address}/talk.mp4"})
    assert row["sha256"] == hash_of(site.folder / "talk.mp4")
    assert site.asked[-1].first_byte == half


def test_an_unfinished_fetch_is_taken_up_by_the_next_run(tmp_path: Path, site: Site) -> None:
    half = (site.folder / "talk.mp4").stat().st_size // 2

    def route(handler: Handler, number: int) -> None:
        if site.asked[-1].first_byte:
            handler.answer(503)
        else:
            handler.serve("/talk.mp4", cut_at=half)

    site.routes["/talk.mp4"] = route
    uri = f"{site.address}/talk.mp4"
    assert drop_of(Crawler(quick(), tmp_path / "media"), uri).reason == DropReason.UNAVAILABLE
    del site.routes["/talk.mp4"]
    site.asked.clear()
    row = Crawler(quick(), tmp_path / "media")({"uri": uri})
    assert row["sha256"] == hash_of(site.folder / "talk.mp4")
    assert site.asked[-1].first_byte == half


def test_a_site_that_opts_out_is_left_alone(tmp_path: Path, site: Site) -> None:
    site.routes["/a.mp4"] = lambda handler, _: handler.serve("/talk.mp4", headers={"X-Robots-Tag": "noai"})
    (site.folder / "page.html").write_text('<html><body><video src="a.mp4"></video></body></html>')
    for name in ("a.mp4", "page.html"):
        dropped = drop_of(Crawler(quick(), tmp_path / "media"), f"{site.address}/{name}")
        assert (dropped.reason, "noai" in dropped.detail) == (DropReason.OPTED_OUT, True)
    assert Crawler(quick(honour_opt_out=False), tmp_path / "media")({"uri": f"{site.address}/a.mp4"})["num_bytes"]


def test_we_say_who_we_are(tmp_path: Path, site: Site) -> None:
    Crawler(quick(user_agent="kouxing (mail@a.example)"), tmp_path / "media")({"uri": f"{site.address}/talk.mp4"})
    assert {asked.agent for asked in site.asked} == {"kouxing (mail@a.example)"}


def test_cookies_are_sent_and_their_file_is_left_as_it_was(tmp_path: Path, site: Site) -> None:
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tSESSDATA\tme\n")
    before = cookies.read_bytes()

    def route(handler: Handler, number: int) -> None:
        handler.serve("/talk.mp4", headers={"Set-Cookie": "fresh=1"})

    site.routes["/talk.mp4"] = route
    Crawler(quick(cookies_file=str(cookies)), tmp_path / "media")({"uri": f"{site.address}/talk.mp4"})
    assert all("SESSDATA=me" in asked.cookie for asked in site.asked)
    assert cookies.read_bytes() == before
