"""Local files, and yt-dlp against a real server on the loopback."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from pipeline.records import CRAWL, Dropped, DropReason
from stages.crawl import CrawlConfig, Crawler
from stages.media import probe_media
from tests.media_files import steady, tone, write_media


class Site(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; `/status/N/...` answers N, `/flaky/N/...` fails N times and then serves the rest."""

    requests: Counter[str]

    def do_GET(self) -> None:
        self.requests[self.path] += 1
        kind, _, rest = self.path.strip("/").partition("/")
        number, _, name = rest.partition("/")
        if kind == "status":
            self.send_error(int(number))
        elif kind == "flaky" and self.requests[self.path] <= int(number):
            self.send_error(503)
        else:
            self.path = f"/{name}" if kind == "flaky" else self.path
            super().do_GET()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path, Counter[str]]]:
    """Address, folder and requests of a server."""
    folder = tmp_path / "site"
    folder.mkdir()
    requests: Counter[str] = Counter()
    handler = type("Handler", (Site,), {"requests": requests})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder, requests
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_media(tmp_path_factory.mktemp("video") / "a.mp4", steady(50), sound=tone(2.0))


def quick(**changes: object) -> CrawlConfig:
    return CrawlConfig(**{"retries": 1, "retry_wait_s": 0.01, "timeout_s": 5.0, "host_interval_s": 0.0, "backoff_s": 0.01, "allow_private_addresses": True} | changes)  # pyright: ignore


def drop_of(crawler: Crawler, uri: str) -> Dropped:
    with pytest.raises(Dropped) as dropped:
        crawler({"uri": uri})
    return dropped.value


def test_a_local_file_is_used_in_place(tmp_path: Path, video: Path) -> None:
    before = datetime.now(UTC)
    for uri in (str(video), f"file://{video}"):
        row = Crawler(quick(), tmp_path / "media")({"uri": uri})
        assert row["media_path"] == str(video)
        assert row["sha256"] == hashlib.sha256(video.read_bytes()).hexdigest()
        assert row["num_bytes"] == video.stat().st_size
        assert row["extractor"] == "local"
        assert abs((row["retrieved_at"] - before).total_seconds()) < 5
        assert row.keys() - {"uri"} <= set(CRAWL.names)
    assert not (tmp_path / "media").exists()


def test_missing_local_files_are_unavailable(tmp_path: Path) -> None:
    crawler = Crawler(quick(), tmp_path)
    assert drop_of(crawler, str(tmp_path / "none.mp4")).reason == DropReason.UNAVAILABLE
    assert drop_of(crawler, str(tmp_path)).reason == DropReason.UNAVAILABLE


def test_local_files_can_be_too_long(tmp_path: Path, video: Path) -> None:
    dropped = drop_of(Crawler(quick(max_duration_s=1.5), tmp_path), str(video))
    assert (dropped.reason, dropped.detail) == (DropReason.TOO_LONG, "2 s > 1.5")


def test_a_file_that_is_no_media_is_left_to_probe(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("text")
    assert Crawler(quick(), tmp_path)({"uri": str(path)})["num_bytes"] == 4


def test_a_url_is_fetched_once_and_named_by_its_hash(tmp_path: Path, video: Path, site) -> None:
    address, folder, requests = site
    shutil.copy(video, folder / "talk.mp4")
    media = tmp_path / "media"
    uri = f"{address}/talk.mp4"
    first = Crawler(quick(), media)({"uri": uri, "source_id": "t"})
    sha256 = hashlib.sha256(video.read_bytes()).hexdigest()
    assert first["media_path"] == str(media / f"{sha256}.mp4")
    assert Path(first["media_path"]).read_bytes() == video.read_bytes()
    assert (first["sha256"], first["extractor"], first["title"]) == (sha256, "generic", "talk")
    assert first.keys() - {"uri", "source_id"} <= set(CRAWL.names)
    num_requests = requests.total()
    assert Crawler(quick(), media)({"uri": uri, "source_id": "t"}) == first
    assert requests.total() == num_requests
    assert not [path for path in (media / "partial").iterdir() if path.is_dir()]


def test_a_lost_file_is_fetched_again(tmp_path: Path, video: Path, site) -> None:
    address, folder, _ = site
    shutil.copy(video, folder / "talk.mp4")
    crawler = Crawler(quick(), tmp_path / "media")
    path = Path(crawler({"uri": f"{address}/talk.mp4"})["media_path"])
    path.unlink()
    assert crawler({"uri": f"{address}/talk.mp4"})["media_path"] == str(path)
    assert path.is_file()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, DropReason.DELETED),
        (410, DropReason.DELETED),
        (401, DropReason.LOGIN_REQUIRED),
        (403, DropReason.FORBIDDEN),
        (451, DropReason.GEO_BLOCKED),
    ],
)
def test_refusals_have_their_reason_and_are_not_repeated(tmp_path: Path, site, status: int, reason: DropReason) -> None:
    address, _, requests = site
    dropped = drop_of(Crawler(quick(retries=5), tmp_path), f"{address}/status/{status}/a.mp4")
    assert dropped.reason == reason
    assert str(status) in dropped.detail
    assert requests.total() <= 2


