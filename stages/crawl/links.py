"""Addresses in what people write and apps share, and one address for each video."""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode, urlsplit

from stages.crawl.addresses import host_of, is_search

PLATFORMS = {
    "acfun.cn": "acfun",
    "b23.tv": "bilibili",
    "bilibili.com": "bilibili",
    "bilibili.tv": "bilibili",
    "chenzhongtech.com": "kuaishou",
    "douyin.com": "douyin",
    "iesdouyin.com": "douyin",
    "ixigua.com": "ixigua",
    "kuaishou.com": "kuaishou",
    "t.cn": "weibo",
    "tiktok.com": "tiktok",
    "vimeo.com": "vimeo",
    "weibo.cn": "weibo",
    "weibo.com": "weibo",
    "xhslink.com": "xiaohongshu",
    "xiaohongshu.com": "xiaohongshu",
    "youku.com": "youku",
    "youtu.be": "youtube",
    "youtube.com": "youtube",
}
"""Platform of each domain, with those of short links; any other domain is `web`."""
SHARE_HOSTS = frozenset({"b23.tv", "t.cn", "v.douyin.com", "v.kuaishou.com", "xhslink.com"})
"""Hosts of short links, whose paths name a video whatever the query says."""
BLANKS = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
INVISIBLE = "\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe0f\ufeff"
"""Zero-width characters, direction marks and byte-order marks, as the inside of a character class."""
_AROUND = "".join(re.findall(f"[{BLANKS}{INVISIBLE}]", "".join(map(chr, range(0x10000)))))
_UNSEEN = re.compile(f"[{INVISIBLE}]")
_WIDE_SCHEME = re.compile(r"[hｈ][tｔ]{2}[pｐ][sｓ]?(?=[:：]\s?[/／]{2})[:：]\s?[/／]{2}", re.IGNORECASE)
_NARROW = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if chr(code - 0xFEE0) not in "!\"'(),;<>[]`{|}~"}
"""Full-width letters, digits and marks that an address may hold, and their usual forms."""
_END = "\\s<>\"'，。、；！？（）【】《》「」『』“”‘’｜"
_URL = re.compile(rf"https?://(?:(?!(?<![=/:%?&])https?://)[^{_END}])+", re.IGNORECASE)
_DOMAINS = "|".join(re.escape(domain) for domain in PLATFORMS)
_BARE_URL = rf"(?://)?(?:[a-z0-9-]+\.)*(?:{_DOMAINS})/[!-~]+"
_BV = r"BV1[0-9A-Za-z]{9}"
_BARE = re.compile(rf"(?i:{_BARE_URL})|(?i:BV)1[0-9A-Za-z]{{9}}(?:\?p=\d+)?|(?i:av|ep|ss)[1-9]\d*")
_BARE_WITHIN = re.compile(rf"(?<![\w./@-])(?i:{_BARE_URL})|(?<![0-9A-Za-z_/=.-]){_BV}(?![0-9A-Za-z_])", re.ASCII)
_SEPARATORS = re.compile(rf"[{BLANKS},;，；、|｜]+")
_TRAILING = ".,;:!?)]`|"
_DOMAIN_LIKE = re.compile(
    r"(?:https?|file):|(?:www|m)\.[\w-]+\.|(?:[\w-]+\.)+(?:cn|com|net|org|tv|cc|me|io|edu|gov|hk|tw|jp)(?::\d+)?/",
    re.IGNORECASE,
)


class Unclear(ValueError):
    """A text of which it is not clear what its address is; the message says how to write it."""


def trimmed(text: str) -> str:
    """A text without the blanks, zero-width characters and byte-order marks around it."""
    return text.strip(_AROUND)


def platform_of_host(host: str) -> str | None:
    """Platform of a host or of the domain it lies in."""
    name = f".{host.lower()}"
    return next((platform for domain, platform in PLATFORMS.items() if name.endswith(f".{domain}")), None)


def find_addresses(text: str) -> list[str]:
    """The distinct addresses within a text as they stand there, in order; a missing scheme is added.

    Names of Bilibili's videos count: `BV...` anywhere, `av...`, `ep...` and `ss...` where they stand alone. Beside an
    address with its scheme, others count only if nothing else stands there.

    Raises:
        Unclear: the end of an address is not clear.
    """
    text = _UNSEEN.sub("", text)
    if any(match.group().lower() not in ("http://", "https://") for match in _WIDE_SCHEME.finditer(text)):
        text = _WIDE_SCHEME.sub(lambda match: match.group().replace(" ", ""), text.translate(_NARROW))
    found: dict[str, None] = {}
    rest, at, all_of_it = [], 0, trimmed(text)
    while match := _URL.search(text, at):
        address = _cut(match.group(), whole=match.group() == all_of_it)
        found[address] = None
        rest.append(text[at : match.start()])
        at = match.start() + len(address)
    rest.append(text[at:])
    tokens = [token for token in _SEPARATORS.split(" ".join(rest)) if token.strip(_TRAILING)]
    if all(_BARE.fullmatch(token) for token in tokens):
        bare = tokens
    else:
        bare = [] if found else [match.group() for match in _BARE_WITHIN.finditer(text)]
    return list(found | dict.fromkeys(_with_scheme(token.rstrip(_TRAILING)) for token in bare))


