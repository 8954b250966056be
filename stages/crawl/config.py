"""Settings of the crawl."""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from typing import Any

from stages.core.ranges import ranged
from stages.core.settings import ConfigError
from stages.crawl.addresses import HIDDEN
from stages.crawl.cookies import read_cookies


@dataclass(frozen=True)
class CrawlConfig:
    """Settings of the crawl. The keys of `CHANGES_RESULTS` change the data set; the others may change at any time."""

    # Largest shorter side that is fetched, where a site offers a choice. The crop is 256 px, so more costs decoding and
    # adds nothing
    max_height_px: int = ranged(1080, low=1)
    # Largest length of a video. Videos of over four hours are streams recorded whole
    max_duration_s: float = ranged(14_400.0, above=0)
    max_bytes: int = 4 * 1024**3  # Largest size of a file
    # Largest number of entries of one playlist, page or search. A large user page has some thousand
    max_entries: int = ranged(10_000, low=1)
    honour_opt_out: bool = True  # Drop what its site opts out by X-Robots-Tag: noai, noimageai or none
    # Subtitles to fetch, by yt-dlp's names, as regular expressions. ai-zh is Bilibili's own ASR
    subtitles: tuple[str, ...] = ("zh.*", "ai-zh")
    # Cookies file in Netscape format or JSON, for sites that show full quality to members only
    cookies_file: str | None = None
    # User agent. None: that of the browser that yt-dlp imitates
    user_agent: str | None = "Mozilla/5.0 (compatible; kouxing/0.1)"
    # Address of a proxy, http(s):// or socks5://. The environment's is not used. Its password is not stored: give the
    # address again with each run
    proxy: str | None = None
    allow_private_addresses: bool = False  # Allow loopback, home and link-local networks, also by redirect
    retries: int = 3  # Retries of a request, a fragment and a whole source, after transient errors
    retry_wait_s: float = 1.0  # Wait before the first retry, doubled each time
    timeout_s: float = ranged(20.0, above=0)  # Time without a byte after which a connection fails
    max_fetch_s: float = 7_200.0  # Time limit of one try. 7,200 s fetch 4 GiB at 600 kB/s
    max_page_bytes: int = 64 * 1024**2  # Largest size of a page or playlist, unpacked. Real ones stay below 5 MB
    host_concurrency: int = ranged(2, low=1)  # Sources fetched at a time from one host, over all workers
    # Least time between two requests to a host. Bilibili and Douyin throttle at a few a second
    host_interval_s: float = 0.5
    host_jitter: float = 0.5  # Random part added to a wait, as a share of it. Workers in step look like an attack
    # Time without requests to a host after its first 412 or 429, doubled each time; Retry-After if longer
    backoff_s: float = 10.0
    max_backoff_s: float = 1_800.0  # Largest time without requests to a host. Bilibili lifts a 412 within half an hour
    # Longest wait for a host. After it the host is given up for this run, and its sources are rate_limited
    max_wait_s: float = 600.0
    lease_s: float = ranged(120.0, above=0)  # Silence after which a worker counts as dead and its place is given away


CHANGES_RESULTS = ("max_height_px", "max_duration_s", "max_bytes", "max_entries", "honour_opt_out")
"""Keys that enter the config hash."""


def check_crawl_config(config: CrawlConfig) -> None:
    """Check settings that would fail at every source.

    Raises:
        ConfigError: a number out of range, a bad pattern, a proxy without its password, or a cookies file that cannot
            be used.
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
    if config.proxy and f":{HIDDEN}@" in config.proxy:
        raise ConfigError(f"crawl.proxy={config.proxy}: its password is not stored; give crawl.proxy again, or =null")
    if config.cookies_file is not None:
        _check_cookies(config.cookies_file)


def _check_cookies(path: str) -> None:
    from http.cookiejar import LoadError

    from yt_dlp.cookies import YoutubeDLCookieJar

    if not os.path.isfile(path):  # noqa: PTH113 - never raises
        raise ConfigError(f"crawl.cookies_file={path}: no such file")
    way_out = "export it in Netscape format (first line '# Netscape HTTP Cookie File') or as JSON"
    try:
        text: Any = io.StringIO(read_cookies(path))
        jar = YoutubeDLCookieJar(text)
        jar.load()
    except OSError as error:
        if not isinstance(error, LoadError):
            raise ConfigError(f"crawl.cookies_file={path} cannot be read: {error}") from error
        raise ConfigError(f"crawl.cookies_file={path} is no cookies file: {way_out}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"crawl.cookies_file={path} is no text file") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"crawl.cookies_file={path} is no cookies file ({error}): {way_out}") from error
    if not len(jar):
        raise ConfigError(f"crawl.cookies_file={path} holds no cookie")
