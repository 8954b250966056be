"""Files on this machine, or in a bucket that fsspec can open (`s3://bucket/...`).

A place on this machine is a `pathlib.Path`, a remote one a `UPath`, which has the same methods; hints say `Path` for
both. Only this module and `pipeline/dataset/swap.py` know the difference. fsspec and the driver look up endpoint and
credentials (for S3: `AWS_*`, `~/.aws`, `~/.config/fsspec`), so no secret passes through here.

The drivers retry after transient errors: s3fs five times with growing pauses, on top of botocore's own five. What still
fails is a `StorageError` that names the place.
"""

from __future__ import annotations

import os
import platform
import re
import tempfile
import threading
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.command import UserError

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://(.*)", re.IGNORECASE | re.DOTALL)
BUCKETS = frozenset({"abfs", "abfss", "adl", "az", "gcs", "gs", "oci", "oss", "s3", "s3a"})
"""Protocols whose addresses name a bucket of the configured store, not a machine to connect to."""


class StorageError(OSError):
    """A remote place that cannot be used; the message names it and has the store's error."""


class Forbidden(StorageError):
    """A place that these credentials may not use."""


class UnknownStorage(UserError, ArgumentTypeError):
    """An address that nothing installed can open."""


def protocol_of(text: str) -> str | None:
    """`s3` of `s3://bucket/x`; None for a path on this machine."""
    match = _ADDRESS.match(text)
    return match[1].lower() if match and match[1].lower() != "file" else None


def as_path(text: str) -> Path:
    """The place that a user names: a path, `file://...`, or an address of a store.

    Raises:
        UnknownStorage: no such kind of store, or its driver is not installed.
    """
    protocol = protocol_of(text)
    if protocol is None:
        return Path(re.sub(r"^file://", "", text, flags=re.IGNORECASE))
    from fsspec.registry import get_filesystem_class, known_implementations
    from upath import UPath

    try:
        get_filesystem_class(protocol)
    except ValueError:
        raise UnknownStorage(f"{text}: nothing opens {protocol}://; known are {', '.join(sorted(BUCKETS))}") from None
    except ImportError as error:
        package = known_implementations[protocol]["class"].split(".")[0]
        remedy = "" if package == "fsspec" else f"; pip install {package}"
        raise UnknownStorage(f"{text}: {error}{remedy}") from error
    if protocol in BUCKETS and not text.split("://", 1)[1].partition("/")[0]:
        raise UnknownStorage(f"{text} names no bucket")
    return cast(Path, UPath(text.rstrip("/"), use_listings_cache=False))  # other processes write there too


def local_path(text: str) -> Path:
    """The path of an argument that can only be on this machine, such as a training run."""
    if protocol_of(text) is not None:
        raise ArgumentTypeError(f"{text} is not on this machine; name a local path")
    return as_path(text)


def is_remote(path: Path) -> bool:
    return not isinstance(path, Path)


def title_of(folder: Path) -> str:
    """The last part of a folder's name, or the bucket's."""
    return str(folder.resolve()).rstrip("/").rpartition("/")[2]


def remote_parts(path: Path) -> tuple[Any, str]:
    """The filesystem of a remote place, and the name in it."""
    place = cast(Any, path)
    return place.fs, place.path


@contextmanager
def named(path: Path, action: str) -> Iterator[None]:
    """Turn errors of a store's driver into a StorageError about `path`; does nothing on this machine."""
    if not is_remote(path):
        yield
        return
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except StorageError:
        raise
    except (OSError, BotoCoreError) as error:
        kind = Forbidden if isinstance(error, PermissionError) else StorageError
        raise kind(f"{path} cannot be {action}: {str(error) or type(error).__name__}") from error


def facts_of(path: Path) -> dict[str, Any] | None:
    """Metadata that a store reports of an object or a folder of objects; None if there is neither."""
    filesystem, name = remote_parts(path)
    with named(path, "looked up"):
        try:
            return filesystem.info(name)
        except FileNotFoundError:
            return None


def is_file(path: Path) -> bool:
    """Like `Path.is_file`, but raises errors of a store instead of taking them for absence."""
    return (facts_of(path) or {}).get("type") == "file" if is_remote(path) else path.is_file()


