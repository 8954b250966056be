"""Local files, and yt-dlp against a real server on the loopback."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.known.media_files import steady, tone, write_media
from pipeline.rules.config import Config, config_hash
from stages.core.reasons import Dropped, DropReason
from stages.core.records import CRAWL
from stages.core.settings import ConfigError
from stages.crawl import CrawlConfig, Crawler, check_crawl_config, files_of
from stages.media import probe_media
from tests.stages.crawl.video_site import Site, open_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "site").mkdir()
    with open_site(tmp_path / "site") as opened:
        yield opened


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_media(tmp_path_factory.mktemp("video") / "a.mp4", steady(50), sound=tone(2.0))


def quick(**changes: object) -> CrawlConfig:
    return CrawlConfig(
        **{
            "retries": 1,
            "retry_wait_s": 0.01,
            "timeout_s": 20.0,
            "host_interval_s": 0.0,
            "backoff_s": 0.01,
            "allow_private_addresses": True,
        }
        | changes
    )  # pyright: ignore


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


def test_a_url_is_fetched_once_and_named_by_its_hash(tmp_path: Path, video: Path, site: Site) -> None:
    address, folder = site.address, site.folder
    shutil.copy(video, folder / "talk.mp4")
    media = tmp_path / "50%(title)s media"
    uri = f"{address}/talk.mp4"
    first = Crawler(quick(), media)({"uri": uri, "source_id": "t"})
    sha256 = hashlib.sha256(video.read_bytes()).hexdigest()
    assert first["media_path"] == str(media / f"{sha256}.mp4")
    assert Path(first["media_path"]).read_bytes() == video.read_bytes()
    assert (first["sha256"], first["extractor"], first["title"]) == (sha256, "generic", "talk")
    assert first.keys() - {"uri", "source_id"} <= set(CRAWL.names)
    num_requests = len(site.asked)
    assert Crawler(quick(), media)({"uri": uri, "source_id": "t"}) == first
    assert len(site.asked) == num_requests
    assert not [path for path in (media / "partial").iterdir() if path.is_dir()]


def test_a_lost_file_is_fetched_again(tmp_path: Path, video: Path, site: Site) -> None:
    address, folder = site.address, site.folder
    shutil.copy(video, folder / "talk.mp4")
    crawler = Crawler(quick(), tmp_path / "media")
    path = Path(crawler({"uri": f"{address}/talk.mp4"})["media_path"])
    path.unlink()
    assert crawler({"uri": f"{address}/talk.mp4"})["media_path"] == str(path)
    assert path.is_file()


def test_the_store_knows_what_it_holds_of_a_source(tmp_path: Path, video: Path, site: Site) -> None:
    media = tmp_path / "media"
    shutil.copy(video, site.folder / "talk.mp4")
    write_media(site.folder / "other.mp4", steady(25), sound=tone(1.0), faststart=True)
    rows = [Crawler(quick(), media)({"uri": f"{site.address}/{name}.mp4"}) for name in ("talk", "other")]
    talk, other = ({path.relative_to(media).as_posix() for path in files_of(media, [row])} for row in rows)
    key = hashlib.sha256(rows[0]["uri"].encode()).hexdigest()[:32]
    sha256 = rows[0]["sha256"]
    assert talk == {f"{sha256}.mp4", f"{sha256}.info.json", f"fetched/{key}.json", f"partial/{key}.lock"}
    everything = {path.relative_to(media).as_posix() for path in media.rglob("*") if path.is_file()}
    assert (talk & other, talk | other) == (set(), everything)
    assert files_of(media, [{"uri": "https://video.test/never"}]) == []


def test_pages_without_video_are_not_video(tmp_path: Path, site: Site) -> None:
    address, folder = site.address, site.folder
    (folder / "page.html").write_text("<!doctype html><html><title>Words</title><body>Only words.</body></html>")
    dropped = drop_of(Crawler(quick(), tmp_path), f"{address}/page.html")
    assert dropped.reason == DropReason.NOT_VIDEO
    assert "Unsupported URL" in dropped.detail


def test_a_page_with_a_video_gives_the_video(tmp_path: Path, video: Path, site: Site) -> None:
    address, folder = site.address, site.folder
    shutil.copy(video, folder / "talk.mp4")
    (folder / "page.html").write_text('<html><title>Talk</title><body><video src="talk.mp4"></video></body></html>')
    row = Crawler(quick(), tmp_path / "media")({"uri": f"{address}/page.html"})
    assert row["sha256"] == hashlib.sha256(video.read_bytes()).hexdigest()


def test_sound_and_pictures_that_come_apart_are_joined(tmp_path: Path, site: Site) -> None:
    address, folder = site.address, site.folder
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
    again = Crawler(quick(), tmp_path / "other")({"uri": f"{address}/talk.mpd"})
    assert (again["sha256"], again["media_path"] != row["media_path"]) == (row["sha256"], True)


def test_the_finest_picture_within_the_limit_is_chosen(tmp_path: Path, site: Site) -> None:
    address, folder = site.address, site.folder
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


def test_fetched_files_can_be_too_long_or_too_big(tmp_path: Path, video: Path, site: Site) -> None:
    address, folder = site.address, site.folder
    shutil.copy(video, folder / "talk.mp4")
    uri = f"{address}/talk.mp4"
    assert drop_of(Crawler(quick(max_duration_s=1.5), tmp_path / "a"), uri).reason == DropReason.TOO_LONG
    dropped = drop_of(Crawler(quick(max_bytes=1000), tmp_path / "b"), uri)
    assert (dropped.reason, dropped.detail) == (DropReason.TOO_LARGE, "more than 1000 bytes")
    assert not list(tmp_path.glob("[ab]/**/*.mp4"))


def test_the_same_bytes_are_stored_once(tmp_path: Path, video: Path, site: Site) -> None:
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(video, site.folder / name)
    crawler = Crawler(quick(), tmp_path / "media")
    rows = [crawler({"uri": f"{site.address}/{name}"}) for name in ("a.mp4", "b.mp4")]
    assert rows[0]["media_path"] == rows[1]["media_path"]
    assert [row["site_id"] for row in rows] == ["a", "b"]
    assert len(list((tmp_path / "media").glob("*.mp4"))) == 1


def test_what_the_site_says_lies_beside_the_media_without_signed_addresses(
    tmp_path: Path, video: Path, site: Site
) -> None:
    shutil.copy(video, site.folder / "talk.mp4")
    (site.folder / "talk.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:01.000\n你好\n")
    tracks = '<track kind="subtitles" srclang="zh-Hans" src="talk.vtt"><track srclang="fr" src="talk.vtt">'
    (site.folder / "page.html").write_text(
        f'<html><title>口型</title><body><video src="talk.mp4?sign=secret">{tracks}</video></body></html>'
    )
    media = tmp_path / "media"
    row = Crawler(quick(), media)({"uri": f"{site.address}/page.html"})
    assert (row["title"], row["webpage_url"]) == ("口型 (1)", f"{site.address}/page.html")
    told = (media / f"{row['sha256']}.info.json").read_text()
    assert json.loads(told)["title"] == "口型 (1)"
    assert "secret" not in told
    assert str(tmp_path) not in told
    assert [path.name for path in media.glob("*.vtt")] == [f"{row['sha256']}.zh-Hans.vtt"]
    assert "你好" in next(media.glob("*.vtt")).read_text()


def test_a_video_is_worth_having_without_its_subtitles(tmp_path: Path, video: Path, site: Site) -> None:
    shutil.copy(video, site.folder / "talk.mp4")
    (site.folder / "page.html").write_text(
        '<html><title>T</title><body><video src="talk.mp4"><track srclang="zh" src="gone.vtt"></video></body></html>'
    )
    assert Crawler(quick(), tmp_path / "media")({"uri": f"{site.address}/page.html"})["num_bytes"]
    assert site.num_asked("/gone.vtt")


def test_another_user_gets_the_same_bytes_or_is_told(tmp_path: Path, site: Site) -> None:
    lines = ["#EXTM3U"]
    for height, width in ((96, 160), (192, 320)):
        write_media(site.folder / f"{height}.ts", steady(25), size_px=(width, height), sound=tone(1.0))
        lines += [f"#EXT-X-STREAM-INF:BANDWIDTH={height}000,RESOLUTION={width}x{height}", f"{height}.m3u8"]
        segments = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{height}.ts\n#EXT-X-ENDLIST\n"
        (site.folder / f"{height}.m3u8").write_text(segments)
    (site.folder / "talk.m3u8").write_text("\n".join(lines))
    uri = f"{site.address}/talk.m3u8"
    first = Crawler(quick(max_height_px=100), tmp_path / "a")({"uri": uri})
    assert "bytes_changed" not in first
    wanted = {"uri": uri, "expect_sha256": first["sha256"].upper(), "expect_format_id": first["format_id"]}
    again = Crawler(quick(), tmp_path / "b")(wanted)
    assert (again["format_id"], again["bytes_changed"]) == (first["format_id"], False)
    other = Crawler(quick(), tmp_path / "b")(wanted | {"expect_format_id": "no such"})
    assert (other["format_id"] != first["format_id"], other["bytes_changed"]) == (True, True)


def test_a_look_fetches_nothing(tmp_path: Path, video: Path, site: Site) -> None:
    shutil.copy(video, site.folder / "talk.mp4")
    crawler = Crawler(quick(), tmp_path / "media")
    row = crawler.look({"uri": f"{site.address}/talk.mp4"})
    assert (row["title"], row["num_bytes"], row["format_id"]) == ("talk", video.stat().st_size, "mp4")
    local = crawler.look({"uri": str(video)})
    assert (round(local["duration_s"], 1), local["num_bytes"]) == (2.0, video.stat().st_size)
    with pytest.raises(Dropped) as dropped:
        crawler.look({"uri": f"{site.address}/gone.mp4"})
    assert dropped.value.reason == DropReason.DELETED
    assert not (tmp_path / "media").exists()


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("max_bytes", 0, "crawl.max_bytes=0"),
        ("retries", -1, "crawl.retries=-1"),
        ("subtitles", ("zh(",), "crawl.subtitles"),
        ("cookies_file", "nowhere.txt", "no such file"),
    ],
)
def test_unusable_settings_are_found_at_the_start(key: str, value: object, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        check_crawl_config(quick(**{key: value}))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'{"cookies": []}', "Netscape"),
        (b"# Netscape HTTP Cookie File\n", "holds no cookie"),
        (b"\xff\xfe\x00\x81", "no text file"),
        (b'[{"name": "a", "value": "b"}]', "lacks domain.*Netscape"),
        (b'[{"domain": "a.test", "name": "a", "value": "b\\n.b.test"}]', "control characters"),
        (b"[1", "no cookies file"),
    ],
)
def test_unusable_cookies_are_found_at_the_start(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "cookies.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=word):
        check_crawl_config(quick(cookies_file=str(path)))


def test_only_what_changes_the_data_set_enters_the_hash() -> None:
    base = config_hash(Config())
    assert config_hash(Config(crawl=CrawlConfig(cookies_file="new.txt", host_concurrency=9, retries=0))) == base
    assert config_hash(Config(crawl=CrawlConfig(max_height_px=720))) != base
