"""Fetch one source, describe it, or expand it into the sources that it lists."""

from __future__ import annotations

import io
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stages.core.node_cache import NodeCache
from stages.core.reasons import TRANSIENT_REASONS, Dropped, DropReason
from stages.core.records import Row
from stages.core.storage import as_path, is_file, protocol_of
from stages.core.storage import size_of as file_size
from stages.crawl.addresses import (
    SHORT_HOSTS,
    entry_addresses,
    host_of,
    is_remote,
    names_one_video,
    split_item,
    split_login,
    video_page,
    without_password,
)
from stages.crawl.config import CrawlConfig
from stages.crawl.cookies import read_cookies
from stages.crawl.gate import Gate, HostGate
from stages.crawl.store import MediaStore, fetch_key
from stages.media import probe_media

if TYPE_CHECKING:
    from stages.crawl.http import Downloader, Visit

Found = TypeVar("Found")
Info = dict[str, Any]
_FORMATS = "bv*+ba/b/bv*"
_COLUMNS = {"format_id": "format_id", "title": "title", "uploader": "uploader", "id": "site_id"}
_COLUMNS |= {"webpage_url": "webpage_url", "upload_date": "upload_date"}
"""Our columns of a site's description, and yt-dlp's names for them."""
_MAX_CHARS = 2_000
_UNKEPT = frozenset(
    {
        *("url", "urls", "manifest_url", "fragments", "fragment_base_url", "http_headers", "cookies", "thumbnail"),
        *("thumbnails", "subtitles", "automatic_captions", "requested_subtitles", "requested_downloads", "heatmap"),
        *(
            "filename",
            "_filename",
            "filepath",
            "hls_media_playlist_data",
            "downloader_options",
            "request_data",
            "comments",
        ),
    }
)
"""Keys of yt-dlp's description that are signed, short-lived, private or ours."""