def is_dir(path: Path) -> bool:
    return (facts_of(path) or {}).get("type") == "directory" if is_remote(path) else path.is_dir()


def size_of(file: Path) -> int:
    """Size of an existing file in bytes."""
    return (facts_of(file) or {})["size"] if is_remote(file) else file.stat().st_size


def list_files(folder: Path, pattern: str) -> list[Path]:
    """Sorted files directly in a folder whose names match; empty if there is no such folder."""
    if not is_remote(folder):
        return sorted(folder.glob(pattern))
    filesystem, name = remote_parts(folder)
    with named(folder, "listed"):
        try:
            entries = {entry.rstrip("/") for entry in filesystem.ls(name, detail=False)} - {name.rstrip("/")}
        except FileNotFoundError:
            return []
    names = sorted(entry.rpartition("/")[2] for entry in entries)
    return [folder / found for found in names if fnmatch(found, pattern)]


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """A whole text file, its line ends as they are."""
    if not is_remote(path):
        with path.open(encoding=encoding, newline="") as file:
            return file.read()
    filesystem, name = remote_parts(path)
    with named(path, "read"):
        return filesystem.cat_file(name).decode(encoding)


def open_parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file that fetches only the requested columns and row groups."""
    if not is_remote(path):
        return pq.ParquetFile(path)
    with named(path, "read"):  # no read-ahead: Parquet asks for exact ranges
        source = cast(Any, path).open("rb", cache_type="none")
        return pq.ParquetFile(source, pre_buffer=True)


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    with named(path, "read"), open_parquet(path) as file:
        return file.read(columns=columns)


def staging_name(target: Path) -> Path:
    """A hidden name beside a local file, unique to this thread, process and machine."""
    return target.with_name(f".{target.name}.{platform.node()}-{threading.get_native_id()}")


@contextmanager
def write_whole(target: Path) -> Iterator[IO[bytes]]:
    """A file that appears whole when the block ends, or not at all.

    On this machine it is written beside its target, synced to disk and renamed; for a store it is written on this
    machine and uploaded once.
    """
    if is_remote(target):
        with tempfile.NamedTemporaryFile(prefix="kouxing-") as scratch:
            yield cast(IO[bytes], scratch)
            scratch.flush()
            upload(Path(scratch.name), target)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = staging_name(target)
    try:
        with staged.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # a machine that loses power keeps either nothing of a file or all of it
        staged.replace(target)
    finally:
        staged.unlink(missing_ok=True)


def upload(file: Path, target: Path) -> None:
    """Upload a file at once: a store shows an object only when it is complete."""
    filesystem, name = remote_parts(target)
    with named(target, "written"):
        filesystem.put_file(str(file), name)


def write_text(path: Path, text: str) -> None:
    """Replace a text file as a whole, or leave it as it was."""
    with write_whole(path) as file:
        file.write(text.encode())


def parquet_writer(target: Path | IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of our Parquet files.

    List items (numbers, pictures) do not repeat: with dictionaries for them files were larger and read at a third of
    the speed.
    """
    single: Any = [field.name for field in schema if not pa.types.is_nested(field.type)]
    return pq.ParquetWriter(target, schema, compression="zstd", compression_level=3, use_dictionary=single)


def write_parquet(table: pa.Table, target: Path, row_group_size: int | None = None) -> None:
    """Replace a Parquet file as a whole, or leave it as it was."""
    with write_whole(target) as file, parquet_writer(file, table.schema) as writer:
        writer.write_table(table, row_group_size=row_group_size)


def walk_files(folder: Path) -> list[str]:
    """Names of all files under a remote folder, relative to it, sorted."""
    filesystem, name = remote_parts(folder)
    with named(folder, "listed"):
        return sorted(found.removeprefix(name).lstrip("/") for found in filesystem.find(name))


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    if not is_remote(path):
        path.unlink(missing_ok=True)
        return
    filesystem, name = remote_parts(path)
    with named(path, "removed"):
        try:
            filesystem.rm_file(name)
        except FileNotFoundError:
            return
