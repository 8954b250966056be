"""Replacing the files of a folder as a whole, on this machine and in a bucket.

On this machine the new folder is renamed into place. A store has no rename. There the new files are uploaded under
another prefix, copied in by the store itself when all are complete, and then the old ones are removed. File names carry
a hash of the content, so an unchanged file stays. Meanwhile a reader may see old and new files side by side, never half
a file. The next swap repairs what a crash leaves.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from stages.core.storage import is_remote, list_files, named, remote_parts, remove, upload

OpenFile = Callable[[str], AbstractContextManager[Path]]
"""Context manager for a file name; its body writes the file at the local path that it yields."""
PARALLEL = 16


def swap_files(folder: Path) -> AbstractContextManager[OpenFile]:
    """Replace all files of `folder` by those opened in the body when it ends; if the body fails, nothing changes."""
    return _swap_remote(folder) if is_remote(folder) else _swap_local(folder)


@contextmanager
def _swap_local(folder: Path) -> Iterator[OpenFile]:
    staged, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")

    @contextmanager
    def open_file(name: str) -> Iterator[Path]:
        yield staged / name

    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        yield open_file
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        staged.rename(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _swap_remote(folder: Path) -> Iterator[OpenFile]:
    staged = folder.with_name(f".{folder.name}.new")
    written: list[str] = []

    @contextmanager
    def open_file(name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="kouxing-") as scratch:
            file = Path(scratch) / name
            yield file
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()[:12]
            written.append(f"{file.stem}-{digest}{file.suffix}")
            upload(file, staged / written[-1])

    def copy_in(name: str) -> None:
        filesystem, source = remote_parts(staged / name)
        with named(folder / name, "written"):
            filesystem.cp_file(source, remote_parts(folder / name)[1])

    _remove_all(list_files(staged, "*"))
    try:
        yield open_file
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(copy_in, written))
        _remove_all([file for file in list_files(folder, "*") if file.name not in written])
    finally:
        _remove_all([staged / name for name in written])


def _remove_all(files: list[Path]) -> None:
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(remove, files))
