"""The parts: append-only Parquet files with all measurements, and the progress of a run that follows from them.

The names of a run's parts carry its generation. A run measures a source from its beginning. A source is complete in a
generation when every shot and every clip of every tracked shot is there. Its newest complete generation counts. Finer
rows supersede coarser ones: once a source has shots, its own row no longer counts. Readers see only complete sources.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from filelock import FileLock, Timeout

from stages.core.command import UserError
from stages.core.records import LEDGER, ROW
from stages.core.rows import completed
from stages.core.storage import is_remote, list_files, named, open_parquet, read_table, remove, size_of, write_parquet

_KEYS = ["row_id", "source_id", "shot_idx", "num_shots", "clip_idx", "num_clips"]
_READERS = 16
"""Number of parts read at a time. They are small, so a store's latency takes longer than the transfer."""


SMALL_PART_BYTES = 1_000_000
"""Size below which parts are joined. Rows that were dropped before they had pictures take 10 to 30 kB each."""
MAX_JOINED = 200
ROW_GROUP_BYTES = 64_000_000
"""Size of a row group, which is read at once for shards: eight clips, or thousands of rows without pictures."""


class BrokenPart(UserError):
    """A part that cannot be read; the message names it and the remedy."""


class NoDataSet(UserError):
    """A folder without a run, or with one that was not finalized; the message names the command to run first."""


class Busy(UserError):
    """Another process is at the same work on the same DIR."""


@contextmanager
def alone(out: Path, work: str) -> Iterator[None]:
    """Lock `out` against a second process with the same work; the lock ends with its process.

    A bucket has no lock: two runs there do the same work twice, and the later finalize counts.

    Raises:
        Busy: another process holds the lock; raised at once.
    """
    if is_remote(out):
        yield
        return
    lock = FileLock(out / f".{work}.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise Busy(f"another process is at {work} on {out}; wait for it, or stop it") from error
    try:
        yield
    finally:
        lock.release()


def part_files(out: Path) -> list[Path]:
    """Parts in the order in which they supersede each other."""
    return list_files(out / "parts", "part-*.parquet")


def next_generation(out: Path) -> int:
    return max(map(_generation, part_files(out)), default=0) + 1


def _generation(part: Path) -> int:
    return int(part.name.split("-")[1].removeprefix("g"))


def write_part(table: pa.Table, out: Path, generation: int) -> Path:
    """Write rows under a name that a repeated task chooses again."""
    name = hashlib.sha256("\n".join(table["row_id"].to_pylist()).encode()).hexdigest()[:16]
    target = out / "parts" / f"part-g{generation:05d}-{name}.parquet"
    rows_per_group = ROW_GROUP_BYTES * table.num_rows // max(table.nbytes, 1)
    write_parquet(table, target, row_group_size=max(1, rows_per_group))
    return target


def compact(out: Path) -> None:
    """Join the small parts of each generation, so that their number follows the data and not the sources.

    The joined part is written before the small ones are removed. A crash in between leaves rows twice, which count
    once. While another process finalizes and reads the parts, nothing is joined.
    """
    try:
        with alone(out, "finalize"):
            _join_small_parts(out)
    except Busy:
        return


def _join_small_parts(out: Path) -> None:
    by_generation: dict[int, list[Path]] = defaultdict(list)
    for file in part_files(out):
        if size_of(file) < SMALL_PART_BYTES:
            by_generation[_generation(file)].append(file)
    for generation, files in by_generation.items():
        for first in range(0, len(files), MAX_JOINED):
            some = files[first : first + MAX_JOINED]
            if len(some) > 1:
                rows = pa.concat_tables(completed(read_table(file), ROW) for file in some)
                joined = write_part(rows, out, generation)
                for file in some:
                    if file != joined:
                        remove(file)


@dataclass(frozen=True)
class Address:
    """Place of a row in the parts."""

    part: Path
    row_idx: int


@dataclass(frozen=True)
class Parts:
    """The rows that count: each source as its newest complete generation has it.

    Args:
        ledger: their ledger columns.
        addresses: place of each row, in the ledger's order.
        incomplete: sources that have rows but are complete in no generation.
    """

    ledger: pa.Table
    addresses: list[Address]
    incomplete: list[str]


def read_parts(out: Path) -> Parts:
    """Read the ledger columns of everything that was measured.

    Raises:
        BrokenPart: a part is no Parquet file, or has another schema.
    """
    files = part_files(out)
    with ThreadPoolExecutor(_READERS) as pool:
        tables = list(pool.map(_read_part, files))
    origin = [Address(file, idx) for file, table in zip(files, tables, strict=True) for idx in range(table.num_rows)]
    if not tables:
        return Parts(LEDGER.empty_table(), [], [])
    everything = pa.concat_tables(tables)
    keys = everything.select(_KEYS).to_pylist()
    sources: dict[str, dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for idx, (key, address) in enumerate(zip(keys, origin, strict=True)):
        sources[key["source_id"]][_generation(address.part)][key["row_id"]] = idx
    chosen, incomplete = [], []
    for source_id, generations in sources.items():
        newest_first = (list(generations[number].values()) for number in sorted(generations, reverse=True))
        counted = next((rows for indices in newest_first if (rows := _finest(indices, keys))), None)
        if counted is None:
            incomplete.append(source_id)
        else:
            chosen += counted
    chosen.sort(key=lambda idx: keys[idx]["row_id"])
    return Parts(everything.take(pa.array(chosen, pa.int64())), [origin[idx] for idx in chosen], incomplete)


def _read_part(file: Path) -> pa.Table:
    try:
        table = read_table(file, LEDGER.names)
        table.select(_KEYS)  # a part without these columns is not ours
        return completed(table, LEDGER)
    except (pa.ArrowException, KeyError) as error:
        raise BrokenPart(f"{file} cannot be read: {error}\nDelete it; its sources are measured again.") from error


def _finest(indices: list[int], keys: list[dict]) -> list[int] | None:
    """Indices of the finest rows of one source and generation; None while some are missing."""
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
        if clips and len(clips) != max(keys[idx]["num_clips"] or 0 for idx in clips):  # only the last one has it
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
