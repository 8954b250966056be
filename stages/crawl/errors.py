"""Meaning of yt-dlp's errors: the drop reason, and whether a retry may help."""

from __future__ import annotations

from collections.abc import Iterator

from yt_dlp.networking.exceptions import HTTPError, NoSupportingHandlers, RequestError, TransportError
from yt_dlp.utils import ExtractorError, GeoRestrictedError, UnsupportedError

from stages.core.reasons import DISK_TROUBLE, Dropped, DropReason

STATUS_REASON = {
    401: DropReason.LOGIN_REQUIRED,
    403: DropReason.FORBIDDEN,
    404: DropReason.DELETED,
    410: DropReason.DELETED,
    412: DropReason.RATE_LIMITED,  # Bilibili's form of 429
    429: DropReason.RATE_LIMITED,
    451: DropReason.GEO_BLOCKED,
}
WORDS: tuple[tuple[DropReason, tuple[str, ...]], ...] = (
    (
        DropReason.RATE_LIMITED,
        (
            *("rate limit", "rate-limit", "too many requests", "please wait and try later", "rejected by server (352)"),
            *("request failed (-799)", "request failed (-412)", "request failed (-352)"),
            *("请求过于频繁", "请求被拦截", "风控校验失败", "操作过于频繁"),
        ),
    ),
    (
        DropReason.DELETED,
        (
            *("deleted", "removed", "no longer available", "no longer exist", "does not exist", "doesn't exist"),
            *("account has been terminated", "account associated with this video has been terminated"),
            *("稿件不可见", "视频不见了", "啥都木有", "已失效", "已被删除", "已删除", "作品不存在", "视频不存在"),
        ),
    ),
    (
        DropReason.GEO_BLOCKED,
        (
            *("geo restrict", "geo-restrict", "in your country", "from your location", "your ip address is blocked"),
            *("所在地区", "地区不可观看", "区域限制"),
        ),
    ),
    (
        DropReason.LOGIN_REQUIRED,
        (
            *(
                "cookies",
                "log in",
                "login",
                "logged in",
                "sign in",
                "registered users",
                "password",
                "do not have permission",
            ),
            *("members", "member-only", "premium", "private", "supporter-only", "need to purchase", "confirm your age"),
            *("登录", "大会员", "自己可见", "访问权限不足", "充电专属", "付费"),
        ),
    ),
    (
        DropReason.NOT_VIDEO,
        ("no video", "no media", "requested format is not available", "unsupported url", "drm protected"),
    ),
)
"""Phrases of messages, in lower case, by reason; the first reason with a phrase that occurs is taken.

Source: `raise ExtractorError` and its helpers in yt-dlp 2026.10.26 (bilibili, tiktok with Douyin, youtube, common), and
the messages of Bilibili's API, which they pass on.
"""


class Refusal(RequestError):
    """A request that we do not make or an answer that we do not accept; yt-dlp passes it on unchanged."""

    def __init__(self, reason: DropReason, detail: str) -> None:
        super().__init__(detail)
        self.dropped = Dropped(reason, detail)


def causes_of(error: BaseException) -> list[BaseException]:
    """An exception of yt-dlp and those that it wraps, outermost first."""
    return list(_walk(error))


def _walk(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        wrapped = (getattr(current, "exc_info", None) or (None, None))[1]
        candidates = (wrapped, getattr(current, "cause", None), current.__cause__, current.__context__)
        current = next((c for c in candidates if isinstance(c, BaseException) and id(c) not in seen), None)


def disk_trouble(causes: list[BaseException]) -> OSError | None:
    """An error of the machine's disk, which every other source would meet too; None if there is none."""
    return next((c for c in causes if isinstance(c, OSError) and c.errno in DISK_TROUBLE), None)


def may_pass(causes: list[BaseException], reason: DropReason) -> bool:
    """Whether the same request may succeed in a moment."""
    if any(isinstance(cause, Refusal) for cause in causes):
        return False
    for cause in causes:
        if isinstance(cause, HTTPError):
            return cause.status in (412, 429) or cause.status >= 500
    broken = any(isinstance(cause, TransportError | TimeoutError | ConnectionError) for cause in causes)
    return broken or reason == DropReason.RATE_LIMITED


def explain(error: BaseException, causes: list[BaseException]) -> Dropped:
    """The drop reason for yt-dlp's error, with its message as the detail."""
    for cause in causes:
        if isinstance(cause, Refusal):
            return cause.dropped
    detail = str(error).removeprefix("ERROR: ").split("; please report this issue")[0]
    return Dropped(_reason(detail, causes), detail)


def _reason(detail: str, causes: list[BaseException]) -> DropReason:
    if any(isinstance(cause, NoSupportingHandlers) or type(cause).__name__ == "InvalidSchema" for cause in causes):
        return DropReason.FORBIDDEN_ADDRESS  # a redirect, or a page's video, that is not http(s)
    if any(isinstance(cause, UnsupportedError) for cause in causes):
        return DropReason.NOT_VIDEO
    if any(isinstance(cause, GeoRestrictedError) for cause in causes):
        return DropReason.GEO_BLOCKED
    status = next((cause.status for cause in causes if isinstance(cause, HTTPError)), None)
    if status is not None:
        return STATUS_REASON.get(status, DropReason.UNAVAILABLE)
    messages = [cause.orig_msg for cause in causes if isinstance(cause, ExtractorError)]  # without the video's name
    words = " ".join(messages or [detail]).lower()
    return next((reason for reason, table in WORDS if any(word in words for word in table)), DropReason.UNAVAILABLE)
