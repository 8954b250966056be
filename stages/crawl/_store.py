"""Where fetched media lie: named by their hash, with receipts by address. The only file access of the crawl."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline.records import Dropped, DropReason, Row


@dataclass(frozen=True)
class MediaStore:
    """`<sha256>.<ext>`, beside it `<sha256>.info.json` and `<sha256>.<language>.vtt`; unfinished ones in `partial/`.

    Args:
        folder: made on first use.
    """

    folder: Path

    @contextmanager
    def workspace(self, key: str) -> Iterator[Path]:
        """A folder to fetch into, ours alone, with what an earlier try has left there."""
        partial = self.folder / "partial" / key
        partial.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(partial.with_suffix(".lock")):  # another row may name the same address
            partial.mkdir(exist_ok=True)
            yield partial

    def discard(self, key: str) -> None:
        """What is left of a finished fetch."""
        shutil.rmtree(self.folder / "partial" / key, ignore_errors=True)

    def receipt(self, key: str) -> Row | None:
        """The crawl's columns of an address that was fetched before, as long as its media are there."""
        path = self._receipt(key)
        if not path.is_file():
            return None
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not Path(facts["media_path"]).is_file():
            return None
        return facts | {"retrieved_at": datetime.fromisoformat(facts["retrieved_at"])}

    def sign(self, key: str, facts: Row) -> None:
        path = self._receipt(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = facts | {"retrieved_at": facts["retrieved_at"].isoformat()}
        _write_text(path, json.dumps(written, ensure_ascii=False))

    def keep(self, fetched: Path, info: dict[str, Any], subtitles: dict[str, Path]) -> Row:
        """Move a fetched file under its hash, and what the site says of it beside it; the same bytes lie there once."""
        sha256 = hash_file(fetched)
        media = self.folder / f"{sha256}{fetched.suffix}"
        if media.is_file():
            fetched.unlink()
        else:
            fetched.replace(media)
        _write_text(self.folder / f"{sha256}.info.json", json.dumps(info, ensure_ascii=False, indent=1))
        for language, path in subtitles.items():
            name = re.sub(r"[^\w-]", "_", language)
            path.replace(self.folder / f"{sha256}.{name}{path.suffix}")
        return file_facts(media, sha256)

    def _receipt(self, key: str) -> Path:
        return self.folder / "fetched" / f"{key}.json"


def local_facts(path: Path) -> Row:
    """The crawl's columns of a file that is used in place.

    Raises:
        Dropped: UNAVAILABLE.
    """
    try:
        if not path.is_file():
            raise Dropped(DropReason.UNAVAILABLE, f"no such file: {path}")
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
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_text(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        staged.write_text(text, encoding="utf-8")
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
