"""What yt-dlp says, and what we make of it. The messages are those of its extractors."""

from __future__ import annotations

import io

import pytest
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError, UnsupportedError

from stages.core.reasons import TRANSIENT_REASONS, DropReason
from stages.crawl import host_of, is_remote
from stages.crawl.addresses import entry_addresses, names_one_video, split_item, video_page
from stages.crawl.crawler import cleaned, size_of
from stages.crawl.errors import STATUS_REASON, causes_of, explain, may_pass
from stages.crawl.http import opt_out, retry_after_s


def reported(error: ExtractorError) -> DownloadError:
    """An extractor's error as it leaves yt-dlp."""
    return DownloadError(f"ERROR: {error}", (type(error), error, None))


def reason_of(error: BaseException) -> DropReason:
    return explain(error, causes_of(error)).reason


def http_error(status: int) -> HTTPError:
    return HTTPError(Response(io.BytesIO(), "http://a.example/", {}, status=status))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("You have exceeded the rate limit. Try again later", DropReason.RATE_LIMITED),
        ("Request is blocked by server (412), please wait and try later.", DropReason.RATE_LIMITED),
        ("Request is blocked by server (401), please wait and try later.", DropReason.RATE_LIMITED),
        ("Request is rejected by server (352)", DropReason.RATE_LIMITED),
        ("Unable to download video info: 352: 风控校验失败, please wait and try later", DropReason.RATE_LIMITED),
        ("Request failed (-799): 请求过于频繁，请稍后再试", DropReason.RATE_LIMITED),
        ("Unable to download video info: 62002: 稿件不可见", DropReason.DELETED),
        ("Unable to download video info: 404: 啥都木有", DropReason.DELETED),
        ("This video may be deleted or geo-restricted. You might want to try a VPN", DropReason.DELETED),
        ("Playlist is no longer available", DropReason.DELETED),
        ("Video unavailable. This video has been removed by the uploader", DropReason.DELETED),
        ("抱歉您所在地区不可观看！", DropReason.GEO_BLOCKED),
        ("Your IP address is blocked from accessing this post", DropReason.GEO_BLOCKED),
        ("The uploader has not made this video available in your country", DropReason.GEO_BLOCKED),
        ("Fresh cookies (not necessarily logged in) are needed", DropReason.LOGIN_REQUIRED),
        ("This video is for premium members only. Use --cookies for the authentication", DropReason.LOGIN_REQUIRED),
        ("This video is only available for registered users", DropReason.LOGIN_REQUIRED),
        ("This is a supporter-only video: 专属视频", DropReason.LOGIN_REQUIRED),
        ("This is a private playlist. You need to login as its owner", DropReason.LOGIN_REQUIRED),
        (
            "You do not have permission to view this post. Log into an account that has access",
            DropReason.LOGIN_REQUIRED,
        ),
        ("Sign in to confirm you're not a bot", DropReason.LOGIN_REQUIRED),
        ("Unable to download video info: 62012: 仅UP主自己可见", DropReason.LOGIN_REQUIRED),
        ("No video formats found!", DropReason.NOT_VIDEO),
        ("Requested format is not available", DropReason.NOT_VIDEO),
        ("Unable to extract initial state", DropReason.UNAVAILABLE),
        ("Video not available, status code 10231", DropReason.UNAVAILABLE),
    ],
)
def test_messages_of_extractors(message: str, reason: DropReason) -> None:
    assert reason_of(reported(ExtractorError(message, expected=True))) == reason


def test_the_words_of_a_title_are_not_taken_for_a_reason() -> None:
    error = ExtractorError("Unable to extract initial state", video_id="deleted-login-private")
    assert reason_of(reported(error)) == DropReason.UNAVAILABLE
    assert reason_of(reported(UnsupportedError("http://a.example/deleted"))) == DropReason.NOT_VIDEO


def test_a_closed_region_is_told_by_its_type() -> None:
    assert reason_of(reported(GeoRestrictedError("not here", countries=["CN"]))) == DropReason.GEO_BLOCKED


@pytest.mark.parametrize(("status", "reason"), [*STATUS_REASON.items(), (500, DropReason.UNAVAILABLE)])
def test_statuses_stand_above_words(status: int, reason: DropReason) -> None:
    cause = http_error(status)
    error = reported(ExtractorError(f"Unable to download webpage: {cause} cookies deleted", cause=cause))
    assert reason_of(error) == reason


