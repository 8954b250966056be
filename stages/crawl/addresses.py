"""What an address names: a host, a search, one item of a page; and whether it may be asked."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

_SEARCH = re.compile(r"(bilisearch|ytsearch(?:date)?|nicosearch(?:date)?|gvsearch|yvsearch)(?:[1-9]\d*|all)?:\s*\S")
_ITEM = re.compile(r"#kouxing-item=([1-9]\d*)$")
_DOUYIN = re.compile(r"https?://(?:www\.)?(?:ies)?douyin\.com/(?:share/video/|[^?#]*\?(?:[^#]*&)?modal_id=)(\d+)")
SHORT_HOSTS = ("v.douyin.com",)
"""Hosts of share links whose target yt-dlp does not know as it is."""
_MAX_CHARS = 4_096
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_search(uri: str) -> bool:
    """Whether yt-dlp would search a site for it: `bilisearch10:口型`."""
    return _SEARCH.match(uri) is not None


def is_remote(uri: str) -> bool:
    """Whether it is fetched: an http(s) address or a search; else it is a path."""
    return re.match(r"https?://", uri) is not None or is_search(uri)


def host_of(uri: str) -> str:
    """The host that an address asks, in lower case; for a search its name."""
    search = _SEARCH.match(uri)
    if search:
        return search[1]
    try:
        return (urlsplit(uri).hostname or "").rstrip(".")
    except ValueError:  # a bracket out of place
        return ""


def split_item(uri: str) -> tuple[str, int | None]:
    """The page of an address, and which of its videos is meant, counted from 1, if it says so."""
    item = _ITEM.search(uri)
    return (uri[: item.start()], int(item[1])) if item else (uri, None)


def video_page(uri: str) -> str:
    """The page that yt-dlp knows of a Douyin video shared or opened in another way; any other address as it is."""
    shown = _DOUYIN.match(uri)
    return f"https://www.douyin.com/video/{shown[1]}" if shown else uri


def names_one_video(uri: str) -> bool:
    """Whether an address names a video and, beside it, the list it was watched in: YouTube's `watch?v=X&list=Y`."""
    query = parse_qs(uri.partition("?")[2].partition("#")[0])
    return "v" in query and "list" in query


def entry_addresses(info: dict[str, Any], page: str) -> list[str]:
    """Addresses of what a page lists, each once and in order.

    A video that has no page of its own is named by its place: `PAGE#kouxing-item=2`. What is not http(s) is left out,
    and so is the page itself.
    """
    found: dict[str, None] = {}
    for number, entry in enumerate(info.get("entries") or (), start=1):
        if entry is None:
            continue
        own = entry.get("url") if entry.get("_type") in ("url", "url_transparent") else f"{page}#kouxing-item={number}"
        address = _unsmuggled(own) if isinstance(own, str) else ""
        if re.match(r"https?://", address) and address != page and len(address) <= _MAX_CHARS:
            found[address] = None
    return list(found)


def _unsmuggled(url: str) -> str:
    """Without what extractors of yt-dlp hand each other behind `#__youtubedl_smuggle`."""
    return url.split("#__youtubedl_smuggle", maxsplit=1)[0].strip()


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the open internet, whatever notation or tunnel hides it."""
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast
