"""A person leaves a data set: out of every file, for good, whatever happens on the way."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.known.media_files import steady, tone, write_media
from pipeline import forget
from pipeline.dataset.shards import DEPTH_BYTES, FRAME_BYTES
from pipeline.finalize import finalize
from pipeline.job.parts import alone, read_parts
from pipeline.job.plan import STAGES
from pipeline.job.step import Runner
from pipeline.job.todo import wanted_sources
from pipeline.job.tombstones import Tombstones, read_tombstones
from pipeline.preview import preview
from pipeline.rules.config import Config, FinalizeConfig
from pipeline.rules.policy import PolicyConfig
from stages.core.reasons import DropReason
from stages.core.rows import rows_from_table
from stages.core.storage import list_files, read_table, read_text, upload
from stages.core.weights import WeightStore
from stages.crawl import CrawlConfig
from tests.rows import kept_clip, write_rows

pytestmark = pytest.mark.slow

CONFIG = Config(finalize=FinalizeConfig(shard_bytes=(FRAME_BYTES + DEPTH_BYTES) * 250))
"""Three clips a shard."""
LISTED = {"last_stage": "crawl", "fault_reason": "listing", "fault_detail": "expanded to 1 sources", "entries": ["x"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Ada alone in two sources and with Bo in a third; Bo, Cy and Di elsewhere; media, receipt and subtitles of one."""
    out = tmp_path_factory.mktemp("made") / "out"
    out.mkdir()
    media = write_media(out.parent / "ada.mp4", steady(50), sound=tone(2.0))
    sha256 = hashlib.sha256(media.read_bytes()).hexdigest()
    (out / "media" / "fetched").mkdir(parents=True)
    (out / "media" / "partial" / _key("https://video.test/ada-1")).mkdir(parents=True)
    shutil.copy(media, out / "media" / f"{sha256}.mp4")
    for name in (f"{sha256}.info.json", f"{sha256}.zh.vtt", f"fetched/{_key('https://video.test/ada-1')}.json"):
        (out / "media" / name).write_text("{}")
    (out / "media" / "partial" / _key("https://video.test/ada-1") / "media.part").write_bytes(b"x")
    (out / "media" / f"{'0' * 64}.mp4").write_bytes(b"somebody else")
    facts = {"sha256": sha256, "licence": "CC-BY-4.0", "consent": "written"}
    write_rows(out, *(kept_clip("ada-1", 0, shot, 2, **facts) for shot in range(2)), kept_clip("bo-1", 1))
    write_rows(out, kept_clip("ada-2", 0), kept_clip("ada-2-noisy", 0, dnsmos_bak=1.0), generation=2)
    write_rows(out, kept_clip("both", 0, 0, 2), kept_clip("both", 1, 1, 2), generation=3)
    write_rows(out, *(kept_clip(f"cy-{idx}", 2) for idx in range(6)), kept_clip("di-1", 3), generation=4)
    finalize(out, CONFIG)
    return out


@pytest.fixture
def out(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "out"))


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def _hashes(out: Path) -> dict[str, str]:
    files = [path for path in out.rglob("*") if path.is_file()]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _ids(out: Path, pattern: str) -> set[str]:
    return {row_id for file in out.glob(pattern) for row_id in pq.read_table(file)["row_id"].to_pylist()}


def _state(out: Path) -> dict[str, object]:
    """Everything that a reader can see, but for the time in the report."""
    stats = json.loads((out / "stats.json").read_text())
    ledger = rows_from_table(pq.read_table(out / "ledger.parquet").drop(["face_embedding", "audio_fingerprint"]))
    media = sorted(str(path.relative_to(out)) for path in (out / "media").rglob("*"))
    return {"shards": _ids(out, "shards/*.parquet"), "stats": stats, "ledger": ledger, "media": media}


def _identity(out: Path, row_id: str) -> str:
    rows = rows_from_table(pq.read_table(out / "ledger.parquet", columns=["row_id", "identity_id"]))
    return next(row["identity_id"] for row in rows if row["row_id"] == row_id)


