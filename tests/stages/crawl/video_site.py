"""A video site on the loopback that behaves as badly as it is told to."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TYPES = {
    ".html": "text/html",
    ".json": "application/json",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4a": "audio/mp4",
    ".mp4": "video/mp4",
    ".mpd": "application/dash+xml",
    ".rss": "application/rss+xml",
    ".ts": "video/mp2t",
    ".vtt": "text/vtt",
}


@dataclass(frozen=True)
class Asked:
    """One request, as it arrived."""

    path: str
    first_byte: int
    agent: str
    cookie: str
    at_s: float


@dataclass
class Site:
    """A server's folder, what it was asked, and what it does instead of serving a file.

    Args:
        routes: by path; a function that gets the handler and what has been asked so far at that path, itself included.
    """

    address: str
    folder: Path
    asked: list[Asked] = field(default_factory=list)
    routes: dict[str, Callable[[Handler, int], None]] = field(default_factory=dict)

    def num_asked(self, path: str) -> int:
        return sum(asked.path == path for asked in self.asked)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        path = self.path.split("?", maxsplit=1)[0]
        span = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")
        agent, cookie = self.headers.get("User-Agent", ""), self.headers.get("Cookie", "")
        self.site.asked.append(Asked(path, int(span[0]), agent, cookie, time.monotonic()))
        if path in self.site.routes:
            self.site.routes[path](self, self.site.num_asked(path))
        else:
            self.serve(path)

    do_HEAD = do_GET  # noqa: N815

    def serve(self, path: str, *, headers: dict[str, str] | None = None, cut_at: int | None = None) -> None:
        """A file, or what is left of it from the byte asked for; the connection breaks at byte `cut_at`."""
        file = self.site.folder / path.lstrip("/")
        if not file.is_file():
            self.answer(404)
            return
        content, first = file.read_bytes(), self.site.asked[-1].first_byte
        given = {"Content-Type": TYPES[file.suffix], "Accept-Ranges": "bytes"} | (headers or {})
        if first:
            given["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.answer(206 if first else 200, content[first:], given, sent=content[first:cut_at])

    def answer(
        self,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        sent: bytes | None = None,
    ) -> None:
        """An answer that declares `body` and sends `sent`."""
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if sent is None else sent)
        if sent is not None and len(sent) < len(body):
            self.close_connection = True

    def pour(self, kind: str, first: bytes, num_bytes: int) -> None:
        """A body without an end: stops only when nobody listens, or after far more than anybody should take."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self.wfile.write(first)
            for _ in range(num_bytes // 65536):
                self.wfile.write(b"\0" * 65536)
        except OSError:
            return

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # a client that has heard enough
            return

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def open_site(folder: Path) -> Iterator[Site]:
    site = Site("", folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("SiteHandler", (Handler,), {"site": site}))
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
