"""A real S3 server (SeaweedFS) on the loopback, with an owner, and a reader who may not write."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
import pytest

OWNER = {"key": "owner", "secret": "owner-secret"}
READER = {"key": "reader", "secret": "reader-secret"}
BUCKET = "kouxing-tests"
START_S = 60.0


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports


@dataclass
class ObjectStore:
    """The server's process; its objects stay in `folder` over a restart."""

    folder: Path
    ports: list[int] = field(default_factory=lambda: _free_ports(8))
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def environment(self) -> dict[str, str]:
        """What a user would set to work with it."""
        owner = {"AWS_ACCESS_KEY_ID": OWNER["key"], "AWS_SECRET_ACCESS_KEY": OWNER["secret"]}
        return {**owner, "AWS_ENDPOINT_URL": self.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}

    def start(self) -> None:
        people = [(OWNER, ["Admin", "Read", "Write", "List"]), (READER, ["Read", "List"])]
        identities = [
            {"name": who["key"], "actions": may, "credentials": [{"accessKey": who["key"], "secretKey": who["secret"]}]}
            for who, may in people
        ]
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        (self.folder / "s3.json").write_text(json.dumps({"identities": identities}))
        named = ("s3", "s3.port.grpc", "master", "master.port.grpc", "volume", "volume.port.grpc", "filer")
        flags = [name if "." in name else f"{name}.port" for name in (*named, "filer.port.grpc")]
        command = [
            *(Path(sys.executable).with_name("weed"), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *("-s3", f"-s3.config={self.folder / 's3.json'}", "-s3.autoCreateBucket=false"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-dir={self.folder / 'data'}", "-volume.max=30"),
            *("-master.volumeSizeLimitMB=64", "-master.telemetry=false"),
            *(f"-{flag}={port}" for flag, port in zip(flags, self.ports, strict=True)),
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={"PATH": os.environ["PATH"]})
        self._wait()

    def _wait(self) -> None:
        assert self.process is not None
        end_s = time.monotonic() + START_S
        while time.monotonic() < end_s and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.endpoint}/status", timeout=2).close()  # noqa: S310 - the loopback
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"the server did not start:\n{(self.folder / 'log').read_text()[-2000:]}")

    def make_bucket(self) -> None:
        import s3fs

        s3fs.S3FileSystem().mkdir(BUCKET)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()  # a friendly end takes it many seconds
            self.process.wait()
        for port in self.ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()


@contextlib.contextmanager
def connecting_with(monkeypatch: pytest.MonkeyPatch, **options: str) -> Iterator[None]:
    """With other settings of fsspec's own configuration, as in `~/.config/fsspec`."""
    with monkeypatch.context() as patch:
        patch.setitem(fsspec.config.conf, "s3", options)
        yield
