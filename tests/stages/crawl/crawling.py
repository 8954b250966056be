"""Crawls of the loopback site, quick and allowed to go there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.core.reasons import Dropped
from stages.crawl import CrawlConfig, Crawler
from tests.stages.crawl.video_site import Handler

Route = Callable[[Handler, int], None]


def quick(**changes: object) -> CrawlConfig:
    fast = {"retries": 2, "retry_wait_s": 0.01, "timeout_s": 20.0, "host_interval_s": 0.0, "backoff_s": 0.05}
    return CrawlConfig(**fast | {"allow_private_addresses": True} | changes)  # pyright: ignore


def drop_of(crawler: Crawler, uri: str) -> Dropped:
    with pytest.raises(Dropped) as dropped:
        crawler({"uri": uri, "source_id": "t"})
    return dropped.value


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
