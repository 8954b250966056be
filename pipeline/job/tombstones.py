"""What was forgotten on request, so that it stays out: of the parts, and of every later crawl.

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

import pyarrow as pa

from pipeline.job.parts import BrokenPart, part_files
from stages.core.reasons import Dropped, DropReason
from stages.core.records import CRAWL, PROBE, SOURCE, Row
from stages.core.rows import rows_from_table, table_from_rows
from stages.core.storage import is_file, is_remote, list_files, read_table, read_text, remove, write_parquet, write_text
from stages.crawl import fetch_keys, split_item

FILE = "tombstones.jsonl"
PARTS_ROW_GROUP = 8
KEYS = ("row_id", "source_id", "sha256", "fault_reason")
_KEPT_OF_SOURCE = {"row_id", "source_id", "platform", "versions"}
_KEPT_OF_CLIP = {
    *("row_id", "versions", "span", "shot_idx", "num_shots", "shot_start_s", "shot_end_s"),
    *("clip_idx", "num_clips", "start_s", "end_s", "num_frames", *SOURCE.names, *CRAWL.names, *PROBE.names),
}
_TRACKING = re.compile(r"(utm_|spm|share_|vd_source)")


@dataclass(frozen=True)
class Tombstone:
    """One request.

    Args:
        request: what was asked for, such as `source lesson-1`.
        source_ids: sources that are gone as a whole.
        row_ids: clips that are gone from sources that stay.
        sha256: of the media files of the former.
        addresses: salted hashes of where they came from.
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
        """Salted hashes of all addresses that a row tells of its source."""
        return {self._hash(address) for address in _addresses(row)}

    def _hash(self, address: str) -> str:
        return hmac.new(bytes.fromhex(self.salt), address.encode(), hashlib.sha256).hexdigest()

    def by_name(self, row: Row) -> str | None:
        """When the source of a row was forgotten, by its name or its bytes; None if it was not."""
        return self.source_ids.get(row["source_id"]) or self.sha256.get(row.get("sha256") or "")

    def by_address(self, row: Row) -> str | None:
        """The same by where it comes from; with a page go all items of it."""
        if not self.addresses:
            return None
        page = _plain(split_item(row.get("uri") or "")[0])
        hashes = [*self.hashes_of(row), self._hash(page)]
        return next((self.addresses[key] for key in hashes if key in self.addresses), None)

    def with_request(self, request: str, sources: list[Row], row_ids: Iterable[str]) -> Tombstones:
        """These and one more; the same if it would add nothing.

        Args:
            sources: rows of the sources that go as a whole.
            row_ids: single clips that go.
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
    """Where a source came from, written in one way: its address, its page unless it has others, and its name there."""
    is_item = split_item(row.get("uri") or "")[1] is not None
    found = {_plain(row[name]) for name in ("uri", "webpage_url")[: 1 if is_item else 2] if row.get(name)}
    extractor, site_id = row.get("extractor"), row.get("site_id")
    if site_id and extractor not in (None, "generic", "local"):
        found.add(f"{extractor}:{site_id}")
    return found


def _plain(uri: str) -> str:
    """An address without what differs between links to one video: tracking, `www.`, last slash, fragments."""
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


def gone(table: pa.Table, tombstones: Tombstones) -> list[bool]:
    """Which rows of a table are forgotten and still stand there with what was measured."""
    names = [name for name in KEYS if name in table.column_names]
    return [_is_gone(row, tombstones) for row in table.select(names).to_pylist()]


def _is_gone(row: Row, tombstones: Tombstones) -> bool:
    left = row.get("fault_reason") == DropReason.FORGOTTEN
    if tombstones.by_name(row) is not None:
        return not left or row["row_id"] != row["source_id"]
    return row["row_id"] in tombstones.row_ids and not left


def remains(row: Row, tombstones: Tombstones) -> Row:
    """What is left of a forgotten row: the ids that keep it from being measured again, and the reason."""
    when = tombstones.by_name(row)
    if when is not None:
        left = {name: value for name, value in row.items() if name in _KEPT_OF_SOURCE}
        return left | {"row_id": row["source_id"], "last_stage": "crawl", **_fault(when)}
    left = {name: value for name, value in row.items() if name in _KEPT_OF_CLIP}
    return left | {"last_stage": "track", **_fault(tombstones.row_ids[row["row_id"]])}


def _fault(when: str) -> Row:
    return {"fault_reason": str(DropReason.FORGOTTEN), "fault_detail": f"forgotten on request on {when}"}


def scrub_parts(out: Path, tombstones: Tombstones) -> list[Path]:
    """Take everything forgotten out of the parts; returns the files that were rewritten, each as a whole.

    Raises:
        BrokenPart: one of them cannot be read.
    """
    touched = []
    for file in part_files(out) if tombstones else ():
        try:
            marked = gone(read_table(file, columns=list(KEYS)), tombstones)
            table = read_table(file) if any(marked) else None
        except (pa.ArrowException, KeyError) as error:
            raise BrokenPart(f"{file} cannot be read: {error}\nDelete it; its sources are measured again.") from error
        if table is not None:
            write_parquet(scrubbed(table, tombstones), file, row_group_size=PARTS_ROW_GROUP)
            touched.append(file)
    return touched


def scrubbed(table: pa.Table, tombstones: Tombstones) -> pa.Table:
    """Rows without what is forgotten of them."""
    marked = gone(table, tombstones) if tombstones else []
    if not any(marked):
        return table
    forgotten = rows_from_table(table.filter(pa.array(marked)).select(_small(table)))
    left = {row["row_id"]: row for row in (remains(row, tombstones) for row in forgotten)}
    stay = table.filter(pa.array([not mark for mark in marked]))
    return pa.concat_tables([stay, table_from_rows(left.values(), stay.schema)])


def _small(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name in _KEPT_OF_SOURCE | _KEPT_OF_CLIP]


def media_of(media: Path, rows: list[Row]) -> list[Path]:
    """Files of the media store that were made for sources: media and what lies beside them, receipts, partials."""
    hashes = {row["sha256"] for row in rows if row.get("sha256")}
    found = [file for file in list_files(media, "*") if file.name.split(".")[0] in hashes] if hashes else []
    for key in {key for row in rows for key in fetch_keys(row)}:
        receipt, partial = media / "fetched" / f"{key}.json", media / "partial" / key
        found += [receipt] if is_file(receipt) else []
        if not is_remote(media):  # unfinished downloads are on the disk of a node
            found += [path for path in (*partial.rglob("*"), partial, partial.with_suffix(".lock")) if path.exists()]
    return sorted(found)


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files and then the folders that held them; all of a folder has to be among the paths."""
    for path in sorted(paths, reverse=True):
        if not is_remote(path) and path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            remove(path)


class Gatekeeper:
    """The crawl of everything that was not forgotten.

    Args:
        crawl: stage function that fetches a source.
        out: data set whose tombstones count.
    """

    def __init__(self, crawl: Callable[[Row], Row], out: Path) -> None:
        self._crawl, self._media = crawl, out / "media"
        self._tombstones = read_tombstones(out)

    def __call__(self, row: Row) -> Row:
        """The crawl's row.

        Raises:
            Dropped: FORGOTTEN, before anything is fetched; by its bytes or its name at the site only afterwards, and
                then what was fetched is removed.
        """
        self._refuse(row)
        found = self._crawl(row)
        try:
            self._refuse(found)
        except Dropped:
            remove_files(media_of(self._media, [found]))
            raise
        return found

    def _refuse(self, row: Row) -> None:
        when = self._tombstones.by_name(row) or self._tombstones.by_address(row)
        if when is not None:
            blank = dict.fromkeys(name for name in SOURCE.names if name not in _KEPT_OF_SOURCE)
            raise Dropped(DropReason.FORGOTTEN, f"forgotten on request on {when}", blank)
