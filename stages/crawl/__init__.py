"""Media onto the local disk: what is there already is used in place, the rest comes through yt-dlp."""

from stages.crawl._addresses import host_of, is_remote, is_search, split_item
from stages.crawl._config import CHANGES_RESULTS, CrawlConfig, check_crawl_config
from stages.crawl._crawler import Crawler
from stages.crawl._gate import Gate, HostGate
from stages.crawl._store import files_of

__all__ = [
    "CHANGES_RESULTS",
    "CrawlConfig",
    "Crawler",
    "Gate",
    "HostGate",
    "check_crawl_config",
    "files_of",
    "host_of",
    "is_remote",
    "is_search",
    "split_item",
]
