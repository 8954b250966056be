"""yt-dlp against a site that throttles, lies, breaks off, never ends, and lists other videos."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.records import Dropped, DropReason
from stages.crawl import CrawlConfig, Crawler, HostGate
from tests.media_files import steady, tone, write_media
from tests.stages.video_site import Handler, Site, open_site

Route = Callable[[Handler, int], None]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_media(tmp_path_factory.mktemp("video") / "a.mp4", steady(50), sound=tone(2.0))


@pytest.fixture
def site(tmp_path: Path, video: Path) -> Iterator[Site]:
    """A site with one good video, `/talk.mp4`."""
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copy(video, folder / "talk.mp4")
    with open_site(folder) as opened:
        yield opened


def quick(**changes: object) -> CrawlConfig:
    fast = {"retries": 2, "retry_wait_s": 0.01, "timeout_s": 3.0, "host_interval_s": 0.0, "backoff_s": 0.05}
    return CrawlConfig(**fast | {"allow_private_addresses": True} | changes)  # pyright: ignore


def drop_of(crawler: Crawler, uri: str) -> Dropped:
    with pytest.raises(Dropped) as dropped:
        crawler({"uri": uri, "source_id": "t"})
    return dropped.value


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
        while not site.asked:
            time.sleep(0.005)
        time.sleep(0.1)
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
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    times_s = [asked.at_s for asked in site.asked]
    assert len(times_s) >= 6
    assert min(later - earlier for earlier, later in itertools.pairwise(times_s)) >= 0.15
    assert len(list((tmp_path / "media").glob("*.mp4"))) == 1


def test_only_so_many_sources_of_a_host_at_a_time(tmp_path: Path, site: Site) -> None:
    lock, under_way, most = threading.Lock(), 0, 0

    def route(handler: Handler, number: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.1)
        handler.serve("/talk.mp4")
        with lock:
            under_way -= 1

    site.routes["/talk.mp4"] = route
    config = quick(host_concurrency=2)
    gate = HostGate(config)
    rows = [{"uri": f"{site.address}/talk.mp4?{number}"} for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(Crawler(config, tmp_path / "media", gate), rows))
    assert len(done) == 6
    assert most == 2


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


@pytest.mark.parametrize(
    "uri",
    [
        *("http://", "http://[", "http://[::1", "http:///a.mp4", "http://a b/c.mp4", "http://%00/", "https://:80/"),
        *("http://" + "a" * 300 + ".example/", "http://127.0.0.1:99999/a.mp4", "http://127.0.0.1:x/", "http://user@/"),
        *("http://../", "http://xn--/"),
    ],
)
def test_addresses_that_are_none(tmp_path: Path, uri: str) -> None:
    dropped = drop_of(Crawler(quick(retries=0), tmp_path / "media"), uri)
    assert dropped.reason in (DropReason.UNAVAILABLE, DropReason.NOT_VIDEO, DropReason.FORBIDDEN_ADDRESS)
    assert dropped.detail


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


def test_a_length_that_is_never_reached(tmp_path: Path, site: Site) -> None:
    size = (site.folder / "talk.mp4").stat().st_size

    def route(handler: Handler, number: int) -> None:
        body = (site.folder / "talk.mp4").read_bytes()
        handler.answer(200, body + b"\0" * size, {"Content-Type": "video/mp4"}, sent=body)

    site.routes["/talk.mp4"] = route
    assert drop_of(Crawler(quick(), tmp_path / "media"), f"{site.address}/talk.mp4").reason == DropReason.UNAVAILABLE
    assert not list((tmp_path / "media").glob("*.mp4"))


def test_a_body_without_end_is_cut_at_the_limit(tmp_path: Path, site: Site) -> None:
    start = (site.folder / "talk.mp4").read_bytes()
    site.routes["/talk.mp4"] = lambda handler, _: handler.pour("video/mp4", start, 400_000_000)
    dropped = drop_of(Crawler(quick(max_bytes=2_000_000), tmp_path / "media"), f"{site.address}/talk.mp4")
    assert (dropped.reason, dropped.detail) == (DropReason.TOO_LONG, "more than 2000000 bytes")
    assert not [path for path in (tmp_path / "media").rglob("*") if path.is_file() and path.stat().st_size > 10_000]


def test_a_fragment_without_end_is_cut_at_the_limit(tmp_path: Path, site: Site) -> None:
    (site.folder / "talk.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n")
    site.routes["/a.ts"] = lambda handler, _: handler.pour("video/mp2t", b"G", 400_000_000)
    dropped = drop_of(Crawler(quick(max_bytes=2_000_000), tmp_path / "media"), f"{site.address}/talk.m3u8")
    assert (dropped.reason, dropped.detail) == (DropReason.TOO_LONG, "more than 2000000 bytes")
    assert not [path for path in (tmp_path / "media").rglob("*") if path.is_file() and path.stat().st_size > 10_000]


def test_a_subtitle_without_end_costs_the_subtitle_only(tmp_path: Path, site: Site) -> None:
    (site.folder / "page.html").write_text(
        '<html><title>T</title><body><video src="talk.mp4"><track srclang="zh" src="a.vtt"></video></body></html>'
    )
    site.routes["/a.vtt"] = lambda handler, _: handler.pour("text/vtt", b"WEBVTT", 400_000_000)
    row = Crawler(quick(max_page_bytes=1_000_000), tmp_path / "media")({"uri": f"{site.address}/page.html"})
    assert row["sha256"] == hash_of(site.folder / "talk.mp4")
    assert not list((tmp_path / "media").rglob("*.vtt*"))


def test_a_page_that_unpacks_without_end_is_cut_at_the_limit(tmp_path: Path, site: Site) -> None:
    packed = gzip.compress(b"<!doctype html><html>" + b" " * 50_000_000)
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    site.routes["/page.html"] = lambda handler, _: handler.answer(200, packed, headers)
    dropped = drop_of(Crawler(quick(max_page_bytes=1_000_000), tmp_path / "media"), f"{site.address}/page.html")
    assert (dropped.reason, "a page of more than" in dropped.detail) == (DropReason.TOO_LONG, True)


def test_packed_pages_are_read(tmp_path: Path, site: Site) -> None:
    packed = gzip.compress(
        b'<html><title>T</title><body><video src="talk.mp4"></video>' + b" " * 3000 + b"</body></html>"
    )
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    site.routes["/page.html"] = lambda handler, _: handler.answer(200, packed, headers)
    row = Crawler(quick(), tmp_path / "media")({"uri": f"{site.address}/page.html"})
    assert row["sha256"] == hash_of(site.folder / "talk.mp4")


def test_a_page_without_end_is_cut_at_the_limit(tmp_path: Path, site: Site) -> None:
    site.routes["/page.html"] = lambda handler, _: handler.pour("text/html", b"<!doctype html><html>", 400_000_000)
    dropped = drop_of(Crawler(quick(max_page_bytes=1_000_000), tmp_path / "media"), f"{site.address}/page.html")
    assert dropped.reason == DropReason.TOO_LONG
    assert "more than 1000000 bytes" in dropped.detail


def test_a_trickle_does_not_hold_a_worker_for_ever(tmp_path: Path, site: Site) -> None:
    def route(handler: Handler, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp4")
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        try:
            for _ in range(600):
                handler.wfile.write(b"\0")
                time.sleep(0.05)
        except OSError:
            handler.close_connection = True

    site.routes["/talk.mp4"] = route
    started_s = time.monotonic()
    dropped = drop_of(Crawler(quick(max_fetch_s=3.0), tmp_path / "media"), f"{site.address}/talk.mp4")
    assert dropped.reason == DropReason.UNAVAILABLE
    assert "too slow" in dropped.detail
    assert time.monotonic() - started_s < 10


def test_sizes_are_known_before_the_first_byte_where_the_site_tells(tmp_path: Path, site: Site) -> None:
    dropped = drop_of(Crawler(quick(max_bytes=1000), tmp_path / "media"), f"{site.address}/talk.mp4")
    assert dropped.reason == DropReason.TOO_LONG
    assert not list((tmp_path / "media").glob("*.mp4"))


@pytest.mark.parametrize(
    "text", ["<!doctype html><html>Log in</html>", '{"code": -404}', "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"]
)
def test_a_text_in_place_of_a_video_is_not_stored(tmp_path: Path, site: Site, text: str) -> None:
    site.routes["/a.mp4"] = lambda handler, _: handler.answer(200, text.encode(), {"Content-Type": "video/mp4"})
    (site.folder / "page.html").write_text('<html><title>T</title><body><video src="a.mp4"></video></body></html>')
    dropped = drop_of(Crawler(quick(), tmp_path / "media"), f"{site.address}/page.html")
    assert dropped.reason == DropReason.NOT_VIDEO
    assert "in place of media" in dropped.detail
    assert not list((tmp_path / "media").glob("*.*"))


def test_redirects_are_followed(tmp_path: Path, site: Site) -> None:
    site.routes["/old.mp4"] = lambda handler, _: handler.answer(302, headers={"Location": "/talk.mp4"})
    row = Crawler(quick(), tmp_path / "media")({"uri": f"{site.address}/old.mp4"})
    assert row["sha256"] == hash_of(site.folder / "talk.mp4")


def test_share_links_are_resolved_before_yt_dlp_judges_them(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.crawl._crawler.SHORT_HOSTS", ("127.0.0.1",))
    site.routes["/s"] = lambda handler, _: handler.answer(302, headers={"Location": "/talk.mp4"})
    row = Crawler(quick(), tmp_path / "media")({"uri": f"{site.address}/s"})
    assert row["webpage_url"] == f"{site.address}/talk.mp4"


def test_redirects_in_a_circle_end(tmp_path: Path, site: Site) -> None:
    site.routes["/a.mp4"] = lambda handler, _: handler.answer(302, headers={"Location": "/b.mp4"})
    site.routes["/b.mp4"] = lambda handler, _: handler.answer(302, headers={"Location": "/a.mp4"})
    assert drop_of(Crawler(quick(), tmp_path / "media"), f"{site.address}/a.mp4").reason == DropReason.UNAVAILABLE


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a.mp4"])
def test_redirects_lead_only_to_http(tmp_path: Path, site: Site, target: str) -> None:
    site.routes["/a.mp4"] = lambda handler, _: handler.answer(302, headers={"Location": target})
    dropped = drop_of(Crawler(quick(), tmp_path / "media"), f"{site.address}/a.mp4")
    assert dropped.reason == DropReason.FORBIDDEN_ADDRESS


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "127.1"])
def test_private_addresses_are_not_asked_unless_allowed(tmp_path: Path, site: Site, host: str) -> None:
    uri = site.address.replace("127.0.0.1", host) + "/talk.mp4"
    dropped = drop_of(Crawler(quick(allow_private_addresses=False), tmp_path / "media"), uri)
    assert dropped.reason == DropReason.FORBIDDEN_ADDRESS
    assert not site.asked


def test_an_answer_may_not_lead_into_the_private_network(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first host counts as public here, so that a site on the loopback can play the open internet."""
    monkeypatch.setattr("stages.crawl._http.is_public", lambda address: address == "127.0.0.1")
    site.routes["/a.mp4"] = lambda handler, _: handler.answer(302, headers={"Location": "http://127.0.0.2/talk.mp4"})
    (site.folder / "page.html").write_text('<html><body><video src="http://127.0.0.2:1/a.mp4"></video></body></html>')
    crawler = Crawler(quick(allow_private_addresses=False), tmp_path / "media")
    for name in ("a.mp4", "page.html"):
        dropped = drop_of(crawler, f"{site.address}/{name}")
        assert (dropped.reason, "127.0.0.2" in dropped.detail) == (DropReason.FORBIDDEN_ADDRESS, True)
    assert crawler({"uri": f"{site.address}/talk.mp4"})["num_bytes"]


