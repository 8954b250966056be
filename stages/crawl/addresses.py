"""Parts of an address: a host, a search, one item of a page; and whether it is public."""

from __future__ import annotations

import base64
import ipaddress
import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_SEARCH = re.compile(r"(bilisearch|ytsearch(?:date)?|nicosearch(?:date)?|gvsearch|yvsearch)(?:[1-9]\d*|all)?:\s*\S")
_ITEM = re.compile(r"#kouxing-item=([1-9]\d*)$")
_DOUYIN = re.compile(r"https?://(?:www\.)?(?:ies)?douyin\.com/(?:share/video/|[^?#]*\?(?:[^#]*&)?modal_id=)(\d+)")
SHORT_HOSTS = ("v.douyin.com",)
"""Hosts of share links whose target yt-dlp does not support directly."""
_MAX_CHARS = 4_096
HIDDEN = "***"
_LOGIN = re.compile(r"(https?://)([^/?#\s]*)@")
_PASSWORD = re.compile(r"(\b[A-Za-z][\w+.-]*://[^/?#\s:@]*):[^/?#\s]*@")
_SPECIAL_IPV4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by a provider's customers; holds Alibaba's metadata service, 100.100.100.200
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's host, in no registry: metadata and the agent's settings
            "169.254.0.0/16",  # link-local; holds most metadata services, 169.254.169.254
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; holds Oracle's metadata service, 192.0.0.192
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112, the sink of reverse names
            "192.52.193.0/24",  # multicast tunnels
            "192.88.99.0/24",  # 6to4 relays, deprecated
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
"""Source: IANA's registry of special-purpose IPv4 addresses (RFC 6890), multicast, and one platform's own address."""
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that IANA gives out. Outside lie loopback, unique local, link-local, site-local and multicast addresses, the
metadata services in them (fd00:ec2::254, fd20:ce::254), `::a.b.c.d`, and translation in a local network (RFC 8215)."""
_SPECIAL_IPV6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments
            "2001:db8::/32",  # documentation
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
"""Source: IANA's registry of special-purpose IPv6 addresses, as far as it lies in `_GLOBAL_UNICAST`."""
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_TEREDO = ipaddress.IPv6Network("2001::/32")
_CARRIERS = (_MAPPED, _NAT64, _SIX_TO_FOUR, _TEREDO)
_ISATAP = 0x00005EFE
_ISATAP_MASK = 0xFCFFFFFF  # without the bits that say whether the interface is universal, and whether a group
"""Bits 64 to 96 of an address that carries an IPv4 address within any network (RFC 5214, 6.1)."""


def is_search(uri: str) -> bool:
    """Whether an address is a search of yt-dlp, such as `bilisearch10:口型`."""
    return _SEARCH.match(uri) is not None


def is_remote(uri: str) -> bool:
    """Whether an address is fetched, as an http(s) address or a search; else it is a path."""
    return re.match(r"https?://", uri) is not None or is_search(uri)


def host_of(uri: str) -> str:
    """The host of an address, in lower case; for a search its name."""
    search = _SEARCH.match(uri)
    if search:
        return search[1]
    try:
        return (urlsplit(uri).hostname or "").rstrip(".")
    except ValueError:  # an unmatched bracket
        return ""


def without_password(text: str) -> str:
    """A text whose addresses show `***` in place of a password: `https://user:***@site.example/`."""
    return _PASSWORD.sub(rf"\1:{HIDDEN}@", text)


def split_login(uri: str) -> tuple[str, str | None]:
    """An address without `user:password@`, and the header `Authorization` that stands for it (RFC 7617)."""
    login = _LOGIN.match(uri)
    if login is None:
        return uri, None
    user, _, password = map(unquote, login[2].partition(":"))
    return login[1] + uri[login.end() :], "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def split_item(uri: str) -> tuple[str, int | None]:
    """The page of an address, and the number of its video, from 1, if the address has one."""
    item = _ITEM.search(uri)
    return (uri[: item.start()], int(item[1])) if item else (uri, None)


def video_page(uri: str) -> str:
    """The page that yt-dlp supports, for a Douyin video shared or opened in another way; other addresses unchanged."""
    shown = _DOUYIN.match(uri)
    return f"https://www.douyin.com/video/{shown[1]}" if shown else uri


def names_one_video(uri: str) -> bool:
    """Whether an address names a video and, beside it, the list it was watched in: YouTube's `watch?v=X&list=Y`."""
    query = parse_qs(uri.partition("?")[2].partition("#")[0])
    return "v" in query and "list" in query


def entry_addresses(info: dict[str, Any], page: str) -> list[str]:
    """Distinct addresses of a page's entries, in order.

    A video without its own page is named by its place: `PAGE#kouxing-item=2`. Entries that are not http(s) are left
    out, and so is the page itself. Passwords are hidden: entries are stored.
    """
    found: dict[str, None] = {}
    for number, entry in enumerate(info.get("entries") or (), start=1):
        if entry is None:
            continue
        own = entry.get("url") if entry.get("_type") in ("url", "url_transparent") else f"{page}#kouxing-item={number}"
        address = without_password(_unsmuggled(own)) if isinstance(own, str) else ""
        if re.match(r"https?://", address) and address != page and len(address) <= _MAX_CHARS:
            found[address] = None
    return list(found)


def _unsmuggled(url: str) -> str:
    """The address without data that yt-dlp's extractors pass behind `#__youtubedl_smuggle`."""
    return url.split("#__youtubedl_smuggle", maxsplit=1)[0].strip()


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the open internet, and so does every IPv4 address that it carries."""
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _SPECIAL_IPV4)
    if not all(is_public(str(ipaddress.IPv4Address(inner))) for inner in _carried(ip)):
        return False
    if any(ip in network for network in _CARRIERS):
        return True
    return ip in _GLOBAL_UNICAST and not any(ip in network for network in _SPECIAL_IPV6)


def _carried(ip: ipaddress.IPv6Address) -> list[int]:
    """The IPv4 addresses that an IPv6 address leads to: by translation, or at the far end of a tunnel."""
    number = int(ip)
    low = number & 0xFFFFFFFF
    carried = []
    if ip in _MAPPED or ip in _NAT64:
        carried.append(low)
    if ip in _SIX_TO_FOUR:
        carried.append(number >> 80 & 0xFFFFFFFF)
    if ip in _TEREDO:
        carried += [number >> 64 & 0xFFFFFFFF, low ^ 0xFFFFFFFF]  # the server, and the client with its bits inverted
    if number >> 32 & _ISATAP_MASK == _ISATAP:
        carried.append(low)
    return carried