def _forget(out: Path, *arguments: str) -> int:
    return forget.main(["--out", str(out), *arguments])


def test_nothing_of_a_source_is_left_but_its_name(out, capsys):
    before = _hashes(out)
    assert _forget(out, "--source", "ada-1") == 0
    after = _hashes(out)
    for name in after:
        content = (out / name).read_bytes()
        assert "关于 ada-1".encode() not in content and b"video.test/ada-1" not in content, name
    assert not any(row_id.startswith("ada-1-") for row_id in _ids(out, "shards/*") | _ids(out, "parts/*"))
    (left,) = [row for row in _state(out)["ledger"] if row["source_id"] == "ada-1"]
    assert (left["row_id"], left["verdict"], left["drop_reason"]) == ("ada-1", "drop", "forgotten")
    assert not left.keys() & {"uri", "title", "sha256", "thumb_jpeg", "gender", "duration_s"}
    assert sorted(name for name in after if name.startswith("media/")) == [f"media/{'0' * 64}.mp4"]
    assert set(before) - set(after) == {name for name in before if name.startswith("media/") and "0000" not in name}
    assert "ada-1" in capsys.readouterr().out


def test_only_the_files_that_held_something_are_rewritten(out):
    before, ids_before = _hashes(out), _ids(out, "shards/*")
    held = {name for name in before if name.startswith("shards/") and "ada-1-s0000-c000" in _ids(out, name)}
    held |= {name for name in before if name.startswith("shards/") and "ada-1-s0001-c000" in _ids(out, name)}
    held |= {name for name in before if name.startswith("parts/part-g00001")}
    assert _forget(out, "--source", "ada-1") == 0
    after = _hashes(out)
    changed = {name for name in before if name in after and after[name] != before[name]}
    assert {name for name in changed if name.startswith(("shards/", "parts/"))} == held & set(after)
    assert {name for name in before if name.startswith("shards/")} - held
    assert _ids(out, "shards/*") == ids_before - {"ada-1-s0000-c000", "ada-1-s0001-c000"}


def test_all_that_is_told_of_the_set_agrees_with_it(out):
    assert _forget(out, "--source", "ada-1", "--source", "di-1") == 0
    state = _state(out)
    kept = {row["row_id"] for row in state["ledger"] if row["verdict"] == "keep"}
    assert state["shards"] == kept and state["stats"]["totals"]["num_kept"] == len(kept)
    assert state["stats"]["reasons"]["forgotten"]["source"] == 2
    assert "ada-1" not in json.dumps(state["stats"]["identities"])


def test_an_identity_goes_with_all_its_clips_and_with_sources_that_show_nobody_else(out, capsys):
    assert _forget(out, "--identity", _identity(out, "ada-1-s0000-c000")) == 0
    ledger = {row["row_id"]: row for row in _state(out)["ledger"]}
    gone = {
        row_id
        for row_id, row in ledger.items()
        if row["drop_reason" if "drop_reason" in row else "verdict"] == "forgotten"
    }
    assert gone == {"ada-1", "ada-2", "ada-2-noisy", "both-s0000-c000"}
    assert ledger["both-s0001-c000"]["verdict"] == "keep"
    assert not ledger["both-s0000-c000"].keys() & {"thumb_jpeg", "gender", "face_px"}
    told = capsys.readouterr().out
    assert "both-s0000-c000" in told and "whose media stay" in told


@pytest.mark.parametrize("whom", ["source", "identity"])
def test_whatever_dies_on_the_way_the_same_command_finishes(out, tmp_path, monkeypatch, whom):
    name = "ada-1" if whom == "source" else _identity(out, "ada-1-s0000-c000")
    clean = Path(shutil.copytree(out, tmp_path / "clean"))
    num_changes = _changes(monkeypatch, 1000, clean, f"--{whom}", name)
    assert 15 < num_changes < 60
    for last in range(0 if whom == "source" else 3, num_changes, 6):
        copy = Path(shutil.copytree(out, tmp_path / "copy"))
        assert _changes(monkeypatch, last, copy, f"--{whom}", name) == last
        for file in [*copy.glob("shards/*.parquet"), *copy.glob("parts/*.parquet"), copy / "ledger.parquet"]:
            pq.read_table(file)
        assert _forget(copy, f"--{whom}", name) == 0
        assert _state(copy) == _state(clean)
        assert {path.name for path in copy.rglob(".*")} <= {".run.lock", ".finalize.lock"}
        shutil.rmtree(copy)