def test_a_proxy_may_be_near_but_not_what_it_is_asked_for(tmp_path: Path, site: Site) -> None:
    site.routes["http://video.invalid/talk.mp4"] = lambda handler, _: handler.serve("/talk.mp4")
    crawler = Crawler(quick(allow_private_addresses=False, proxy=site.address), tmp_path / "media")
    assert crawler({"uri": "http://video.invalid/talk.mp4"})["sha256"] == hash_of(site.folder / "talk.mp4")
    num_asked = len(site.asked)
    for host in ("127.0.0.1", "localhost", "169.254.169.254"):
        assert drop_of(crawler, f"http://{host}/talk.mp4").reason == DropReason.FORBIDDEN_ADDRESS
    assert len(site.asked) == num_asked


def test_programs_that_would_pass_by_our_connections_stay_off_the_network(tmp_path: Path, site: Site) -> None:
    """yt-dlp hands HLS that it does not fully know to ffmpeg, which asks whom it likes."""
    key = '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k",KEYFORMAT="com.example.known"'
    (site.folder / "talk.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n{key}\n#EXTINF:1,\nseg.ts\n#EXT-X-ENDLIST\n"
    )
    dropped = drop_of(Crawler(quick(), tmp_path / "media"), f"{site.address}/talk.m3u8")
    assert dropped.reason in (DropReason.UNAVAILABLE, DropReason.NOT_VIDEO)
    assert site.num_asked("/seg.ts") == 0
    assert {asked.agent for asked in site.asked} == {quick().user_agent}


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