def _cut(address: str, whole: bool) -> str:
    """An address without the words that follow it unseparated."""
    scheme, host = re.match(r"(https?://)(?:[^/?#@]*@)?([^/?#:]*)", address, re.IGNORECASE).groups()  # type: ignore[union-attr]
    host = re.match(r"[\x21-\x7e]*", host).group()  # type: ignore[union-attr]
    if platform_of_host(host) is not None:
        kept = r"[!-~]+" if host.lower() in SHARE_HOSTS else r"(?:[!-~]|(?<=[=@])[^\x00-\x7f]+)+"
        start = re.match(kept, address).group()  # type: ignore[union-attr]
        if not whole or host.lower() in SHARE_HOSTS or is_video_page(start):
            address = start
        address = re.split(rf"[,;]+(?={_BARE.pattern})|(?<=/)(?<!//)(?=(?i:https?)://)", address, maxsplit=1)[0]
    elif not whole and not address.rstrip(_TRAILING)[-1:].isascii():
        raise Unclear(
            f"it is not clear where {address[:80]!r} ends; put the address alone on its line, or in a cell of its own"
        )
    address = address.rstrip(_TRAILING)
    if len(address) <= len(scheme):
        raise Unclear(f"{address!r} names no host; write the whole address")
    return address


def _with_scheme(bare: str) -> str:
    if match := re.fullmatch(r"(bv|av)(\w+?)(\?p=\d+)?", bare, re.IGNORECASE):
        name = f"BV{match[2]}" if match[1].lower() == "bv" else f"av{match[2]}"
        return f"https://www.bilibili.com/video/{name}{match[3] or ''}"
    if match := re.fullmatch(r"(ep|ss)(\d+)", bare, re.IGNORECASE):
        return f"https://www.bilibili.com/bangumi/play/{match[1].lower()}{match[2]}"
    return f"https://{bare.removeprefix('//')}"


def is_bare(text: str) -> bool:
    """Whether a text is an address of a known platform without its scheme, or a name of a Bilibili video."""
    return _BARE.fullmatch(text) is not None


def looks_remote(text: str) -> bool:
    """Whether a text that is no address may have been meant as one: it begins with a scheme or a domain."""
    return _DOMAIN_LIKE.match(text.translate(_NARROW)) is not None


def path_of_file_address(address: str) -> str:
    """The path of `file:///a%20b.mp4`, `file://localhost/...` or `file:/...`.

    Raises:
        Unclear: the address names another machine, or no path from the root.
    """
    match = re.fullmatch(r"file:(?://(|localhost))?(/+[^/].*)", address, re.IGNORECASE | re.DOTALL)
    if match is None or (match[1] is None and match[2].startswith("//")):
        raise Unclear(f"{address[:80]!r} is no path on this machine; write file:///... or the path itself")
    return "/" + os.fsdecode(unquote_to_bytes(match[2].lstrip("/")))


def canonical(address: str) -> str:
    """The address of a video that all its links lead to, as far as it can be known without asking the site.

    A part of a video (`?p=2`), and what a site asks for before it shows a video, stay. Addresses of unknown sites only
    get their scheme and host in lower case.
    """
    if is_search(address):
        return address
    address = re.sub(r"^https?://[^/?#]*", lambda start: _lower_host(start.group()), address, flags=re.IGNORECASE)
    return _page(address) or address


def is_video_page(address: str) -> bool:
    """Whether an address names one video of a platform by its id."""
    page = _page(canonical(address))
    return page is not None and host_of(page) not in SHARE_HOSTS


def _page(address: str) -> str | None:
    """The page of a video or short link of a known platform; None for all else."""
    host = host_of(address)
    platform = platform_of_host(host)
    if platform is None or "#kouxing-item=" in address:
        return None
    parts = urlsplit(address)
    path, query = parts.path.rstrip("/"), dict(parse_qsl(parts.query))
    if host in SHARE_HOSTS:
        name = path.lstrip("/")
        if host == "b23.tv" and is_bare(name):
            part = f"?p={query['p']}" if "p" in query else ""
            return canonical(_with_scheme(name) + part)
        return f"{parts.scheme}://{host}{path}{'/' if parts.path.endswith('/') else ''}"
    return _PAGES[platform](host, path, query) if platform in _PAGES else None