def _undrawn(row: dict) -> dict:
    """Without what the next `finalize` numbers anew, and the split: with few people left it may draw that anew."""
    return {name: value for name, value in row.items() if name not in ("split", "face_group", "repeat_group")}


class _PowerCut(BaseException):
    pass


def _changes(monkeypatch, most: int, out: Path, *arguments: str) -> int:
    """Forget, but after this many changes of the file system the power is cut: none follows, not even a clean-up."""
    done: list[str] = []

    def cut(name: str):
        function = getattr(os, name)

        def change(*args, **kwargs):
            if len(done) == most:
                raise _PowerCut
            done.append(name)
            return function(*args, **kwargs)

        return change

    with monkeypatch.context() as patched:
        for name in ("replace", "unlink", "rmdir", "fsync"):
            patched.setattr(os, name, cut(name))
        with contextlib.suppress(_PowerCut):
            _forget(out, *arguments)
    return len(done)


def test_finalize_shows_nothing_forgotten_even_if_a_straggler_wrote_it_again(out):
    straggler = kept_clip("ada-2", 0)
    assert _forget(out, "--identity", _identity(out, "ada-1-s0000-c000")) == 0
    state = _state(out)
    write_rows(out, straggler, kept_clip("both", 0, 0, 2), generation=9)
    finalize(out, CONFIG)
    again = _state(out)
    assert again["shards"] == state["shards"]
    assert [_undrawn(row) for row in again["ledger"]] == [_undrawn(row) for row in state["ledger"]]


def test_what_is_forgotten_is_done_and_not_measured_again(out):
    assert _forget(out, "--source", "ada-1") == 0
    done, again = wanted_sources([{"source_id": "ada-1", "uri": "https://video.test/ada-1"}], read_parts(out), CONFIG)
    assert "ada-1" in done and not again


def _crawl(out: Path, **source) -> dict:
    (stage,) = [stage for stage in STAGES if stage.name == "crawl"]
    runner = Runner((stage,), Config(), WeightStore(out), out, lambda event: None)
    (row,) = runner.run(source)
    return row