def test_a_page_of_several_videos_becomes_its_entries(tmp_path: Path, site: Site) -> None:
    other = write_media(site.folder / "b.mp4", steady(25), sound=tone(1.0))
    (site.folder / "page.html").write_text(
        '<html><title>Two</title><body><video src="talk.mp4"></video><video src="b.mp4"></video></body></html>'
    )
    page = f"{site.address}/page.html"
    crawler = Crawler(quick(), tmp_path / "media")
    dropped = drop_of(crawler, page)
    assert (dropped.reason, dropped.detail) == (DropReason.LISTING, "expanded to 2 sources")
    assert dropped.measured["entries"] == [f"{page}#kouxing-item=1", f"{page}#kouxing-item=2"]
    assert dropped.measured["title"] == "Two"
    assert not [asked for asked in site.asked if asked.path.endswith(".mp4")]
    rows = [crawler({"uri": uri}) for uri in dropped.measured["entries"]]
    assert [row["sha256"] for row in rows] == [hash_of(site.folder / "talk.mp4"), hash_of(other)]
    gone = drop_of(crawler, f"{page}#kouxing-item=3")
    assert gone.reason in (DropReason.NOT_VIDEO, DropReason.DELETED)


def test_a_feed_becomes_its_entries_up_to_the_limit(tmp_path: Path, site: Site) -> None:
    links = [f"{site.address}/talk.mp4?{number}" for number in range(4)]
    items = "".join(f"<item><title>{link}</title><link>{link}</link></item>" for link in [*links, "file:///etc/passwd"])
    (site.folder / "feed.rss").write_text(
        f'<?xml version="1.0"?><rss version="2.0"><channel><title>Feed</title>{items}</channel></rss>'
    )
    uri = f"{site.address}/feed.rss"
    assert drop_of(Crawler(quick(), tmp_path / "media"), uri).measured["entries"] == links
    cut = drop_of(Crawler(quick(max_entries=3), tmp_path / "media"), uri)
    assert (cut.detail, cut.measured["entries"]) == ("expanded to 3 sources, the first of more", links[:3])


