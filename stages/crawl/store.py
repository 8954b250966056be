"""Store of fetched media, named by their hash, with receipts by address. The only file access of the crawl."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from stages.core.node_cache import NodeCache
from stages.core.reasons import Dropped, DropReason
from stages.core.records import Row
from stages.core.storage import as_path, is_file, is_remote, list_files, protocol_of, read_text, upload, write_text
from stages.crawl.addresses import without_password


@dataclass(frozen=True)
class MediaStore:
    """`<sha256>.<ext>`, beside it `<sha256>.info.json` and `<sha256>.<language>.vtt`; unfinished ones in `partial/`.

    Args:
        folder: made on first use. If it is in a bucket, downloads happen on this node and are uploaded once.
        copies: cache of objects in a bucket.
    """

    folder: Path
    copies: NodeCache

    @contextmanager
    def workspace(self, key: str) -> Iterator[Path]:
        """A locked folder to fetch into, with the leftovers of an earlier try."""
        partial = self._partial(key)
        partial.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock_of(partial)):  # another row may name the same address
            partial.mkdir(exist_ok=True)
            yield partial

    def discard(self, key: str) -> None:
        """Remove the leftovers of a finished fetch."""
        shutil.rmtree(self._partial(key), ignore_errors=True)

    def receipt(self, key: str) -> Row | None:
        """The crawl's columns of an address that was fetched before, as long as its media are there."""
        path = self._receipt(key)
        if not is_file(path):
            return None
        facts = json.loads(read_text(path))
        if not is_file(as_path(facts["media_path"])):
            return None
        return facts | {"retrieved_at": datetime.fromisoformat(facts["retrieved_at"])}

    def sign(self, key: str, facts: Row) -> None:
        written = facts | {"retrieved_at": facts["retrieved_at"].isoformat()}
        write_text(self._receipt(key), json.dumps(written, ensure_ascii=False))

    def keep(self, fetched: Path, info: dict[str, Any], subtitles: dict[str, Path]) -> Row:
        """Move a fetched file to its hash, with the site's description beside it; equal files are stored once."""
        sha256 = hash_file(fetched)
        media = self.folder / f"{sha256}{fetched.suffix}"
        facts = file_facts(fetched, sha256) | {"media_path": str(media)}
        if is_remote(media):
            self.copies.store(fetched, media)
        elif media.is_file():
            fetched.unlink()
        else:
            fetched.replace(media)
        write_text(self.folder / f"{sha256}.info.json", json.dumps(info, ensure_ascii=False, indent=1))
        for language, path in subtitles.items():
            name = re.sub(r"[^\w-]", "_", language)
            beside = self.folder / f"{sha256}.{name}{path.suffix}"
            if is_remote(beside):
                upload(path, beside)
            else:
                path.replace(beside)
        return facts

    def in_place(self, uri: str, max_bytes: int) -> tuple[Row, Path]:
        """The crawl's columns of a file that is used in place, on this machine or in a bucket, and a local copy.

        Raises:
            Dropped: UNAVAILABLE, TOO_LARGE.
        """
        protocol = protocol_of(uri)
        if protocol is None:
            facts = local_facts(as_path(uri), max_bytes)
            return facts, Path(facts["media_path"])
        with self.copies.local_copy(as_path(uri)) as copy:
            return local_facts(copy, max_bytes) | {"media_path": uri, "extractor": protocol}, copy

    def _receipt(self, key: str) -> Path:
        return _receipt_in(self.folder, key)

    def _partial(self, key: str) -> Path:
        return _partial_in(self.copies.folder.with_name("downloads") if is_remote(self.folder) else self.folder, key)


def files_of(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """What a media store holds of sources: media and what lies beside them, receipts, unfinished downloads; sorted.

    Unfinished downloads for a store in a bucket lie on the disks of the nodes that made them, and are not among them.
    """
    hashes = {row["sha256"] for row in rows if row.get("sha256")}
    found = [file for file in list_files(folder, "*") if file.name.split(".")[0] in hashes] if hashes else []
    for key in {key for row in rows for key in _fetch_keys(row)}:
        receipt, partial = _receipt_in(folder, key), _partial_in(folder, key)
        found += [receipt] if is_file(receipt) else []
        if not is_remote(folder):
            found += [path for path in (*partial.rglob("*"), partial, _lock_of(partial)) if path.exists()]
    return sorted(found)


def _receipt_in(folder: Path, key: str) -> Path:
    return folder / "fetched" / f"{key}.json"


def _partial_in(folder: Path, key: str) -> Path:
    return folder / "partial" / key


def _lock_of(partial: Path) -> Path:
    return partial.with_suffix(".lock")


def fetch_key(uri: str, format_id: str | None) -> str:
    """Key of the fetch of an address; a format that a manifest expects has its own key."""
    uri = without_password(uri)  # as the ledger has it, by which `forget` looks for the fetch
    return hashlib.sha256(f"{uri}\n{format_id}".encode() if format_id else uri.encode()).hexdigest()[:32]


def _fetch_keys(row: Row) -> set[str]:
    """All keys under which a source may have been fetched."""
    return {fetch_key(row.get("uri") or "", id_) for id_ in (None, row.get("format_id"), row.get("expect_format_id"))}


def local_facts(path: Path, max_bytes: int) -> Row:
    """The crawl's columns of a file that is used in place.

    Raises:
        Dropped: UNAVAILABLE, TOO_LARGE.
    """
    try:
        if not path.is_file():
            raise Dropped(DropReason.UNAVAILABLE, f"no such file: {path}")
        if (num_bytes := path.stat().st_size) > max_bytes:
            raise Dropped(DropReason.TOO_LARGE, f"{num_bytes} bytes > {max_bytes}")
        return file_facts(path, hash_file(path)) | {"extractor": "local"}
    except OSError as error:
        raise Dropped(DropReason.UNAVAILABLE, f"cannot be read: {error}") from error


def file_facts(path: Path, sha256: str) -> Row:
    now = datetime.now(UTC)
    return {
        "media_path": str(path),
        "sha256": sha256,
        "num_bytes": path.stat().st_size,
        "retrieved_at": now.replace(microsecond=now.microsecond // 1000 * 1000),
    }


def hash_file(path: Path) -> str:
    if path.stat().st_size == 0:  # files of the kernel report no size, and some never end
        return hashlib.sha256().hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
