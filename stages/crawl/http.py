"""yt-dlp's connections within limits: polite, only to the open internet, bounded, with respect for opt-outs.

All requests of yt-dlp go through one handler: pages, each hop of a redirect, playlists, media.
"""

from __future__ import annotations

import email.utils
import functools
import io
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.connection import create_connection
from urllib3.util.retry import Retry
from yt_dlp import YoutubeDL
from yt_dlp.networking._requests import RequestsHTTPAdapter, RequestsResponseAdapter, RequestsRH
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import DownloadError
from yt_dlp.utils.networking import select_proxy

from stages.core.reasons import Dropped, DropReason
from stages.crawl.addresses import host_of, is_public
from stages.crawl.config import CrawlConfig
from stages.crawl.errors import Refusal
from stages.crawl.gate import Gate

PROTOCOLS = frozenset({"http", "https", "m3u8", "m3u8_native", "http_dash_segments"})
"""Download protocols that use our connections; others start external programs."""
_OPT_OUTS = frozenset({"noai", "noimageai", "none"})
_PUBLISHED = ("text/html", "application/xhtml", "video/", "audio/", "application/octet-stream", "application/dash+xml")
_PUBLISHED += ("application/vnd.apple.mpegurl", "application/x-mpegurl")
"""Content types whose opt-out counts: APIs send `X-Robots-Tag: none` against search engines only."""
_NAP_S = 1.0
_AGENT = "kouxing"


@dataclass
class Visit:
    """One try to fetch one source, as its requests see it."""

    config: CrawlConfig
    gate: Gate
    lease: str
    sleep: Callable[[float], None] = time.sleep
    started_s: float = field(default_factory=time.monotonic)
    limit_bytes: int = 0  # of the file that is coming in
    login: tuple[str, str] | None = None  # host and port that get a header `Authorization`, and the header
    _renewed_s: float = field(default_factory=time.monotonic)

    def before(self, host: str) -> None:
        """Wait until the host may be asked.

        Raises:
            Refusal: RATE_LIMITED, if the wait is longer than `max_wait_s`.
        """
        while (wait_s := self.gate.request(host, self.lease)) > 0:
            if wait_s > self.config.max_wait_s:
                raise Refusal(DropReason.RATE_LIMITED, f"{host} has asked for a rest of another {wait_s:.0f} s")
            self.sleep(min(wait_s, _NAP_S))

    def after(self, host: str, response: requests.Response) -> None:
        """Evaluate an answer.

        Raises:
            Refusal: OPTED_OUT.
        """
        asked_s = retry_after_s(response.headers.get("Retry-After"))
        if response.status_code in (412, 429) or (response.status_code == 503 and asked_s is not None):
            self.gate.penalise(host, asked_s)
        elif response.status_code < 400:
            self.gate.succeed(host)
        kind = response.headers.get("Content-Type", "video/").lower()
        if self.config.honour_opt_out and kind.startswith(_PUBLISHED):
            word = opt_out(response.raw.headers.getlist("X-Robots-Tag"))
            if word:
                raise Refusal(DropReason.OPTED_OUT, f"X-Robots-Tag: {word} at {response.url}")

    def during(self) -> None:
        """Called while bytes come in."""
        now = time.monotonic()
        if now - self._renewed_s > self.config.lease_s / 4:
            self.gate.renew(self.lease)
            self._renewed_s = now
        if now - self.started_s > self.config.max_fetch_s:
            raise Refusal(DropReason.UNAVAILABLE, f"too slow: not done after {self.config.max_fetch_s:g} s")


