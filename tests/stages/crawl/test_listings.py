"""Pages, feeds and videos of several parts become their entries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.known.media_files import steady, tone, write_media
from stages.core.reasons import DropReason
from stages.crawl import Crawler
from tests.stages.crawl.crawling import drop_of, hash_of, quick
from tests.stages.crawl.video_site import Handler, Site

Route = Callable[[Handler, int], None]


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
