"""What would be fetched, asked of a real site."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.known.media_files import steady, tone, write_media
from pipeline.preview import main, show
from tests.stages.crawl.video_site import open_site

QUICK = ["crawl.allow_private_addresses=true", "crawl.host_interval_s=0", "crawl.retries=0"]


@pytest.mark.slow
def test_everything_is_listed_and_nothing_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    size = write_media(folder / "a.mp4", steady(25), sound=tone(1.0)).stat().st_size
    write_media(tmp_path / "own.mp4", steady(50), sound=tone(2.0))
    (folder / "page.html").write_text(
        '<html><title>Two</title><body><video src="a.mp4"></video><video src="gone.mp4"></video></body></html>'
    )
    with open_site(folder) as site:
        lines = [f"{site.address}/{name}" for name in ("a.mp4", "page.html", "lost.mp4")]
        (tmp_path / "m.csv").write_text(
            "uri,platform,licence\n" + "".join(f"{uri},web,CC0\n" for uri in lines) + "own.mp4,local,CC0\n"
        )
        out = tmp_path / "seen.jsonl"
        assert main(["--manifest", str(tmp_path / "m.csv"), "--out", str(out), *QUICK]) == 0
        assert not [asked for asked in site.asked if asked.path == "/a.mp4" and asked.first_byte]
    seen = {row["uri"].removeprefix(site.address): row for row in map(json.loads, out.read_text().splitlines())}
    assert len(seen) == 6
    assert (seen["/a.mp4"]["num_bytes"], seen["/a.mp4"]["format_id"]) == (size, "mp4")
    assert seen["/lost.mp4"]["reason"] == "deleted"
    assert seen["/page.html"]["reason"] == "listing"
    entry = seen["/page.html#kouxing-item=1"]
    assert (entry["parent_id"], entry["platform"], entry["num_bytes"]) == (seen["/page.html"]["source_id"], "web", size)
    assert round(seen[str(tmp_path / "own.mp4")]["duration_s"]) == 2
    told = capsys.readouterr().out
    assert "deleted 1" in told
    assert "listing 1" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv", "own.mp4", "seen.jsonl", "site"]


@pytest.mark.parametrize("column", ["title", "format_id"])
def test_no_escape_sequence_of_a_site_reaches_the_terminal(column: str) -> None:
    said = io.StringIO()
    nasty = "a\x1b[2J\x1b]0;owned\x07b\rc\x9b31m\u202egnp\nd"
    rows = [
        {"source_id": "s", column: nasty},
        {"source_id": "t", "fault_reason": "deleted", "fault_detail": nasty.replace("\n", " ") + "owned"},
    ]
    show(iter(rows), Console(file=said, width=200))
    assert "owned" in said.getvalue()
    assert all(character.isprintable() for character in said.getvalue().replace("\n", ""))


def test_what_the_policy_refuses_is_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_media(tmp_path / "own.mp4", steady(50), sound=tone(2.0))
    (tmp_path / "m.csv").write_text("uri,licence\nown.mp4,CC0\nhttps://a.example/1,\nhttps://a.example/2,\n")
    out = tmp_path / "seen.jsonl"
    assert main(["--manifest", str(tmp_path / "m.csv"), "--out", str(out), "policy.require_licence=true", *QUICK]) == 0
    seen = list(map(json.loads, out.read_text().splitlines()))
    assert sorted(row.get("reason", "") for row in seen) == ["", "licence", "licence"]
    lines = capsys.readouterr().out.replace("│", " ").splitlines()
    web, total = (line.split() for line in lines if line.startswith(("web ", "all ")))
    assert (web[1], web[-2:]) == ("0", ["licence", "2"])
    assert total[1] == "1"


def test_unusable_settings_end_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.yaml").write_text("- https://a.example/\n")
    assert main(["--manifest", str(tmp_path / "m.yaml"), "crawl.cookies_file=nowhere.txt"]) == 2
    assert "no such file" in capsys.readouterr().err
