"""yt-dlp against bodies that lie about their length, never end, or are no media."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.core.reasons import DropReason
from stages.crawl import Crawler
from tests.stages.crawl.crawling import drop_of, hash_of, quick
from tests.stages.crawl.video_site import Handler, Site

Route = Callable[[Handler, int], None]


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
    assert (dropped.reason, dropped.detail) == (DropReason.TOO_LARGE, "more than 2000000 bytes")
    assert not [path for path in (tmp_path / "media").rglob("*") if path.is_file() and path.stat().st_size > 10_000]


def test_a_fragment_without_end_is_cut_at_the_limit(tmp_path: Path, site: Site) -> None:
    (site.folder / "talk.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n")
    site.routes["/a.ts"] = lambda handler, _: handler.pour("video/mp2t", b"G", 400_000_000)
    dropped = drop_of(Crawler(quick(max_bytes=2_000_000), tmp_path / "media"), f"{site.address}/talk.m3u8")
    assert (dropped.reason, dropped.detail) == (DropReason.TOO_LARGE, "more than 2000000 bytes")
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
    assert (dropped.reason, "a page of more than" in dropped.detail) == (DropReason.TOO_LARGE, True)


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
    assert dropped.reason == DropReason.TOO_LARGE
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
    assert time.monotonic() - started_s < 25  # all of it takes 30


def test_sizes_are_known_before_the_first_byte_where_the_site_tells(tmp_path: Path, site: Site) -> None:
    dropped = drop_of(Crawler(quick(max_bytes=1000), tmp_path / "media"), f"{site.address}/talk.mp4")
    assert dropped.reason == DropReason.TOO_LARGE
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
