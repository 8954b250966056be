"""Cookies that browsers' extensions export as JSON reach the site, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.crawl import Crawler, check_crawl_config
from tests.stages.crawl.crawling import quick
from tests.stages.crawl.video_site import Site

MINE = {"domain": "127.0.0.1", "name": "SESSDATA", "value": "me", "path": "/", "hostOnly": True, "secure": False}
OTHER = {"domain": ".other.test", "name": "SESSDATA", "value": "not-yours"}


@pytest.mark.parametrize(
    "content",
    [
        [MINE | {"expirationDate": 4e9 + 0.5, "httpOnly": True, "sameSite": "lax"}, OTHER],
        [MINE | {"session": True}, OTHER],
        {"cookies": [MINE | {"expires": -1}, OTHER], "origins": []},
    ],
)
def test_cookies_as_json_are_sent_to_their_site(tmp_path: Path, site: Site, content: Any) -> None:
    path = tmp_path / "cookies.json"
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    config = quick(cookies_file=str(path))
    check_crawl_config(config)
    Crawler(config, tmp_path / "media")({"uri": f"{site.address}/talk.mp4"})
    assert {asked.cookie for asked in site.asked} == {"SESSDATA=me"}