class _Counting(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_error(404)

    do_HEAD = do_GET  # noqa: N815 - the server looks for this name

    def log_message(self, *args):
        pass


def test_the_same_address_under_another_name_is_not_asked_for(tmp_path):
    out = tmp_path / "out"
    with ThreadingHTTPServer(("127.0.0.1", 0), _Counting) as server:
        server.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/watch?v=1"
        write_rows(out, kept_clip("ada-1", 0, uri=url), kept_clip("bo-1", 1))
        finalize(out, CONFIG)
        assert _forget(out, "--source", "ada-1") == 0
        row = _crawl(out, source_id="again", uri=f"{url}&utm_source=share#t=9", speaker_id="ada", tags=[])
        server.shutdown()
    assert row["drop_reason"] == DropReason.FORGOTTEN and row["uri"] is None and row["speaker_id"] is None
    assert not server.asked  # type: ignore[attr-defined]


def test_the_same_bytes_under_another_name_are_refused(out, made, tmp_path):
    assert _forget(out, "--source", "ada-1") == 0
    renamed = Path(shutil.copyfile(made.parent / "ada.mp4", tmp_path / "innocent.mp4"))
    row = _crawl(out, source_id="innocent", uri=str(renamed), platform="local")
    assert row["drop_reason"] == DropReason.FORGOTTEN
    assert renamed.is_file()
    other = write_media(tmp_path / "other.mp4", steady(40), sound=tone(2.0))
    assert "drop_reason" not in _crawl(out, source_id="other", uri=str(other), platform="local")


def test_a_copy_of_its_bytes_goes_with_a_source(out, capsys):
    sha256 = next(row["sha256"] for row in _state(out)["ledger"] if row["source_id"] == "ada-1")
    write_rows(out, kept_clip("reupload", 0, sha256=sha256), generation=5)
    finalize(out, CONFIG)
    assert _forget(out, "--source", "ada-1") == 0
    assert "reupload" in capsys.readouterr().out
    finalize(out, CONFIG)
    assert not any(row_id.startswith("reupload-") for row_id in _ids(out, "shards/*"))


def test_everything_that_a_page_listed_goes_with_it(out, capsys):
    write_rows(out, {"row_id": "page", "source_id": "page", "uri": "https://video.test/user", **LISTED}, generation=5)
    write_rows(out, kept_clip("from-page", 0, parent_id="page"), kept_clip("other", 1, parent_id="di-1"), generation=6)
    finalize(out, CONFIG)
    assert _forget(out, "--source", "page") == 0
    assert "forgotten: 2 sources as a whole" in capsys.readouterr().out
    forgotten = {row["source_id"] for row in _state(out)["ledger"] if row.get("drop_reason") == "forgotten"}
    assert forgotten == {"page", "from-page"}


def test_an_item_of_a_page_leaves_the_others_and_the_page(out, capsys):
    page = "https://video.test/two"
    items = [{"uri": f"{page}#kouxing-item={number}", "webpage_url": page, "parent_id": "page"} for number in (1, 2)]
    write_rows(out, {"row_id": "page", "source_id": "page", "uri": page, **LISTED}, generation=5)
    write_rows(out, *(kept_clip(f"item-{idx}", idx, **item) for idx, item in enumerate(items)), generation=6)
    finalize(out, CONFIG)
    assert _forget(out, "--source", "item-0") == 0
    assert "forgotten: 1 sources as a whole" in capsys.readouterr().out
    tombstones = read_tombstones(out)
    assert tombstones.by_address(items[0]) and not any(map(tombstones.by_address, (items[1], {"uri": page})))
    assert _forget(out, "--source", "page") == 0
    assert all(map(read_tombstones(out).by_address, (*items, {"uri": f"{page}#kouxing-item=3"})))


def test_a_look_ahead_does_not_ask_for_what_is_forgotten(out):
    assert _forget(out, "--source", "ada-1") == 0
    sources = [{"source_id": name, "uri": "https://127.0.0.1:9/"} for name in ("ada-1", "eve")]
    config = Config(crawl=CrawlConfig(retries=0))
    seen = {row["source_id"]: row for row in preview(sources, config, WeightStore(out), out)}
    assert seen["ada-1"]["fault_reason"] == DropReason.FORGOTTEN
    assert seen["eve"]["fault_reason"] == DropReason.FORBIDDEN_ADDRESS


def test_a_source_that_sounds_alike_is_named_and_stays(out, capsys):
    sound = kept_clip("di-1", 3)["audio_fingerprint"]
    write_rows(out, kept_clip("zz-like-di", 3, audio_fingerprint=sound), generation=5)
    finalize(out, CONFIG)
    assert _forget(out, "--source", "di-1") == 0
    assert "zz-like-di-s0000-c000" in capsys.readouterr().out


def test_a_data_set_in_a_bucket_is_left_in_the_same_way(out, remote):
    for path in out.rglob("*"):
        if path.is_file():
            upload(path, remote / str(path.relative_to(out)))
    assert _forget(out, "--source", "ada-1") == 0
    assert _forget(remote, "--source", "ada-1") == 0
    for folder in ("parts", "shards"):
        there = [read_table(file, ["row_id"])["row_id"].to_pylist() for file in list_files(remote / folder, "*")]
        assert {row_id for ids in there for row_id in ids} == _ids(out, f"{folder}/*")
    assert json.loads(read_text(remote / "stats.json")) == json.loads((out / "stats.json").read_text())
    assert [file.name for file in list_files(remote / "media", "*.*")] == [f"{'0' * 64}.mp4"]
    assert not list_files(remote / "media" / "fetched", "*")
    url = "https://video.test/ada-1"
    assert _crawl(remote, source_id="again", uri=url)["drop_reason"] == DropReason.FORGOTTEN


def test_licence_and_consent_stand_in_every_shard(out):
    for file in out.glob("shards/*.parquet"):
        rows = pq.read_table(file, columns=["source_id", "licence", "consent"]).to_pylist()
        for row in rows:
            wanted = ("CC-BY-4.0", "written") if row["source_id"] == "ada-1" else (None, None)
            assert (row["licence"], row["consent"]) == wanted


def test_a_policy_that_requires_consent_needs_no_video_and_forgives_when_it_is_given(out):
    policy = PolicyConfig(require_consent=True, licences=("CC-*",))
    strict = replace(CONFIG, policy=policy)
    stats = finalize(out, strict)
    assert _ids(out, "shards/*") == {"ada-1-s0000-c000", "ada-1-s0001-c000"}
    assert stats["reasons"]["licence"]["num"] > 0
    given = [{"source_id": "di-1", "uri": "d", "licence": "CC-BY-4.0", "consent": "written"}]
    assert wanted_sources([*given, {"source_id": "bo-1", "uri": "b"}], read_parts(out), strict) == ({"bo-1"}, {"di-1"})


def test_a_dry_run_changes_nothing(out, capsys):
    before = _hashes(out)
    assert _forget(out, "--source", "ada-1", "--dry-run") == 0
    assert _hashes(out) == before
    told = capsys.readouterr().out
    assert "would forget: 1 sources" in told and "5 files of the media store" in told


def test_nobody_is_forgotten_under_the_feet_of_a_run(out, capsys):
    before = _hashes(out)
    with alone(out, "run"):
        assert _forget(out, "--source", "ada-1") == 2
    assert "another process is at run" in capsys.readouterr().err
    assert {name: digest for name, digest in _hashes(out).items() if not name.endswith(".lock")} == {
        name: digest for name, digest in before.items() if not name.endswith(".lock")
    }


def test_a_folder_without_a_data_set_is_refused_and_left_alone(tmp_path, capsys):
    assert _forget(tmp_path / "typo", "--source", "ada-1") == 2
    assert "typo is no data set: it has no config.yaml" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("arguments", [("--source", "nobody"), ("--identity", "id-nobody")])
def test_an_unknown_name_is_an_error_and_changes_nothing(out, capsys, arguments):
    before = _hashes(out)
    assert _forget(out, *arguments, "--dry-run") == 2 and _hashes(out) == before
    assert _forget(out, *arguments) == 2
    assert "nobody" in capsys.readouterr().err and not (out / "tombstones.jsonl").exists()


def test_forgetting_twice_is_fine_and_is_written_down_once(out):
    assert _forget(out, "--source", "ada-1") == 0
    state = _state(out)
    assert _forget(out, "--source", "ada-1") == 0
    assert _state(out) == state and len(read_tombstones(out).stones) == 1


def test_tombstones_hold_nothing_of_a_person(out):
    assert _forget(out, "--identity", _identity(out, "ada-1-s0000-c000")) == 0
    for line in (out / "tombstones.jsonl").read_text().splitlines():
        stone = json.loads(line)
        assert stone.keys() == {"request", "forgotten_at", "salt", "source_ids", "row_ids", "sha256", "addresses"}
        assert all(len(key) == 64 for key in [*stone["sha256"], *stone["addresses"]])
        assert "video.test" not in line


def test_two_links_to_one_video_are_one_address():
    tombstones = Tombstones()
    one = tombstones.hashes_of({"uri": "https://www.bilibili.com/video/BV1xx/?spm_id_from=333&vd_source=7&p=2"})
    assert one == tombstones.hashes_of({"uri": "https://m.Bilibili.com/video/BV1xx?p=2#reply"})
    assert one != tombstones.hashes_of({"uri": "https://www.bilibili.com/video/BV1xx?p=3"})
    named = {"extractor": "youtube", "site_id": "abc"}
    assert tombstones.hashes_of({"uri": "https://youtu.be/abc"} | named) & tombstones.hashes_of(named)
    assert not tombstones.hashes_of({"extractor": "generic", "site_id": "video"})
