"""Cookies of a browser, as extensions export them: Netscape's format, or JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HEADER = "# Netscape HTTP Cookie File\n"


def read_cookies(path: str) -> str:
    """The cookies of a file in Netscape's format, which yt-dlp reads.

    JSON is a list of cookies, or a mapping with the key `cookies`, as Playwright stores them.

    Raises:
        ValueError: the file is not UTF-8, or JSON without cookies.
    """
    text = Path(path).read_text(encoding="utf-8-sig")
    if not text.lstrip().startswith(("[", "{")):
        return text
    found: Any = json.loads(text)
    cookies = found.get("cookies") if isinstance(found, dict) else found
    if not isinstance(cookies, list) or not cookies:
        raise ValueError("its JSON is no list of cookies")
    return HEADER + "".join(_line(cookie) for cookie in cookies)


def _line(cookie: Any) -> str:
    if not isinstance(cookie, dict) or not all(isinstance(cookie.get(key), str) for key in ("domain", "name", "value")):
        raise ValueError("a cookie of its JSON lacks domain, name or value")
    host = cookie["domain"].lstrip(".")
    whole = not cookie.get("hostOnly", not cookie["domain"].startswith("."))
    until = cookie.get("expirationDate", cookie.get("expires"))
    until_s = max(0, int(until)) if isinstance(until, int | float) and abs(until) < 1e12 else 0  # 0: of this session
    fields = (
        f".{host}" if whole else host,
        "TRUE" if whole else "FALSE",
        str(cookie.get("path") or "/"),
        "TRUE" if cookie.get("secure") else "FALSE",
        str(until_s),
        cookie["name"],
        cookie["value"],
    )
    if any(not field.isprintable() for field in fields):
        raise ValueError("a cookie of its JSON has control characters")
    return "\t".join(fields) + "\n"
