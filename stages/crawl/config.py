"""How to crawl."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from stages.core.ranges import ranged
from stages.core.settings import ConfigError


@dataclass(frozen=True)
class CrawlConfig:
    """How to fetch. The keys of `CHANGES_RESULTS` say what a data set consists of; the rest may change any time."""

    # of the shorter side; the crop is 256 px: more costs decoding and gives nothing
    max_height_px: int = ranged(1080, low=1)
    max_duration_s: float = ranged(14_400.0, above=0)  # four hours: longer ones are streams recorded whole
    max_bytes: int = 4 * 1024**3
    max_entries: int = ranged(10_000, low=1)  # of one playlist, page or search; a large user page has some thousand
    honour_opt_out: bool = True  # X-Robots-Tag: noai, noimageai or none
    subtitles: tuple[str, ...] = ("zh.*", "ai-zh")  # yt-dlp's names, regular expressions; ai-zh is Bilibili's own ASR
    cookies_file: str | None = None  # Netscape format; for sites that show full quality to members only
    user_agent: str | None = "Mozilla/5.0 (compatible; kouxing/0.1)"  # None: the browser that yt-dlp plays
    proxy: str | None = None  # http(s):// or socks5://; the environment's is not used
    allow_private_addresses: bool = False  # loopback, home and link-local networks, also by redirect
    retries: int = 3  # of a request, a fragment and the whole, after transient errors
    retry_wait_s: float = 1.0  # before the first retry, doubled each time
    timeout_s: float = ranged(20.0, above=0)  # without a byte
    max_fetch_s: float = 7_200.0  # of one try; 4 GiB at 600 kB/s
    max_page_bytes: int = 64 * 1024**2  # of a page or playlist, unpacked; real ones stay below 5 MB
    host_concurrency: int = ranged(2, low=1)  # sources at a time from one host, over all workers
    host_interval_s: float = 0.5  # between two requests to a host; Bilibili and Douyin throttle at a few a second
    host_jitter: float = 0.5  # share of a wait that is added at random: workers in step look like an attack
    backoff_s: float = 10.0  # rest of a host after its first 412 or 429, doubled each time; Retry-After if longer
    max_backoff_s: float = 1_800.0  # Bilibili lifts a 412 within half an hour
    max_wait_s: float = 600.0  # a host that rests longer is given up for this run: its sources are rate_limited
    lease_s: float = ranged(120.0, above=0)  # silence after which a worker counts as dead and its place is given away


CHANGES_RESULTS = ("max_height_px", "max_duration_s", "max_bytes", "max_entries", "honour_opt_out")
"""Keys that enter the config hash."""


def check_crawl_config(config: CrawlConfig) -> None:
    """Find what would fail at every source, before the first.

    Raises:
        ConfigError: a number out of range, a bad pattern, or a cookies file that cannot be used.
    """
    positive = ("max_height_px", "max_duration_s", "max_bytes", "max_entries", "timeout_s", "max_fetch_s")
    for name in (*positive, "max_page_bytes", "host_concurrency", "backoff_s", "lease_s"):
        if getattr(config, name) <= 0:
            raise ConfigError(f"crawl.{name}={getattr(config, name)}: must be above 0")
    for name in ("retries", "retry_wait_s", "host_interval_s", "host_jitter"):
        if getattr(config, name) < 0:
            raise ConfigError(f"crawl.{name}={getattr(config, name)}: must not be negative")
    for pattern in config.subtitles:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(f"crawl.subtitles: {pattern!r} is no regular expression: {error}") from error
    if config.cookies_file is not None:
        _check_cookies(config.cookies_file)


def _check_cookies(path: str) -> None:
    from http.cookiejar import LoadError

    from yt_dlp.cookies import YoutubeDLCookieJar

    if not os.path.isfile(path):  # noqa: PTH113 - never raises
        raise ConfigError(f"crawl.cookies_file={path}: no such file")
    try:
        jar = YoutubeDLCookieJar(path)
        jar.load()
    except OSError as error:
        if not isinstance(error, LoadError):
            raise ConfigError(f"crawl.cookies_file={path} cannot be read: {error}") from error
        way_out = "export it in Netscape format (first line '# Netscape HTTP Cookie File')"
        raise ConfigError(f"crawl.cookies_file={path} is no cookies file: {way_out}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"crawl.cookies_file={path} is no text file") from error
    if not len(jar):
        raise ConfigError(f"crawl.cookies_file={path} holds no cookie")
