"""Local copies of media that lie in a bucket, for libraries that want a real file: one per node, shared by its workers.

A copy is named after the object's address and what the store says of its version, so a changed object is fetched anew.
Old copies make room for new ones; one that is in use stays.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from stages.core.reasons import Dropped, DropReason
from stages.core.storage import Forbidden, StorageError, facts_of, is_remote, named, remote_parts, upload

_VERSION_KEYS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime", "size")


@dataclass(frozen=True)
class NodeCache:
    """Where copies lie and how much room they may take.

    Args:
        folder: on a disk of this node.
        max_bytes: of all copies together; a single larger object still gets in, and copies in use stay.
    """

    folder: Path
    max_bytes: int = 50_000_000_000

    @contextmanager
    def local_copy(self, path: Path) -> Iterator[Path]:
        """A real file with the content of `path`: itself if it is local, else a copy that stays while the block runs.

        Raises:
            Dropped: UNAVAILABLE if there is no such object, or it may not be read.
            StorageError: the store cannot be used.
        """
        if not is_remote(path):
            yield path
            return
        try:
            target, size = self._place(path)
            held = self._hold(path, target, size)
        except (FileNotFoundError, Forbidden) as error:
            raise Dropped(DropReason.UNAVAILABLE, str(error)) from error
        with held:
            yield target

    def store(self, file: Path, path: Path) -> None:
        """Put a local file into its remote place, unless it is there, and keep it as the copy of it."""
        size = file.stat().st_size
        if (facts_of(path) or {}).get("size") != size:
            upload(file, path)
        target, _ = self._place(path)
        self._make_room(size)
        file.replace(target)

    def _place(self, path: Path) -> tuple[Path, int]:
        facts: dict[str, Any] | None = facts_of(path)
        if facts is None or facts["type"] != "file":
            raise FileNotFoundError(f"no such object: {path}")
        self.folder.mkdir(parents=True, exist_ok=True)
        version = [str(path), *(f"{key}={facts[key]}" for key in _VERSION_KEYS if facts.get(key) is not None)]
        name = hashlib.sha256("\n".join(version).encode()).hexdigest()[:32]
        return self.folder / f"{name}{path.suffix[:8]}", int(facts["size"])

    def _hold(self, path: Path, target: Path, size: int) -> IO[bytes]:
        """The copy, opened and marked as in use until it is closed."""
        with self.lock(target):  # one worker of the node fetches, the others wait
            if not target.is_file():
                self._make_room(size)
                part = target.with_name(f"{target.name}.part")
                filesystem, name = remote_parts(path)
                with named(path, "read"):
                    filesystem.get_file(name, str(part))
                if part.stat().st_size != size:
                    raise StorageError(f"{path} cannot be read: {part.stat().st_size} of {size} bytes came")
                part.replace(target)
            held = target.open("rb")
            fcntl.flock(held, fcntl.LOCK_SH)
            os.utime(target)
        return held

    def lock(self, file: Path, timeout_s: float = -1) -> FileLock:
        """Of one of 256 groups of copies, so that locks do not pile up beside them."""
        return FileLock(self.folder / f".lock-{file.name[:2]}", timeout=timeout_s)

    def _make_room(self, size: int) -> None:
        """Remove what was used longest ago until `size` bytes more fit."""
        found = [(file, stat) for file in self.folder.glob("[!.]*") if (stat := _stat(file))]
        left = sum(stat.st_size for _, stat in found) + size - self.max_bytes
        for file, stat in sorted(found, key=lambda item: item[1].st_mtime):
            if left <= 0:
                return
            if self._remove_unused(file):
                left -= stat.st_size

    def _remove_unused(self, file: Path) -> bool:
        try:
            with self.lock(file, timeout_s=0), file.open("rb") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.unlink()
        except (Timeout, BlockingIOError, FileNotFoundError):  # being fetched, being read, or removed by another
            return False
        return True


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:
        return None