def same_video(address: str) -> str:
    """A text that is equal for all addresses of one video; its first part and the whole of it stay apart."""
    found = re.sub(r"[?&]xsec_\w+=[^&#]*", "", canonical(address))
    host = re.match(r"https?://([^/?#]*)", found)
    if host and (host[1] in SHARE_HOSTS or platform_of_host(host[1])):
        return found.partition("://")[2].rstrip("/")
    return found


def _lower_host(start: str) -> str:
    scheme, _, place = start.partition("://")
    user, at, host = place.rpartition("@")
    return f"{scheme.lower()}://{user}{at}{host.lower()}"


def _bilibili(host: str, path: str, query: dict[str, str]) -> str | None:
    if host == "player.bilibili.com" and (name := query.get("bvid") or (f"av{query['aid']}" if "aid" in query else "")):
        path, query = f"/video/{name}", {"p": query.get("p") or query.get("page") or ""}
    if match := re.fullmatch(rf"(?:/s)?/video/(?:(?i:BV)({_BV[2:]})|(?i:av)([1-9]\d*))", path):
        name = f"BV{match[1]}" if match[1] else bv_of(int(match[2]))
        part = query.get("p", "")
        return f"https://www.bilibili.com/video/{name}{f'?p={int(part)}' if part.isdecimal() and int(part) else ''}"
    if match := re.fullmatch(r"/bangumi/play/((?:ep|ss)\d+)", path):
        return f"https://www.bilibili.com/bangumi/play/{match[1]}"
    return None


def bv_of(av: int) -> str:
    """Bilibili's newer name of a video, from its number; the number itself where there is none."""
    if av >= 1 << 51:
        return f"av{av}"
    alphabet = "FcwAPNKTMug3GV5Lj7EJnHpWsx4tb8haYeviqBz6rkCy12mUSDQX9RdoZf"
    number, digits = ((1 << 51) | av) ^ 23442827791579, []
    while number:
        number, digit = divmod(number, 58)
        digits.append(alphabet[digit])
    name = list("".join(reversed(digits)).rjust(9, alphabet[0]))
    name[0], name[6] = name[6], name[0]
    name[1], name[4] = name[4], name[1]
    return f"BV1{''.join(name)}"


def _douyin(_host: str, path: str, query: dict[str, str]) -> str | None:
    match = re.fullmatch(r"(?:/share)?/video/(\d+)", path)
    video = match[1] if match else query.get("modal_id", "")
    return f"https://www.douyin.com/video/{video}" if video.isdecimal() else None


def _youtube(host: str, path: str, query: dict[str, str]) -> str | None:
    named = re.fullmatch(r"/(?:shorts|embed|live|v)/([\w-]{11})", path)
    if host == "youtu.be":
        video = path.lstrip("/")
    else:
        video = named[1] if named else query.get("v", "") if path == "/watch" else ""
    return f"https://www.youtube.com/watch?v={video}" if re.fullmatch(r"[\w-]{11}", video, re.ASCII) else None


def _xiaohongshu(_host: str, path: str, query: dict[str, str]) -> str | None:
    match = re.fullmatch(r"/(?:explore|discovery/item)/([\da-f]+)", path)
    if match is None:
        return None
    tokens = urlencode({key: value for key, value in query.items() if key.startswith("xsec_")})
    return f"https://www.xiaohongshu.com/explore/{match[1]}{f'?{tokens}' if tokens else ''}"


def _kuaishou(_host: str, path: str, _query: dict[str, str]) -> str | None:
    match = re.fullmatch(r"/(?:short-video|fw/photo)/(\w+)", path)
    return f"https://www.kuaishou.com/short-video/{match[1]}" if match else None


def _weibo(host: str, path: str, query: dict[str, str]) -> str | None:
    shown = query.get("fid", "") if host == "video.weibo.com" and path == "/show" else path.removeprefix("/tv/show/")
    if re.fullmatch(r"\d+:\w+", shown):
        return f"https://weibo.com/tv/show/{shown}"
    return f"https://{host}{path}" if re.fullmatch(r"/(?:status|detail|\d+)/\w+", path) else None


def _tiktok(_host: str, path: str, _query: dict[str, str]) -> str | None:
    return f"https://www.tiktok.com{path}" if re.fullmatch(r"/@[\w.-]*/video/\d+", path) else None


_PAGES = {
    "bilibili": _bilibili,
    "douyin": _douyin,
    "kuaishou": _kuaishou,
    "tiktok": _tiktok,
    "weibo": _weibo,
    "xiaohongshu": _xiaohongshu,
    "youtube": _youtube,
}
"""For each platform, the page of a video by the host, path and query of an address; None for what is no video."""
