"""Hostile media through the stages that open them: each has its reason, in bounded time and memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.known.media_files import steady, tone, write_media
from tests.hostile.conftest import Outcome
from tests.hostile.files import HOSTILE

MAX_CPU_S = 40.0
"""Of any file here; most take under 1 s. Twice what the slowest took alone."""
MAX_PEAK_BYTES = 1_000_000_000
"""768 MB is the most that a first look may take; the networks of hear, scan and track take 250."""
OPENS = {name for name, (_, stage, _) in HOSTILE.items() if stage in ("crawl", "probe")}
"""Cheap enough for every test run: no network is loaded."""

Run = Callable[[str | Path], Outcome]


def _check(name: str, folder: Path, run: Run) -> None:
    make, stage, reason = HOSTILE[name]
    outcome = run(make(folder / name))
    assert outcome.status == 0
    assert outcome.ends == {(stage, reason)}, outcome.details
    assert outcome.cpu_s < MAX_CPU_S
    assert outcome.peak_bytes < MAX_PEAK_BYTES


@pytest.mark.parametrize("name", sorted(OPENS))
def test_what_is_found_by_opening_a_file(name: str, tmp_path: Path, run_source: Run) -> None:
    _check(name, tmp_path, run_source)


@pytest.mark.hostile
@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - OPENS))
def test_what_is_found_by_decoding_a_file(name: str, tmp_path: Path, run_source: Run) -> None:
    _check(name, tmp_path, run_source)


class _Counter(BaseHTTPRequestHandler):
    num_requests = 0

    def do_GET(self) -> None:
        type(self).num_requests += 1
        self.send_response(404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


def test_lists_that_name_other_media_are_not_followed(tmp_path: Path, run_source: Run) -> None:
    victim = write_media(tmp_path / "victim.mp4", steady(50), sound=tone(2.0))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Counter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.ts"
        lists = [
            f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{url}\n#EXTINF:2,\nfile://{victim}\n#EXT-X-ENDLIST\n",
            f"ffconcat version 1.0\nfile '{victim}'\nfile '{url}'\n",
            f"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>{url}</BaseURL></MPD>",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
            f"[playlist]\nFile1={url}\nNumberOfEntries=1\n",
            f"<svg xmlns='http://www.w3.org/2000/svg'><image href='{url}'/></svg>",
        ]
        for number, text in enumerate(lists):
            listing = tmp_path / f"list{number}.ts"
            listing.write_text(text)
            assert run_source(listing).ends == {("probe", "not_video")}
        server.shutdown()
    assert _Counter.num_requests == 0
