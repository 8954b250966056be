"""Media onto the local disk: what is there already is used in place, the rest comes through yt-dlp."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline.node_cache import NodeCache
from pipeline.records import Dropped, DropReason, Row
from pipeline.storage import as_path, is_file, is_remote, protocol_of, read_text, write_text
from stages.media import probe_media


@dataclass(frozen=True)
class CrawlConfig:
    """How to fetch. Only `max_height_px` changes what a kept source looks like."""

    cookies_file: str | None = None  # Netscape format; for sites that show full quality to members only
    max_height_px: int = 1080  # of the shorter side; the crop is 256 px: more costs decoding and gives nothing
    max_duration_s: float = 14_400.0  # four hours: longer ones are streams recorded whole
    max_bytes: int = 4 * 1024**3
    retries: int = 3  # of a request, a fragment and the whole, after transient errors
    retry_wait_s: float = 1.0  # before the first retry, doubled each time
    sleep_s: float = 0.0  # between two requests to a site; Bilibili and Douyin throttle at a few a second
    timeout_s: float = 20.0  # of one request
    user_agent: str | None = None


LOGIN_WORDS = (
    "account",
    "cookies",
    "geo restrict",
    "geo-restrict",
    "in your country",
    "log in",
    "login",
    "logged in",
    "members",
    "password",
    "premium",
    "private",
    "sign in",
    "区域",
    "大会员",
    "登录",
)
"""Of messages by which sites ask for an account or refuse a country."""
NO_VIDEO_WORDS = ("no video", "no media", "requested format is not available", "unsupported url")
"""Of messages about pages that show no video."""


class Crawler:
    """Fetches one source.

    Args:
        folder: fetched media lie here as `<sha256>.<ext>`; an unfinished download stays in `partial/` and is resumed.
            If it is in a bucket, downloads happen on this node and are uploaded once.
        copies: of what lies in a bucket; by default beside the media, if those are local.
    """

    def __init__(self, config: CrawlConfig, folder: Path, copies: NodeCache | None = None) -> None:
        self._config, self._folder = config, folder
        self._copies = copies or NodeCache(folder / "objects")

    def __call__(self, row: Row) -> Row:
        """Find or fetch the media of `uri`.

        Raises:
            Dropped: UNAVAILABLE, GEO_OR_LOGIN, TOO_LONG, NOT_VIDEO.
        """
        uri = row["uri"]
        if uri.startswith(("http://", "https://")):
            return row | self._remote(uri)
        if protocol_of(uri) is not None:
            with self._copies.local_copy(as_path(uri)) as copy:
                facts = _local(str(copy)) | {"media_path": uri, "extractor": protocol_of(uri)}
                self._check_length(copy)
            return row | facts
        facts = _local(uri)
        self._check_length(Path(facts["media_path"]))
        return row | facts

    def _check_length(self, path: Path) -> None:
        try:
            duration_s = probe_media(path).duration_s
        except Dropped:  # probe's to tell
            return
        if duration_s > self._config.max_duration_s:
            raise Dropped(DropReason.TOO_LONG, f"{duration_s:.0f} s > {self._config.max_duration_s:g}")

    def _remote(self, url: str) -> Row:
        name = hashlib.sha256(url.encode()).hexdigest()[:32]
        here = self._copies.folder.with_name("downloads") if is_remote(self._folder) else self._folder
        receipt, partial = self._folder / "fetched" / f"{name}.json", here / "partial" / name
        partial.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(partial.with_suffix(".lock")):  # another row may name the same URL
            if is_file(receipt):
                facts = json.loads(read_text(receipt))
                if is_file(as_path(facts["media_path"])):
                    return facts | {"retrieved_at": datetime.fromisoformat(facts["retrieved_at"])}
            partial.mkdir(exist_ok=True)
            facts = self._store(self._fetch(url, partial))
            written = facts | {"retrieved_at": facts["retrieved_at"].isoformat()}
            write_text(receipt, json.dumps(written, ensure_ascii=False))
            shutil.rmtree(partial)
        return facts

    def _store(self, info: dict[str, Any]) -> Row:
        """Moves what was fetched under its hash, unless it is too long."""
        fetched = Path(info["requested_downloads"][0]["filepath"])
        try:
            self._check_length(fetched)
        except Dropped:
            fetched.unlink()
            raise
        sha256 = _sha256(fetched)
        media = self._folder / f"{sha256}{fetched.suffix}"
        facts = _file_facts(fetched, sha256) | {"media_path": str(media), "extractor": info["extractor"].lower()}
        if is_remote(media):
            self._copies.store(fetched, media)
        else:
            fetched.replace(media)
        named = {column: str(info[column]) for column in ("format_id", "title", "uploader") if info.get(column)}
        return facts | named

    def _fetch(self, url: str, partial: Path) -> dict[str, Any]:
        """yt-dlp's description of the video it has put into `partial`."""
        from yt_dlp import YoutubeDL
        from yt_dlp.utils import YoutubeDLError

        for attempt in range(self._config.retries + 1):
            try:
                with YoutubeDL(self._options(partial)) as downloader:
                    found: Any = downloader.extract_info(url, download=False)
                    return self._fetched(downloader.process_ie_result(self._checked(found), download=True))
            except YoutubeDLError as error:
                causes = list(_causes(error))
                for cause in causes:
                    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                        raise cause from error
                if attempt == self._config.retries or not _is_transient(causes):
                    raise _explain(error, causes) from error
                time.sleep(self._config.retry_wait_s * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _checked(self, info: Any) -> Any:
        """The one video of what was found, if it is not too long to fetch."""
        while info is not None and info.get("_type") in ("playlist", "multi_video"):
            info = next(iter(info.get("entries") or ()), None)
        if info is None:
            raise Dropped(DropReason.NOT_VIDEO, "the page lists no video")
        if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
            raise Dropped(DropReason.UNAVAILABLE, "a live stream, not a video yet")
        duration_s = info.get("duration")
        if duration_s is not None and duration_s > self._config.max_duration_s:
            raise Dropped(DropReason.TOO_LONG, f"{duration_s:.0f} s > {self._config.max_duration_s:g}")
        return info

    def _fetched(self, info: Any) -> dict[str, Any]:
        downloads = info.get("requested_downloads") or [{}]
        if not Path(downloads[0].get("filepath", "")).is_file():  # yt-dlp leaves out what is over its limit
            raise Dropped(DropReason.TOO_LONG, f"more than {self._config.max_bytes} bytes")
        return info

    def _options(self, partial: Path) -> Any:
        import imageio_ffmpeg

        config = self._config
        options: dict[str, Any] = {
            "cachedir": False,
            "color": {"stdout": "never", "stderr": "never"},
            "continuedl": True,
            "cookiefile": config.cookies_file,
            "extractor_retries": config.retries,
            "ffmpeg_location": imageio_ffmpeg.get_ffmpeg_exe(),
            "format": "bv*+ba/b/bv*",
            "format_sort": [f"res:{config.max_height_px}", "ext:mp4:m4a"],
            "fragment_retries": config.retries,
            "logger": _Silence(),
            "max_filesize": config.max_bytes,
            "merge_output_format": "mp4/mkv",
            "noplaylist": True,
            "noprogress": True,
            "outtmpl": {"default": str(partial / "media.%(ext)s")},
            "playlist_items": "1",
            "retries": config.retries,
            "sleep_interval_requests": config.sleep_s,
            "socket_timeout": config.timeout_s,
        }
        if config.user_agent:
            options["http_headers"] = {"User-Agent": config.user_agent}
        return options


class _Silence:
    """yt-dlp's log, unwanted: what matters comes as an exception."""

    def debug(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None: ...


def _local(uri: str) -> Row:
    path = Path(uri.removeprefix("file://"))
    try:
        if not path.is_file():
            raise Dropped(DropReason.UNAVAILABLE, f"no such file: {path}")
        return _file_facts(path, _sha256(path)) | {"extractor": "local"}
    except OSError as error:
        raise Dropped(DropReason.UNAVAILABLE, f"cannot be read: {error}") from error


def _file_facts(path: Path, sha256: str) -> Row:
    now = datetime.now(UTC)
    return {
        "media_path": str(path),
        "sha256": sha256,
        "num_bytes": path.stat().st_size,
        "retrieved_at": now.replace(microsecond=now.microsecond // 1000 * 1000),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception of yt-dlp and what it wraps, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        wrapped = (getattr(current, "exc_info", None) or (None, None))[1]
        candidates = (wrapped, getattr(current, "cause", None), current.__cause__, current.__context__)
        current = next((c for c in candidates if isinstance(c, BaseException) and id(c) not in seen), None)


def _is_transient(causes: list[BaseException]) -> bool:
    from yt_dlp.networking.exceptions import HTTPError, TransportError

    for cause in causes:
        if isinstance(cause, HTTPError):
            return cause.status == 429 or cause.status >= 500
    return any(isinstance(cause, TransportError | TimeoutError | ConnectionError) for cause in causes)


def _explain(error: BaseException, causes: list[BaseException]) -> Dropped:
    """The reason behind yt-dlp's error, with its own words as the detail."""
    from yt_dlp.networking.exceptions import HTTPError
    from yt_dlp.utils import GeoRestrictedError, UnsupportedError

    detail = str(error).removeprefix("ERROR: ").split("; please report this issue")[0]
    status = next((cause.status for cause in causes if isinstance(cause, HTTPError)), None)
    words = detail.lower()
    if any(isinstance(cause, GeoRestrictedError) for cause in causes) or status in (401, 403, 451):
        return Dropped(DropReason.GEO_OR_LOGIN, detail)
    if status is None and any(word in words for word in LOGIN_WORDS):
        return Dropped(DropReason.GEO_OR_LOGIN, detail)
    if any(isinstance(cause, UnsupportedError) for cause in causes) or any(word in words for word in NO_VIDEO_WORDS):
        return Dropped(DropReason.NOT_VIDEO, detail)
    return Dropped(DropReason.UNAVAILABLE, detail)
