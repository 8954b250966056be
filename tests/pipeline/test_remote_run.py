"""The main job with everything in a bucket: the list, the media and the data set; equal to the one made on a disk."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow.compute as pc
import pytest
import yaml

from benchmarks.known.media_files import steady, tone, write_media
from pipeline import finalize, report, run
from pipeline.job.parts import part_files
from stages.core.node_cache import NodeCache
from stages.core.reasons import Dropped, DropReason
from stages.core.storage import as_path, is_file, list_files, read_table, read_text, upload, write_text
from stages.crawl import CrawlConfig, Crawler
from tests.object_store import BUCKET, READER
from tests.runs import ONE_WORKER, command

NAMES = ("clean_astronaut_1", "no_audio")
OF_THE_PLACE = ["uri", "platform", "media_path", "extractor", "retrieved_at"]


@pytest.fixture(scope="module")
def media(store, corpus) -> Path:
    """Some of the corpus in a bucket."""
    folder = as_path(f"s3://{BUCKET}/corpus")
    listed = yaml.safe_load((corpus / "manifest.yaml").read_text())["sources"]
    sources = [source for source in listed if source["source_id"] in NAMES]
    write_text(folder / "manifest.yaml", yaml.safe_dump({"sources": sources}))
    for source in sources:
        upload(corpus / source["uri"], folder / source["uri"])
    return folder


@pytest.fixture(scope="module")
def out(media, shared_ray) -> Path:
    folder = as_path(f"s3://{BUCKET}/set")
    assert run.main(command(media / "manifest.yaml", folder, "run.strict=true", *ONE_WORKER)) == 0
    return folder


def _rows(out: Path) -> pd.DataFrame:
    """The ledger of these sources, less what tells where the media lay."""
    table = read_table(out / "ledger.parquet").filter(pc.field("source_id").isin(NAMES))
    return table.to_pandas().drop(columns=OF_THE_PLACE, errors="ignore")


def _shards(out: Path) -> list[dict]:
    rows = [row for file in list_files(out / "shards", "*.parquet") for row in read_table(file).to_pylist()]
    return [{key: value for key, value in row.items() if key not in OF_THE_PLACE} for row in rows]


def test_it_equals_the_run_on_a_disk(media, out, corpus_run):
    here = _rows(corpus_run)
    pd.testing.assert_frame_equal(_rows(out), here)
    assert set(here.verdict) == {"keep", "drop"}
    assert _shards(out) == _shards(corpus_run) != []
    assert set(read_table(out / "ledger.parquet")["uri"].to_pylist()) == {
        str(media / "videos" / f"{name}.mp4") for name in NAMES
    }


def test_a_second_run_has_nothing_to_do(media, out, capsys):
    before, stats = part_files(out), read_text(out / "stats.json")
    assert run.main(command(media / "manifest.yaml", out)) == 0
    assert "0 to do" in capsys.readouterr().out
    assert part_files(out) == before and read_text(out / "stats.json") == stats


def test_a_policy_decides_again(out):
    kept = [row["row_id"] for row in _shards(out)]
    assert finalize.main(["--out", str(out), "policy.min_face_px=100000"]) == 0
    assert _shards(out) == [] and "keep" not in set(_rows(out).verdict)
    assert finalize.main(["--out", str(out), "policy.min_face_px=90"]) == 0
    assert [row["row_id"] for row in _shards(out)] == kept
    assert json.loads(read_text(out / "stats.json"))["totals"]["num_kept"] == len(kept)
    assert report.main(["--out", str(out)]) == 0
    page = read_text(out / "report.html")
    assert kept[0] in page and "data:image/jpeg;base64," in page


@pytest.mark.parametrize(
    ("place", "options", "message"),
    [
        ("s3://no-such-bucket/set", {}, "error: s3://no-such-bucket/set/config.yaml cannot be written: "),
        (f"s3://{BUCKET}/other", READER, f"error: s3://{BUCKET}/other/config.yaml cannot be written: Access Denied"),
        ("gs://bucket/set", {}, "pip install gcsfs"),
        ("bucket://set", {}, "nothing opens bucket://"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(media, monkeypatch, capsys, place, options, message):
    monkeypatch.setitem(fsspec.config.conf, "s3", options)
    assert run.main(["--manifest", str(media / "manifest.yaml"), "--out", place]) in (1, 2)
    assert message in capsys.readouterr().err


def test_a_bucket_that_may_no_longer_be_written_keeps_what_it_has(out, monkeypatch, capsys):
    before = read_text(out / "stats.json"), _rows(out)
    with monkeypatch.context() as patch:
        patch.setitem(fsspec.config.conf, "s3", READER)
        assert finalize.main(["--out", str(out), "policy.min_face_px=1"]) == 1
    message = capsys.readouterr().err
    assert (
        f"{out}/" in message
        and "cannot be written: Access Denied" in message
        and "run the same command again" in message
    )
    assert read_text(out / "stats.json") == before[0]
    pd.testing.assert_frame_equal(_rows(out), before[1])


@pytest.fixture
def site(tmp_path) -> Iterator[tuple[str, list[str]]]:
    """A server of one video, and the paths asked of it."""
    (tmp_path / "site").mkdir()
    write_media(tmp_path / "site" / "talk.mp4", steady(50), sound=tone(2.0))
    asked: list[str] = []

    class Site(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            asked.append(self.path)

    handler = functools.partial(Site, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/talk.mp4", asked
        server.shutdown()


def test_fetched_media_are_kept_in_the_bucket_for_every_node(remote, site, tmp_path):
    url, asked = site
    caches = [NodeCache(tmp_path / node / "objects") for node in ("first", "second")]
    config = CrawlConfig(allow_private_addresses=True)
    rows = [Crawler(config, remote / "media", copies=caches[0])({"uri": url})]
    num_asked = len(asked)
    rows.append(Crawler(config, remote / "media", copies=caches[1])({"uri": url}))
    assert rows[0] == rows[1] and num_asked == len(asked) > 0
    for cache in caches:
        with cache.local_copy(as_path(rows[0]["media_path"])) as copy:
            assert copy.read_bytes() == (tmp_path / "site" / "talk.mp4").read_bytes()
    assert rows[0]["media_path"] == f"{remote}/media/{rows[0]['sha256']}.mp4"
    assert is_file(as_path(rows[0]["media_path"]))
    assert not list((tmp_path / "first" / "downloads").rglob("*.mp4"))


def test_media_in_a_bucket_are_used_in_place(remote, tmp_path):
    write_text(remote / "a.mp4", "text")
    crawler = Crawler(CrawlConfig(), tmp_path / "media", copies=NodeCache(tmp_path / "objects"))
    row = crawler({"uri": f"{remote}/a.mp4"})
    assert (row["media_path"], row["num_bytes"], row["extractor"]) == (f"{remote}/a.mp4", 4, "s3")
    with pytest.raises(Dropped) as dropped:
        crawler({"uri": f"{remote}/gone.mp4"})
    assert dropped.value.reason == DropReason.UNAVAILABLE