def test_busy_servers_are_asked_again(tmp_path: Path, video: Path, site) -> None:
    address, folder, _ = site
    shutil.copy(video, folder / "talk.mp4")
    row = Crawler(quick(retries=3), tmp_path / "media")({"uri": f"{address}/flaky/2/talk.mp4"})
    assert row["num_bytes"] == video.stat().st_size


def test_servers_that_stay_away_are_unavailable(tmp_path: Path, site) -> None:
    address, _, requests = site
    assert drop_of(Crawler(quick(), tmp_path), f"{address}/status/503/a.mp4").reason == DropReason.UNAVAILABLE
    assert requests.total() >= 2
    assert drop_of(Crawler(quick(), tmp_path), "http://127.0.0.1:9/a.mp4").reason == DropReason.UNAVAILABLE


def test_pages_without_video_are_not_video(tmp_path: Path, site) -> None:
    address, folder, _ = site
    (folder / "page.html").write_text("<!doctype html><html><title>Words</title><body>Only words.</body></html>")
    dropped = drop_of(Crawler(quick(), tmp_path), f"{address}/page.html")
    assert dropped.reason == DropReason.NOT_VIDEO
    assert "Unsupported URL" in dropped.detail


def test_a_page_with_a_video_gives_the_video(tmp_path: Path, video: Path, site) -> None:
    address, folder, _ = site
    shutil.copy(video, folder / "talk.mp4")
    (folder / "page.html").write_text('<html><title>Talk</title><body><video src="talk.mp4"></video></body></html>')
    row = Crawler(quick(), tmp_path / "media")({"uri": f"{address}/page.html"})
    assert row["sha256"] == hashlib.sha256(video.read_bytes()).hexdigest()


def test_sound_and_pictures_that_come_apart_are_joined(tmp_path: Path, site) -> None:
    address, folder, _ = site
    write_media(folder / "v.mp4", steady(50), faststart=True)
    write_media(folder / "a.m4a", sound=tone(2.0), faststart=True)
    (folder / "talk.mpd").write_text(
        """<?xml version="1.0"?>
        <MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S"><Period>
        <AdaptationSet mimeType="video/mp4"><Representation id="v" bandwidth="9000" codecs="avc1.64000a"
        width="160" height="96"><BaseURL>v.mp4</BaseURL></Representation></AdaptationSet>
        <AdaptationSet mimeType="audio/mp4"><Representation id="a" bandwidth="9000" codecs="mp4a.40.2">
        <BaseURL>a.m4a</BaseURL></Representation></AdaptationSet></Period></MPD>"""
    )
    row = Crawler(quick(), tmp_path / "media")({"uri": f"{address}/talk.mpd"})
    facts = probe_media(Path(row["media_path"]))
    assert (facts.video_codec, facts.audio_codec, row["format_id"]) == ("h264", "aac", "v+a")


def test_the_finest_picture_within_the_limit_is_chosen(tmp_path: Path, site) -> None:
    address, folder, _ = site
    lines = ["#EXTM3U"]
    for height, width in ((96, 160), (192, 320), (384, 640)):
        write_media(folder / f"{height}.ts", steady(25), size_px=(width, height), sound=tone(1.0))
        lines += [f"#EXT-X-STREAM-INF:BANDWIDTH={height}000,RESOLUTION={width}x{height}", f"{height}.m3u8"]
        (folder / f"{height}.m3u8").write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{height}.ts\n#EXT-X-ENDLIST\n"
        )
    (folder / "talk.m3u8").write_text("\n".join(lines))
    row = Crawler(quick(max_height_px=200), tmp_path / "media")({"uri": f"{address}/talk.m3u8"})
    assert probe_media(Path(row["media_path"])).height_px == 192


def test_fetched_files_can_be_too_long_or_too_big(tmp_path: Path, video: Path, site) -> None:
    address, folder, _ = site
    shutil.copy(video, folder / "talk.mp4")
    uri = f"{address}/talk.mp4"
    assert drop_of(Crawler(quick(max_duration_s=1.5), tmp_path / "a"), uri).reason == DropReason.TOO_LONG
    dropped = drop_of(Crawler(quick(max_bytes=1000), tmp_path / "b"), uri)
    assert (dropped.reason, dropped.detail) == (DropReason.TOO_LONG, "more than 1000 bytes")
    assert not list(tmp_path.glob("[ab]/**/*.mp4"))
