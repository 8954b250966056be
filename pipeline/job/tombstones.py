"""Tombstones, which keep what was forgotten on request out of the parts and of every later crawl.

`DIR/tombstones.jsonl` holds one line a request. Nothing in it describes a face or a voice: source and row ids, hashes
of media files, and salted hashes of addresses. The salt stands in the file; it keeps the hashes from being looked up in
tables made elsewhere, not from being checked against an address that somebody already has.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from stages.core.reasons import Dropped, DropReason
from stages.core.records import SOURCE, Row
from stages.core.storage import is_file, is_remote, read_text, remove, write_text
from stages.crawl import files_of, split_item

FILE = "tombstones.jsonl"
KEPT_OF_SOURCE = {"row_id", "source_id", "platform", "versions"}
"""Columns that a forgotten source keeps."""
_TRACKING = re.compile(r"(utm_|spm|share_|vd_source)")


@dataclass(frozen=True)
class Tombstone:
    """One request.

    Args:
        request: the request, such as `source lesson-1`.
        source_ids: sources that were removed as a whole.
        row_ids: clips that were removed from sources that stay.
        sha256: hashes of the media files of the removed sources.
        addresses: salted hashes of the addresses of the removed sources.
    """

    request: str
    forgotten_at: str
    salt: str
    source_ids: tuple[str, ...] = ()
    row_ids: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


class Tombstones:
    """All requests of a data set."""

    def __init__(self, stones: Iterable[Tombstone] = ()) -> None:
        self.stones = tuple(stones)
        self.salt = self.stones[0].salt if self.stones else secrets.token_hex(16)
        self.requests = {stone.request for stone in self.stones}
        self.source_ids = self._when("source_ids")
        self.row_ids = self._when("row_ids")
        self.sha256 = self._when("sha256")
        self.addresses = self._when("addresses")

    def _when(self, name: str) -> dict[str, str]:
        return {key: stone.forgotten_at for stone in self.stones for key in getattr(stone, name)}

    def __bool__(self) -> bool:
        return bool(self.stones)

    def hashes_of(self, row: Row) -> set[str]:
        """Salted hashes of all addresses of a row's source."""
        return {self._hash(address) for address in _addresses(row)}

    def _hash(self, address: str) -> str:
        return hmac.new(bytes.fromhex(self.salt), address.encode(), hashlib.sha256).hexdigest()

    def by_name(self, row: Row) -> str | None:
        """Time at which the source of a row was forgotten, by its name or its bytes; None if it was not."""
        return self.source_ids.get(row["source_id"]) or self.sha256.get(row.get("sha256") or "")

    def by_address(self, row: Row) -> str | None:
        """Time at which the source of a row was forgotten, by its address; a page stands for all of its items."""
        if not self.addresses:
            return None
        page = _canonical(split_item(row.get("uri") or "")[0])
        hashes = [*self.hashes_of(row), self._hash(page)]
        return next((self.addresses[key] for key in hashes if key in self.addresses), None)

    def with_request(self, request: str, sources: list[Row], row_ids: Iterable[str]) -> Tombstones:
        """These tombstones and one more; unchanged if it adds nothing.

        Args:
            sources: rows of the sources that are removed as a whole.
            row_ids: single clips that are removed.
        """
        stone = Tombstone(
            request,
            datetime.now(UTC).date().isoformat(),
            self.salt,
            source_ids=tuple(sorted({row["source_id"] for row in sources} - self.source_ids.keys())),
            row_ids=tuple(sorted(set(row_ids) - self.row_ids.keys())),
            sha256=tuple(sorted({row["sha256"] for row in sources if row.get("sha256")} - self.sha256.keys())),
            addresses=tuple(sorted({key for row in sources for key in self.hashes_of(row)} - self.addresses.keys())),
        )
        if request in self.requests and not (stone.source_ids or stone.row_ids or stone.sha256 or stone.addresses):
            return self
        return Tombstones([*self.stones, stone])


def _addresses(row: Row) -> set[str]:
    """Canonical addresses of a source: its own, its page's unless that has other videos, and its id at the site."""
    is_item = split_item(row.get("uri") or "")[1] is not None
    found = {_canonical(row[name]) for name in ("uri", "webpage_url")[: 1 if is_item else 2] if row.get(name)}
    extractor, site_id = row.get("extractor"), row.get("site_id")
    if site_id and extractor not in (None, "generic", "local"):
        found.add(f"{extractor}:{site_id}")
    return found


def _canonical(uri: str) -> str:
    """Canonical form of all links to a video: without tracking, `www.`, last slash, fragments."""
    match = re.match(r"https?://(?:www\.|m\.)?([^/?#]*)([^?#]*)(?:\?([^#]*))?", uri, re.IGNORECASE)
    if match is None:
        return uri
    item = split_item(uri)[1]
    host, path, query = match.groups("")
    pairs = sorted(pair for pair in query.split("&") if pair and not _TRACKING.match(pair))
    return f"{host.lower()}{path.rstrip('/')}?{'&'.join(pairs)}{f'#{item}' if item else ''}"


def read_tombstones(out: Path) -> Tombstones:
    path = out / FILE
    lines = read_text(path).splitlines() if is_file(path) else []
    return Tombstones(Tombstone(**json.loads(line)) for line in lines if line.strip())


def write_tombstones(out: Path, tombstones: Tombstones) -> None:
    write_text(out / FILE, "".join(json.dumps(asdict(stone), ensure_ascii=False) + "\n" for stone in tombstones.stones))


def when_text(forgotten_at: str) -> str:
    return f"forgotten on request on {forgotten_at}"


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files, then their folders; all files of such a folder have to be among the paths."""
    for path in sorted(paths, reverse=True):
        if not is_remote(path) and path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            remove(path)


class Gatekeeper:
    """Crawl that refuses forgotten sources.

    Args:
        crawl: stage function that fetches a source.
        out: data set that holds the tombstones.
    """

    def __init__(self, crawl: Callable[[Row], Row], out: Path) -> None:
        self._crawl, self._media = crawl, out / "media"
        self._tombstones = read_tombstones(out)

    def __call__(self, row: Row) -> Row:
        """The crawl's row.

        Raises:
            Dropped: FORGOTTEN, before anything is fetched. A source that is known by its bytes or its id at the site is
                refused only afterwards, and what was fetched is removed.
        """
        self._refuse(row)
        found = self._crawl(row)
        try:
            self._refuse(found)
        except Dropped:
            remove_files(files_of(self._media, [found]))
            raise
        return found

    def _refuse(self, row: Row) -> None:
        when = self._tombstones.by_name(row) or self._tombstones.by_address(row)
        if when is not None:
            blank = dict.fromkeys(name for name in SOURCE.names if name not in KEPT_OF_SOURCE)
            raise Dropped(DropReason.FORGOTTEN, when_text(when), blank)
