"""Recently decompressed clips, as files that all worker processes of a data set map into memory.

A visit's samples are spread over all workers. If each read the clip itself, reading would multiply time and memory by
the number of workers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.core.storage import staging_name


class ClipCache:
    """The latest `limit` clips of one data set, uncompressed; the folder is removed with the process that made it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._made = tempfile.TemporaryDirectory(prefix="kouxing-clips-", ignore_cleanup_errors=True)
        self.folder = Path(self._made.name)

    def get(self, idx: int, read: Callable[[], pa.Table]) -> pa.Table:
        """Clip `idx`; calls `read` if it is not in the cache."""
        path = self.folder / str(idx)
        try:
            return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except FileNotFoundError:
            table = read()
        part = staging_name(path)
        with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        part.replace(path)
        self._forget_oldest()
        return table

    def _forget_oldest(self) -> None:
        """Remove the oldest clip; a file that is still mapped stays until its last reader closes it."""
        ages: list[tuple[int, Path]] = []
        for path in self.folder.glob("[!.]*"):
            try:
                ages.append((path.stat().st_mtime_ns, path))
            except FileNotFoundError:
                continue  # another worker removed it
        for _, path in sorted(ages)[: -self._limit]:
            path.unlink(missing_ok=True)

    def __getstate__(self) -> dict[str, Any]:
        """State for workers, which use the folder but do not remove it."""
        return {name: value for name, value in self.__dict__.items() if name != "_made"}