class Crawler:
    """Fetches one source.

    Args:
        folder: folder of fetched media, `<sha256>.<ext>`; an unfinished download stays in `partial/` and is resumed.
        gate: limits on requests shared with other workers; None applies the limits within this crawler alone.
        copies: cache of objects in a bucket; by default beside the media, if those are local.
    """

    def __init__(
        self, config: CrawlConfig, folder: Path, gate: Gate | None = None, copies: NodeCache | None = None
    ) -> None:
        self._config, self._gate = config, gate or HostGate(config)
        self._store = MediaStore(folder, copies or NodeCache(folder / "objects"))

    def __call__(self, row: Row) -> Row:
        """Find or fetch the media of `uri`.

        Raises:
            Dropped: LISTING with the column `entries`, if the address names several videos; UNAVAILABLE, RATE_LIMITED,
                FORBIDDEN, LOGIN_REQUIRED, GEO_BLOCKED, DELETED, OPTED_OUT, FORBIDDEN_ADDRESS, TOO_LONG, TOO_LARGE,
                NOT_VIDEO.
        """
        uri, expected = row["uri"], row.get("expect_sha256")
        if is_remote(uri):
            facts = self._remote(uri, row.get("expect_format_id"))
        else:
            facts, copy = self._store.in_place(uri, self._config.max_bytes)
            self._check_length(copy)
        compared = {"bytes_changed": facts["sha256"] != expected.lower()} if expected else {}
        return row | facts | compared

    def look(self, row: Row) -> Row:
        """What a fetch would give, as far as known: `title`, `duration_s`, `format_id`, `num_bytes`.

        Raises:
            Dropped: as a fetch.
        """
        uri = row["uri"]
        if is_remote(uri):
            described = self._with_retries(uri, row.get("expect_format_id"), None, lambda d: self._described(d, uri))
            return row | {column: value for column, value in described.items() if value is not None}
        path = as_path(uri)
        if not is_file(path):
            raise Dropped(DropReason.UNAVAILABLE, f"no such file: {path}")
        if protocol := protocol_of(uri):  # measuring its length would need a download
            return row | {"num_bytes": file_size(path), "extractor": protocol}
        self._check_length(path)
        facts = probe_media(path)
        return row | {"duration_s": facts.duration_s, "num_bytes": path.stat().st_size, "extractor": "local"}

    def _check_length(self, path: Path) -> None:
        try:
            duration_s = probe_media(path).duration_s
        except Dropped:  # probe will say why
            return
        if duration_s > self._config.max_duration_s:
            raise Dropped(DropReason.TOO_LONG, f"{duration_s:.0f} s > {self._config.max_duration_s:g}")

    def _remote(self, uri: str, format_id: str | None) -> Row:
        key = fetch_key(uri, format_id)
        with self._store.workspace(key) as partial:
            facts = self._store.receipt(key)
            if facts is None:
                try:
                    info, subtitles = self._with_retries(uri, format_id, partial, lambda d: self._fetched(d, uri))
                    fetched = Path(info["requested_downloads"][0]["filepath"])
                    self._check_length(fetched)
                except Dropped as dropped:
                    if dropped.reason not in TRANSIENT_REASONS:  # no later try will resume it
                        self._store.discard(key)
                    raise
                facts = self._store.keep(fetched, cleaned(info), subtitles) | _named(info)
                self._store.sign(key, facts)
            self._store.discard(key)
        return facts

    def _with_retries(
        self, uri: str, format_id: str | None, partial: Path | None, use: Callable[[Downloader], Found]
    ) -> Found:
        """The result of `use` with yt-dlp, retried after transient faults; holds one of the host's places."""
        from yt_dlp.utils import YoutubeDLError

        from stages.crawl.errors import causes_of, disk_trouble, explain, may_pass
        from stages.crawl.http import Downloader, Visit

        host, (address, header) = host_of(uri), split_login(uri)
        login = (address.split("/")[2].split("?")[0].lower(), header) if header else None
        with self._place(host) as lease:
            for attempt in range(self._config.retries + 1):
                visit = Visit(self._config, self._gate, lease, login=login)
                try:
                    with Downloader(self._options(uri, format_id, partial, visit), visit) as downloader:
                        return use(downloader)
                except YoutubeDLError as error:
                    causes = causes_of(error)
                    if trouble := disk_trouble(causes):
                        raise trouble from error
                    dropped = explain(error, causes)
                    if not may_pass(causes, dropped.reason) or attempt == self._config.retries:
                        raise dropped from error
                    if dropped.reason == DropReason.RATE_LIMITED:
                        self._gate.penalise(host, None)
                self._nap(self._config.retry_wait_s * 2**attempt, lease)
        raise AssertionError("unreachable: the last attempt returns or raises")

    @contextmanager
    def _place(self, host: str) -> Iterator[str]:
        lease = uuid.uuid4().hex
        while (wait_s := self._gate.enter(host, lease)) > 0:
            time.sleep(wait_s)
        try:
            yield lease
        finally:
            self._gate.leave(host, lease)

    def _nap(self, wait_s: float, lease: str) -> None:
        time.sleep(wait_s * (1 + self._config.host_jitter * random.random()))  # noqa: S311
        self._gate.renew(lease)

    def _found(self, downloader: Downloader, uri: str) -> Info:
        """Description of the one video behind an address, with its chosen format; refuses one that is too long."""
        page, item = split_item(split_login(uri)[0])  # yt-dlp quotes addresses in titles and errors
        if host_of(page) in SHORT_HOSTS:
            with downloader.urlopen(page) as answer:
                page = answer.url
        page = video_page(page)
        try:
            info: Any = downloader.extract_info(page, download=False)
        except ValueError as error:  # a malformed address, of the manifest or of the page
            raise Dropped(DropReason.UNAVAILABLE, f"cannot be read: {error}") from error
        if info is not None and info.get("_type") in ("playlist", "multi_video"):
            if item is None:
                self._expand(info, uri)
            info = next(iter(info.get("entries") or ()), None)
        if info is None or info.get("_type", "video") != "video":
            raise Dropped(DropReason.NOT_VIDEO, "the page lists no such video")
        if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
            raise Dropped(DropReason.UNAVAILABLE, "a live stream, not a video yet")
        duration_s, num_bytes = info.get("duration"), size_of(info)
        if duration_s is not None and duration_s > self._config.max_duration_s:
            raise Dropped(DropReason.TOO_LONG, f"{duration_s:.0f} s > {self._config.max_duration_s:g}")
        if num_bytes is not None and num_bytes > self._config.max_bytes:
            raise Dropped(DropReason.TOO_LARGE, f"{num_bytes} bytes > {self._config.max_bytes}")
        return info

    def _described(self, downloader: Downloader, uri: str) -> Row:
        from yt_dlp.networking.common import HEADRequest
        from yt_dlp.networking.exceptions import HTTPError, TransportError

        info = self._found(downloader, uri)
        num_bytes = size_of(info)
        if num_bytes is None and info.get("protocol") in ("http", "https"):
            try:
                request: Any = HEADRequest(info["url"], headers=info.get("http_headers"))
                with downloader.urlopen(request) as answer:
                    num_bytes = int(answer.headers.get("Content-Length") or 0) or None
            except (HTTPError, TransportError, ValueError):  # sites without HEAD: the size stays unknown
                num_bytes = None
        return {"duration_s": info.get("duration"), "num_bytes": num_bytes} | _named(info)

    def _expand(self, info: Info, uri: str) -> None:
        entries = entry_addresses(info, uri)
        cut = len(entries) > self._config.max_entries
        entries = entries[: self._config.max_entries]
        if not entries:
            raise Dropped(DropReason.NOT_VIDEO, "the page lists no video")
        detail = f"expanded to {len(entries)} sources" + (", the first of more" if cut else "")
        raise Dropped(DropReason.LISTING, detail, {"entries": entries} | _named(info))

    def _fetched(self, downloader: Downloader, uri: str) -> tuple[Info, dict[str, Path]]:
        """yt-dlp's description of a video that it has fetched, and its subtitles."""
        found: Any = self._found(downloader, uri)
        info: Any = downloader.process_ie_result(found, download=True)
        downloads = info.get("requested_downloads") or [{}]
        if not Path(downloads[0].get("filepath", "")).is_file():  # yt-dlp skips files over its limit
            raise Dropped(DropReason.TOO_LARGE, f"more than {self._config.max_bytes} bytes")
        requested: Any = info.get("requested_subtitles") or {}
        subtitles = {language: Path(entry["filepath"]) for language, entry in requested.items() if "filepath" in entry}
        described: Any = downloader.sanitize_info(info)
        return described, {name: path for name, path in subtitles.items() if path.is_file()}

    def _watch(self, visit: Visit, state: Info) -> None:
        """Called by yt-dlp as bytes come in."""
        visit.during()
        if (state.get("downloaded_bytes") or 0) > visit.limit_bytes:
            Path(state.get("tmpfilename") or state["filename"]).unlink(missing_ok=True)
            raise Dropped(DropReason.TOO_LARGE, f"more than {visit.limit_bytes} bytes")

    def _options(self, uri: str, format_id: str | None, partial: Path | None, visit: Visit) -> Any:
        import imageio_ffmpeg

        config = self._config
        item = split_item(uri)[1]
        wanted = f"{format_id}/{_FORMATS}" if format_id and re.fullmatch(r"[\w.+-]+", format_id) else _FORMATS
        return {
            "cachedir": False,
            "color": {"stdout": "never", "stderr": "never"},
            "continuedl": True,
            "cookiefile": _cookies(config.cookies_file),
            "external_downloader": {"default": "native"},
            # Downloads that yt-dlp leaves to ffmpeg would bypass our connections, so ffmpeg gets no network.
            "external_downloader_args": {"ffmpeg_i": ["-protocol_whitelist", "file"]},
            "extract_flat": "in_playlist",
            "extractor_retries": config.retries,
            "ffmpeg_location": imageio_ffmpeg.get_ffmpeg_exe(),
            "format": wanted,
            "format_sort": [f"res:{config.max_height_px}", "ext:mp4:m4a"],
            "fragment_retries": config.retries,
            "logger": _Silence(),
            "max_filesize": config.max_bytes,
            "merge_output_format": "mp4/mkv",
            "noplaylist": names_one_video(uri),
            "noprogress": True,
            # Named by format too: a partial file of one format must not be continued with another.
            "outtmpl": {"default": f"{partial or '.'}".replace("%", "%%") + "/media.%(format_id).40s.%(ext)s"},
            "playlist_items": str(item) if item else f"1:{config.max_entries + 1}",
            "progress_hooks": [lambda state: self._watch(visit, state)],
            "proxy": config.proxy or "",
            "retries": config.retries,
            "socket_timeout": config.timeout_s,
            "subtitlesformat": "vtt/srt/best",
            "subtitleslangs": [*config.subtitles, "-danmaku"],
            "writesubtitles": bool(config.subtitles),
        }


