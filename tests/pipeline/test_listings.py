"""A feed on a real site, through the whole run: its entries become sources, and a rerun asks for what is left only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.known.media_files import steady, tone, write_media
from pipeline import run
from tests.runs import ONE_WORKER, command
from tests.stages.crawl.video_site import Site, open_site

QUICK = (
    *("crawl.allow_private_addresses=true", "crawl.retries=0", "crawl.retry_wait_s=0.01"),
    *("crawl.host_interval_s=0", "crawl.backoff_s=0.05"),
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A feed of three: a video, one that is gone, and one whose server is down at first."""
    folder = tmp_path / "site"
    folder.mkdir()
    write_media(folder / "talk.mp4", steady(50), sound=tone(2.0))
    write_media(folder / "later.mp4", steady(60), sound=tone(2.4))
    with open_site(folder) as opened:
        names = ("talk", "gone", "later")
        items = "".join(f"<item><title>{n}</title><link>{opened.address}/{n}.mp4</link></item>" for n in names)
        (folder / "feed.rss").write_text(
            f'<?xml version="1.0"?><rss version="2.0"><channel><title>Feed</title>{items}</channel></rss>'
        )
        opened.routes["/later.mp4"] = lambda handler, number: handler.answer(503)
        yield opened


def _run(tmp_path: Path, *more: str) -> dict[str, str]:
    """Drop reason by the address's last part."""
    assert run.main(command(tmp_path / "m.yaml", tmp_path / "out", *QUICK, *ONE_WORKER, *more)) == 0
    ledger = pd.read_parquet(tmp_path / "out" / "ledger.parquet")
    return {uri.rsplit("/", 1)[1]: reason for uri, reason in zip(ledger.uri, ledger.drop_reason, strict=True)}


def test_a_feed_becomes_sources_once(tmp_path, site, shared_ray, capsys):
    (tmp_path / "m.yaml").write_text(f"- {{uri: {site.address}/feed.rss, licence: CC-BY-4.0}}")
    assert _run(tmp_path) == {
        "feed.rss": "listing",
        "talk.mp4": "low_resolution",
        "gone.mp4": "deleted",
        "later.mp4": "unavailable",
    }
    ledger = pd.read_parquet(tmp_path / "out" / "ledger.parquet")
    assert set(ledger.licence) == {"CC-BY-4.0"} and ledger.parent_id.notna().sum() == 3
    asked = site.num_asked("/feed.rss"), site.num_asked("/talk.mp4")
    del site.routes["/later.mp4"]
    assert _run(tmp_path)["later.mp4"] == "low_resolution"
    assert "3 sources are done already; 1 to do" in capsys.readouterr().out
    assert (site.num_asked("/feed.rss"), site.num_asked("/talk.mp4")) == asked


def test_a_look_ahead_fetches_nothing_and_leaves_no_settings(tmp_path, site, capsys):
    (tmp_path / "m.yaml").write_text(f"- {site.address}/feed.rss")
    assert run.main(command(tmp_path / "m.yaml", tmp_path / "out", *QUICK, "run.mode=metadata")) == 0
    assert "What would be fetched" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["preview.jsonl"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "preview.jsonl").read_text().splitlines()]
    found = {line["uri"].rsplit("/", 1)[1]: line.get("reason") for line in lines}
    assert found == {"feed.rss": "listing", "talk.mp4": None, "gone.mp4": "deleted", "later.mp4": "unavailable"}
