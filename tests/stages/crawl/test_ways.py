"""Where a site may lead: redirects, share links, private addresses, proxies, other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stages.core.reasons import DropReason
from stages.crawl import Crawler
from tests.stages.crawl.crawling import drop_of, hash_of, quick
from tests.stages.crawl.video_site import Handler, Site

Route = Callable[[Handler, int], None]


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


def test_redirects_are_followed(tmp_path: Path, site: Site) -> None:
    site.routes["/old.mp4"] = lambda handler, _: handler.answer(302, headers={"Location": "/talk.mp4"})
    row = Crawler(quick(), tmp_path / "media")({"uri": f"{site.address}/old.mp4"})
    assert row["sha256"] == hash_of(site.folder / "talk.mp4")


def test_share_links_are_resolved_before_yt_dlp_judges_them(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.crawl.crawler.SHORT_HOSTS", ("127.0.0.1",))
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
    monkeypatch.setattr("stages.crawl.http.is_public", lambda address: address == "127.0.0.1")
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
