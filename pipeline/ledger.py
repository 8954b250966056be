"""The parts: append-only Parquet files that are the memory of a run, and what they say of its progress.

A run's parts carry its generation in their name. A later generation's row supersedes an earlier one's with the same
id, and finer rows supersede coarser ones: once a source has shots, its row as a whole no longer counts. A source is
complete when every shot, and every clip of every tracked shot, is there; readers see only complete sources.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.records import LEDGER, ROW
from pipeline.storage import list_files, named, open_parquet, read_table, write_parquet

_KEYS = ["row_id", "source_id", "shot_idx", "num_shots", "clip_idx", "num_clips"]
_READERS = 16
"""Parts read at a time: small files, so that a store answers slower than it sends."""


class BrokenPart(Exception):
    """A part that cannot be read; the message names it and the way out."""


def part_files(out: Path) -> list[Path]:
    """Parts in the order in which they supersede each other."""
    return list_files(out / "parts", "part-*.parquet")


def next_generation(out: Path) -> int:
    return max((int(file.name.split("-")[1][1:]) for file in part_files(out)), default=0) + 1


def write_part(table: pa.Table, out: Path, generation: int) -> Path:
    """Write rows once and for all, under a name that a repeated task would choose again."""
    name = hashlib.sha256("\n".join(table["row_id"].to_pylist()).encode()).hexdigest()[:16]
    target = out / "parts" / f"part-g{generation:05d}-{name}.parquet"
    write_parquet(table, target, row_group_size=8)
    return target


@dataclass(frozen=True)
class Address:
    """Where a row lies."""

    part: Path
    row_idx: int


@dataclass(frozen=True)
class Parts:
    """The rows that count: complete sources, each row in its newest version.

    Args:
        ledger: their ledger columns.
        addresses: where each of them lies, in the ledger's order.
        incomplete: sources that have rows but not all of them.
    """

    ledger: pa.Table
    addresses: list[Address]
    incomplete: list[str]


def read_parts(out: Path) -> Parts:
    """Read the ledger columns of everything that was measured.

    Raises:
        BrokenPart: a part is no Parquet file, or not one of this schema.
    """
    files = part_files(out)
    with ThreadPoolExecutor(_READERS) as pool:
        tables = list(pool.map(_read_part, files))
    origin = [Address(file, idx) for file, table in zip(files, tables, strict=True) for idx in range(table.num_rows)]
    if not tables:
        return Parts(LEDGER.empty_table(), [], [])
    everything = pa.concat_tables(tables)
    by_source: dict[str, list[int]] = defaultdict(list)
    keys = everything.select(_KEYS).to_pylist()
    newest = {key["row_id"]: idx for idx, key in enumerate(keys)}
    for idx in newest.values():
        by_source[keys[idx]["source_id"]].append(idx)
    chosen, incomplete = [], []
    for source_id, indices in by_source.items():
        counted = _finest(indices, keys)
        if counted is None:
            incomplete.append(source_id)
        else:
            chosen += counted
    chosen.sort(key=lambda idx: keys[idx]["row_id"])
    return Parts(everything.take(pa.array(chosen, pa.int64())), [origin[idx] for idx in chosen], incomplete)


def _read_part(file: Path) -> pa.Table:
    try:
        return read_table(file, LEDGER.names).select(LEDGER.names).cast(LEDGER)
    except (pa.ArrowException, KeyError) as error:
        raise BrokenPart(f"{file} cannot be read: {error}\nDelete it; its sources are measured again.") from error


def _finest(indices: list[int], keys: list[dict]) -> list[int] | None:
    """The rows of one source that count, or None while some are missing."""
    shots: dict[int, list[int]] = defaultdict(list)
    for idx in indices:
        if keys[idx]["shot_idx"] is not None:
            shots[keys[idx]["shot_idx"]].append(idx)
    if not shots:
        return indices
    if len(shots) != keys[next(iter(shots.values()))[0]]["num_shots"]:
        return None
    counted = []
    for rows in shots.values():
        clips = [idx for idx in rows if keys[idx]["clip_idx"] is not None]
        if clips and len(clips) != keys[clips[0]]["num_clips"]:
            return None
        counted += clips or rows
    return counted


def read_rows(addresses: Iterable[Address], columns: list[str] | None = None) -> Iterable[pa.Table]:
    """One-row tables, read part by part, one row group at a time."""
    by_part: dict[Path, list[int]] = defaultdict(list)
    for address in addresses:
        by_part[address.part].append(address.row_idx)
    for part, row_indices in by_part.items():
        with named(part, "read"), open_parquet(part) as file:
            first = 0
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                wanted = [idx - first for idx in row_indices if first <= idx < first + size]
                first += size
                if wanted:
                    table = file.read_row_group(group, columns=columns or ROW.names)
                    for idx in wanted:
                        yield table.slice(idx, 1)