def test_what_may_pass_in_a_moment_and_what_in_another_run() -> None:
    def again(error: BaseException) -> bool:
        causes = causes_of(error)
        return may_pass(causes, explain(error, causes).reason)

    passing = [http_error(412), http_error(429), http_error(500), http_error(503), TransportError("reset")]
    assert [again(reported(ExtractorError("Unable to download", cause=cause))) for cause in passing] == [True] * 5
    assert again(reported(ExtractorError("Request is rejected by server (352)")))
    lasting = [http_error(403), http_error(404), http_error(401)]
    assert [again(reported(ExtractorError("Unable to download", cause=cause))) for cause in lasting] == [False] * 3
    assert not again(reported(ExtractorError("Unable to extract initial state")))
    assert {DropReason.UNAVAILABLE, DropReason.RATE_LIMITED, DropReason.FORBIDDEN} == TRANSIENT_REASONS


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        (["noai"], "noai"),
        (["noindex, NoImageAI"], "noimageai"),
        (["none"], "none"),
        (["all", "noai"], "noai"),
        (["kouxing: noai"], "noai"),
        (["otherbot: noindex, noai"], None),
        (["otherbot: noindex, kouxing: noai"], "noai"),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST, noai"], "noai"),
        (["noindex, nofollow, noarchive"], None),
        ([], None),
    ],
)
def test_opt_outs(headers: list[str], word: str | None) -> None:
    assert opt_out(headers) == word


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after_s("120") == 120
    assert retry_after_s("Sun, 06 Nov 1994 08:50:00 GMT", now_s=784111777.0) == pytest.approx(23)
    assert retry_after_s("Sun, 06 Nov 1994 08:00:00 GMT") == 0
    assert [retry_after_s(value) for value in ("soon", "", "-3", "²", "Sun, 06 Nov 99999 08:50:00 GMT")] == [None] * 5
    assert retry_after_s("9" * 400) == float("inf")
    assert retry_after_s(None) is None


def test_addresses_are_remote_or_paths() -> None:
    assert [is_remote(uri) for uri in ("http://a/b", "https://a", "bilisearch10:口型", "ytsearch:a b")] == [True] * 4
    assert [is_remote(uri) for uri in ("a.mp4", "file:///a", "ytsearch5:", "notes:2024.mp4")] == [False] * 4
    hosts = [host_of(uri) for uri in ("https://WWW.Bilibili.com./video/x", "bilisearch10:口型", "/a/b.mp4", "http://[")]
    assert hosts == ["www.bilibili.com", "bilisearch", "", ""]


def test_entries_are_addresses_of_their_own() -> None:
    part = "https://www.bilibili.com/video/BV1?p="
    entries = [
        {"_type": "url", "url": f"{part}1"},
        {"_type": "url", "url": f"{part}2#__youtubedl_smuggle=%7B%7D"},
        {"_type": "url", "url": f"{part}1"},
        {"_type": "url", "url": "file:///etc/passwd"},
        {"_type": "url", "url": "https://www.bilibili.com/video/BV1"},
        None,
        {"_type": "video", "url": "https://cdn/signed"},
    ]
    page = "https://www.bilibili.com/video/BV1"
    assert entry_addresses({"entries": entries}, page) == [f"{part}1", f"{part}2", f"{page}#kouxing-item=7"]
    assert split_item(f"{page}#kouxing-item=7") == (page, 7)
    assert split_item(f"{part}2#a") == (f"{part}2#a", None)


def test_a_video_watched_in_a_list_is_one_video() -> None:
    assert names_one_video("https://www.youtube.com/watch?v=abc&list=PL1")
    uris = [
        "https://www.youtube.com/playlist?list=PL1",
        "https://www.bilibili.com/video/BV1?p=2",
        "ytsearch5:v=1 list=2",
    ]
    assert not any(names_one_video(uri) for uri in uris)


@pytest.mark.parametrize(
    "uri",
    [
        "https://www.iesdouyin.com/share/video/7000000000000000001/?region=CN",
        "https://www.douyin.com/user/MS4wLj?from=tab&modal_id=7000000000000000001",
        "https://www.douyin.com/discover?modal_id=7000000000000000001#x",
        "https://www.douyin.com/video/7000000000000000001",
    ],
)
def test_douyin_videos_have_one_page(uri: str) -> None:
    assert video_page(uri) == "https://www.douyin.com/video/7000000000000000001"


def test_sizes_are_added_or_estimated() -> None:
    assert size_of({"requested_formats": [{"filesize": 1000}, {"filesize_approx": 500}]}) == 1500
    assert size_of({"tbr": 800, "duration": 10}) == 1_000_000
    assert size_of({"requested_formats": [{"filesize": 1000}, {}]}) is None


def test_descriptions_are_kept_without_secrets() -> None:
    info = {
        "title": "t",
        "http_headers": {"Cookie": "a"},
        "url": "https://cdn/x?sig=1",
        "_filename": "/home/me/x",
        "formats": [{"format_id": "80", "url": "https://cdn/x?sig=1", "cookies": "SESSDATA=1", "height": 1080}],
    }
    assert cleaned(info) == {"title": "t", "formats": [{"format_id": "80", "height": 1080}]}