class _Silence:
    """Discards yt-dlp's log: errors come as exceptions."""

    def debug(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None: ...


def _cookies(path: str | None) -> io.StringIO | None:
    """The cookies in memory: yt-dlp would write the site's cookies to the file, which all workers share."""
    return None if path is None else io.StringIO(read_cookies(path))


def _named(info: Info) -> Row:
    found = {column: str(info[name])[:_MAX_CHARS] for name, column in _COLUMNS.items() if info.get(name)}
    columns = {column: without_password(text) for column, text in found.items()}
    return columns | {"extractor": str(info.get("extractor") or "generic").lower()}


def size_of(info: Info) -> int | None:
    """Bytes of the formats chosen, exact or as estimated by the site or from the bit rate."""
    total = 0.0
    for chosen in info.get("requested_formats") or [info]:
        size = chosen.get("filesize") or chosen.get("filesize_approx")
        if size is None and chosen.get("tbr") and info.get("duration"):
            size = chosen["tbr"] * 125 * info["duration"]  # kbit/s
        if size is None:
            return None
        total += size
    return round(total)


def cleaned(info: Any) -> Any:
    """yt-dlp's description of a video without keys that are signed, short-lived, private or ours."""
    if isinstance(info, dict):
        return {key: cleaned(value) for key, value in info.items() if key not in _UNKEPT and not key.startswith("_")}
    if isinstance(info, list | tuple):
        return [cleaned(value) for value in info]
    return without_password(info) if isinstance(info, str) else info