def retry_after_s(value: str | None, now_s: float | None = None) -> float | None:
    """`Retry-After` in seconds, given as a number or as a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        until = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, until.timestamp() - (time.time() if now_s is None else now_s))


def opt_out(headers: Iterable[str]) -> str | None:
    """The directive of `X-Robots-Tag` headers that forbids data sets, to all or to us by name."""
    for header in headers:
        ours = True
        for part in header.lower().split(","):
            agent, colon, directive = part.partition(":")
            if colon and agent.strip() != "unavailable_after":
                ours = agent.strip() in ("*", _AGENT)
            word = (directive if colon else agent).strip()
            if ours and word in _OPT_OUTS:
                return word
    return None


class _Guarded:
    """Mix-in for connections that checks an address after the name is resolved and before it is connected to."""

    host: str
    port: int
    timeout: Any
    source_address: Any
    socket_options: Any

    def _new_conn(self) -> socket.socket:
        try:
            found = socket.getaddrinfo(self.host, self.port, 0, socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            raise urllib3.exceptions.NameResolutionError(self.host, self, error) from error  # pyright: ignore
        _refuse_private(self.host, found)
        failure: OSError | None = None
        for *_, (address, *_) in found:
            try:
                return create_connection(
                    (str(address), self.port), self.timeout, self.source_address, self.socket_options
                )
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise urllib3.exceptions.ConnectTimeoutError(self, f"{self.host} does not answer") from failure  # pyright: ignore
        raise urllib3.exceptions.NewConnectionError(self, f"cannot connect: {failure}") from failure  # pyright: ignore


class _GuardedHTTPConnection(_Guarded, HTTPConnection): ...  # pyright: ignore[reportIncompatibleVariableOverride]


class _GuardedHTTPSConnection(_Guarded, HTTPSConnection): ...  # pyright: ignore[reportIncompatibleVariableOverride]


class _GuardedHTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _GuardedHTTPConnection  # pyright: ignore


class _GuardedHTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _GuardedHTTPSConnection  # pyright: ignore


class _Adapter(RequestsHTTPAdapter):
    """Adapter of every request, including redirected ones."""

    def __init__(self, visit: Visit, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._visit = visit
        if not visit.config.allow_private_addresses:
            self.poolmanager.pool_classes_by_scheme = {"http": _GuardedHTTPPool, "https": _GuardedHTTPSPool}

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        url, visit = request.url or "", self._visit
        host = host_of(url)
        if visit.login and urlsplit(url).netloc.lower() == visit.login[0]:
            request.headers["Authorization"] = visit.login[1]
        if visit.config.user_agent:
            request.headers["User-Agent"] = visit.config.user_agent
        if not visit.config.allow_private_addresses and select_proxy(url, kwargs.get("proxies") or {}):
            _check_behind_proxy(host)
        visit.before(host)
        response = super().send(request, *args, **kwargs)
        visit.after(host, response)
        return response


def _check_behind_proxy(host: str) -> None:
    """Check a host behind a proxy: we can only resolve the name and trust that the proxy finds the same address."""
    try:
        found = socket.getaddrinfo(host, None)
    except (socket.gaierror, UnicodeError):  # a name that only the proxy can resolve
        return
    _refuse_private(host, found)


def _refuse_private(host: str, found: list[Any]) -> None:
    """Refuse a host unless every address that `socket.getaddrinfo` found is public."""
    for *_, (address, *_) in found:
        if not is_public(str(address)):
            way_out = "crawl.allow_private_addresses=true asks it all the same"
            raise Refusal(DropReason.FORBIDDEN_ADDRESS, f"{host} is {address}, not of the open internet; {way_out}")


class _Response(RequestsResponseAdapter):
    """An answer with a bounded body: `read()` takes at most a page, and in bounded time."""

    def __init__(self, answer: Any, visit: Visit) -> None:
        super().__init__(answer._requests_response)
        self._visit = visit
        self._answer = answer  # closes the connection when it is collected

    def _real_read(self, amt: int | None = None) -> bytes:
        if amt is not None:
            return self._some(amt)
        body = io.BytesIO()
        while chunk := self._some(1 << 20):
            body.write(chunk)
            if body.tell() > self._visit.config.max_page_bytes:
                limit = self._visit.config.max_page_bytes
                raise Refusal(DropReason.TOO_LARGE, f"a page of more than {limit} bytes: {self.url}")
        return body.getvalue()

    def _some(self, amt: int) -> bytes:
        self._visit.during()
        return self._requests_response.raw.read1(
            amt, decode_content=True
        )  # returns the available bytes; `read` waits for all


class GuardedRH(RequestsRH):
    """yt-dlp's handler for requests, within limits. The only one of `Downloader`."""

    def __init__(self, *args: Any, visit: Visit, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._visit = visit

    def _create_instance(self, cookiejar: Any, legacy_ssl_support: Any = None) -> requests.Session:
        session: Any = super()._create_instance(cookiejar, legacy_ssl_support)  # pyright: ignore
        adapter = _Adapter(
            self._visit,
            ssl_context=self._make_sslcontext(legacy_ssl_support=legacy_ssl_support),
            source_address=self.source_address,
            max_retries=Retry(False),
        )
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session

    def _send(self, request: Any) -> _Response:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return _Response(super()._send(request), self._visit)
        except HTTPError as error:
            answer: Any = _Response(error.response, self._visit)
            raise HTTPError(answer, redirect_loop=error.redirect_loop) from error


class Downloader(YoutubeDL):
    """yt-dlp within limits, for one visit."""

    def __init__(self, options: Any, visit: Visit) -> None:
        super().__init__(options)
        self._visit = visit

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:  # noqa: ARG002 - ours alone
        ours: Any = [functools.partial(GuardedRH, visit=self._visit)]
        return super().build_request_director(ours, ())

    def dl(self, name: str, info: Any, subtitle: bool = False, test: bool = False) -> Any:
        protocols = set(str(info.get("protocol") or "http").split("+"))
        if not protocols <= PROTOCOLS:
            raise Dropped(DropReason.NOT_VIDEO, f"only to be had by {', '.join(sorted(protocols - PROTOCOLS))}")
        config = self._visit.config
        self._visit.limit_bytes = config.max_page_bytes if subtitle else config.max_bytes
        result = super().dl(name, info, subtitle, test)
        path = Path(name)
        if not subtitle and path.is_file() and (text := not_media(path)) is not None:
            path.unlink()  # before ffmpeg opens it: a playlist may name any file of ours
            raise Dropped(DropReason.NOT_VIDEO, f"{text} in place of media")
        return result

    def _write_subtitles(self, info_dict: Any, filename: str) -> Any:
        try:
            return super()._write_subtitles(info_dict, filename)  # pyright: ignore
        except (DownloadError, Dropped):  # a video is kept without its subtitles
            return []


def not_media(path: Path) -> str | None:
    """Kind of a fetched file that is text instead of media, such as an error page or a playlist; None for others."""
    with path.open("rb") as file:
        head = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    starts = {b"<": "HTML or XML", b"{": "JSON", b"[": "a list", b"#ext": "a playlist", b"ffconcat": "a playlist"}
    return next((kind for start, kind in starts.items() if head.startswith(start)), None)
