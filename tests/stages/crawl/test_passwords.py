"""Passwords in addresses open what they should, and are stored nowhere."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.job.manifest import read_manifest
from pipeline.job.plan import STAGES
from pipeline.job.step import Runner
from pipeline.rules.config import Config
from stages.core.records import Row
from stages.core.weights import WeightStore
from stages.crawl import without_password
from tests.stages.crawl.crawling import quick
from tests.stages.crawl.video_site import Handler, Site

PASSWORD = "s3cret.word"  # noqa: S105
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="/?#@:\\", exclude_categories=["Z", "C"]), min_size=1)


def _crawled(tmp_path: Path, uri: str) -> list[Row]:
    (tmp_path / "list.yaml").write_text(f"- {json.dumps(uri)}")
    crawl = next(stage for stage in STAGES if stage.name == "crawl")
    config, weights = Config(crawl=quick(retries=0)), WeightStore(tmp_path)
    runner = Runner((crawl,), config, weights, tmp_path / "out", lambda event: None)
    return [row for source in read_manifest(tmp_path / "list.yaml") for row in runner.run(source)]


def _stored(tmp_path: Path) -> str:
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.suffix not in (".mp4", ".part")]
    return " ".join([*map(str, files), *(path.read_text(errors="replace") for path in files)])


@pytest.mark.parametrize("name", ["talk.mp4", "lost.mp4", "page.html", ""])
def test_a_password_is_used_and_not_stored(tmp_path: Path, site: Site, name: str) -> None:
    seen = []

    def guarded(handler: Handler, _: int) -> None:
        seen.append(handler.headers.get("Authorization"))
        handler.serve(f"/{name}")

    site.routes[f"/{name}"] = guarded
    (site.folder / "page.html").write_text(
        '<html><title>Two</title><body><video src="a.mp4"></video><video src="b.mp4"></video></body></html>'
    )
    rows = _crawled(tmp_path, site.address.replace("://", f"://me:{PASSWORD}@") + f"/{name}")
    assert "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode() in seen
    reason = {"talk.mp4": None, "lost.mp4": "deleted", "page.html": "listing", "": "deleted"}[name]
    assert [row.get("fault_reason") for row in rows] == [reason]
    assert rows[0]["uri"] == site.address.replace("://", "://me:***@") + f"/{name}"
    assert PASSWORD not in repr(rows) and PASSWORD not in _stored(tmp_path)


def test_a_password_goes_to_its_own_host_alone(tmp_path: Path, site: Site) -> None:
    seen = {}

    def away(handler: Handler, _: int) -> None:
        handler.answer(302, headers={"Location": site.address.replace("127.0.0.1", "localhost") + "/talk.mp4"})

    def there(handler: Handler, _: int) -> None:
        seen[handler.headers["Host"].split(":")[0]] = handler.headers.get("Authorization")
        handler.serve("/talk.mp4")

    site.routes |= {"/away.mp4": away, "/talk.mp4": there}
    _crawled(tmp_path, site.address.replace("://", f"://me:{PASSWORD}@") + "/away.mp4")
    assert seen == {"localhost": None}


def test_a_password_that_an_error_quotes_is_hidden(tmp_path: Path) -> None:
    (row,) = _crawled(tmp_path, f"http://me:{PASSWORD}@127.0.0.1:99999/a.mp4")
    assert row["fault_reason"] and PASSWORD not in repr(row)


SCHEMES = st.sampled_from(["http", "https", "socks5h", "ftp"])


@given(WORDS, WORDS, SCHEMES, st.text(max_size=9), st.text(max_size=9))
def test_a_password_is_hidden_wherever_it_stands(user, password, scheme, before, after) -> None:
    shown = without_password(f"{before} {scheme}://{user}:{password}@host.test/path {after}")
    assert f"{scheme}://{user}:***@host.test/path" in shown


@pytest.mark.parametrize(
    "text",
    [
        *("https://host.test:8080/a@b", "http://[::1]:80/x", "https://user@host.test/", "a: b@c", "/media/a:b@c.mp4"),
        *("https://host.test/?q=a:b@c", "https://host.test/#a:b@c", "bilisearch10:a:b@c"),
    ],
)
def test_what_is_no_password_stays(text: str) -> None:
    assert without_password(text) == text
