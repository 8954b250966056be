"""Media on the local disk: local files are used in place, others are fetched by yt-dlp."""

from stages.crawl.addresses import host_of, is_remote, is_search, split_item, without_password
from stages.crawl.config import CHANGES_RESULTS, CrawlConfig, check_crawl_config
from stages.crawl.crawler import Crawler
from stages.crawl.gate import Gate, HostGate
from stages.crawl.store import files_of

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
    "without_password",
]