def test_a_bilibili_video_of_several_parts_becomes_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """yt-dlp's own extractor, on what Bilibili's page and API answer; only the two requests are cut off."""
    from yt_dlp.extractor.bilibili import BiliBiliIE

    state = {"videoData": {"bvid": "BV1bK411W797", "title": "口型", "pages": [{"cid": 1}, {"cid": 2}]}}
    page = f"<script>window.__INITIAL_STATE__={json.dumps(state)};</script>"
    parts = {"data": [{"page": 1, "part": "一"}, {"page": 2, "part": "二"}]}
    answer = SimpleNamespace(url="https://www.bilibili.com/video/BV1bK411W797/")
    monkeypatch.setattr(BiliBiliIE, "_download_webpage_handle", lambda *_args, **_kwargs: (page, answer))
    monkeypatch.setattr(BiliBiliIE, "_download_json", lambda *_args, **_kwargs: parts)
    uri = "https://www.bilibili.com/video/BV1bK411W797"
    dropped = drop_of(Crawler(quick(), tmp_path / "media"), uri)
    assert (dropped.reason, dropped.measured["extractor"]) == (DropReason.LISTING, "bilibili")
    assert dropped.measured["entries"] == [f"{uri}?p=1", f"{uri}?p=2"]
    for code, reason in ((-404, DropReason.DELETED), (-403, DropReason.LOGIN_REQUIRED)):
        page = f"<script>window.__INITIAL_STATE__={json.dumps({'error': {'trueCode': code}})};</script>"
        assert drop_of(Crawler(quick(), tmp_path / "media"), uri).reason == reason
    page = '<script>window._riskdata_={"v_voucher": "voucher_1"};</script>'
    assert drop_of(Crawler(quick(), tmp_path / "media"), uri).reason == DropReason.RATE_LIMITED
