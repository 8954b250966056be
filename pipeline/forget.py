"""Remove a person or a source from a data set, for good.

    python -m pipeline.forget --out DIR (--source ID ... | --identity ID) [--dry-run]

takes sources, or everybody who looks like one identity, out of shards, parts, ledger, statistics, card, report and
media store. Only files that hold something of them are rewritten, each as a whole, and `DIR/tombstones.jsonl` keeps a
later crawl from bringing them back. What dies on the way is finished by the same command.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.dataset.decide import FINAL_LEDGER, copy_of
from pipeline.finalize import write_accounts
from pipeline.job.parts import BrokenPart, NoDataSet, alone, part_files
from pipeline.job.plan import STAGE_NAMES
from pipeline.job.scrub import gone, remains, scrub_parts
from pipeline.job.tombstones import Tombstones, read_tombstones, remove_files, write_tombstones
from pipeline.rules.config import CONFIG_FILE, Config, config_files, stored_config
from pipeline.rules.policy import decide
from stages.core.command import UserError, command, make_console, make_parser
from stages.core.reasons import DropReason
from stages.core.records import Row
from stages.core.rows import rows_from_table, table_from_rows
from stages.core.storage import (
    as_path,
    is_file,
    is_remote,
    list_files,
    open_parquet,
    parquet_writer,
    read_table,
    read_text,
    remove,
    size_of,
    write_whole,
)
from stages.crawl import files_of

_SOURCE_KEYS = (
    *("source_id", "parent_id", "sha256", "uri", "webpage_url"),
    *("extractor", "site_id", "format_id", "expect_format_id"),
)
_LEDGER_KEYS = ("row_id", "source_id", "identity_id", "face_embedding", "drop_reason", "drop_detail")


class UnknownId(UserError):
    """A source or identity that this data set does not have."""


@dataclass
class Removal:
    """What a request removes.

    Args:
        sources: origin and place of each source that is removed as a whole.
        row_ids: removed clips of sources that stay.
        files: removed files of the media store.
        copies: clips of other sources that sound like a removed one.
    """

    sources: dict[str, list[Row]] = field(default_factory=dict)
    row_ids: set[str] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)


def plan_removal(out: Path, config: Config, sources: list[str], identity: str | None) -> Removal:
    """The removal that a request asks for; nothing is changed.

    A playlist, page or search takes all of its entries with it. Any source takes those with the same bytes or address.

    Raises:
        UnknownId: no source or identity has this name, and none was forgotten under it.
        BrokenPart: a part cannot be read.
    """
    known, ledger, tombstones = _known_sources(out), _read_ledger(out), read_tombstones(out)
    removal = Removal()
    if identity is not None:
        sources, removal.row_ids = _of_identity(ledger, identity, config.finalize.identity_sim)
        if not sources and not removal.row_ids and _request([], identity) not in tombstones.requests:
            raise UnknownId(f"{out} has no identity {identity!r}; `ledger.parquet` names them in `identity_id`")
    absent = [name for name in sources if name not in known and name not in tombstones.source_ids]
    if absent:
        raise UnknownId(
            f"{out} has no source {', '.join(map(repr, absent))}; `ledger.parquet` names them in `source_id`"
        )
    asked = [row for name in _with_listed(sources, known) for row in known.get(name, [])]
    planned = tombstones.with_request("", asked, ())
    for name, rows in known.items():
        if rows and any(planned.by_name(row) or planned.by_address(row) for row in rows):
            removal.sources[name] = rows
    removal.files = files_of(out / "media", [row for rows in removal.sources.values() for row in rows])
    going = {row["row_id"] for row in ledger if row["source_id"] in removal.sources} | removal.row_ids
    twins = [{row["row_id"], copy_of(row["drop_detail"])} for row in ledger if _is_copy(row)]
    removal.copies = sorted({row_id for pair in twins if pair & going for row_id in pair - going})
    return removal


def forget(out: Path, config: Config, request: str, removal: Removal) -> list[str]:
    """Carry out a removal and whatever an earlier one left undone; return the names of the rewritten files.

    The tombstones are written first: from then on neither a run nor `finalize` shows what is forgotten. The parts are
    rewritten last, because everything else is found through them.

    Raises:
        BrokenPart: a part cannot be read.
    """
    everything = [row for rows in removal.sources.values() for row in rows]
    tombstones = read_tombstones(out).with_request(request, everything, removal.row_ids)
    write_tombstones(out, tombstones)
    remove_files(removal.files)
    _remove_leftovers(out)
    touched = [file for file in list_files(out / "shards", "*.parquet") if _scrub_shard(file, tombstones)]
    touched += scrub_parts(out, tombstones)
    if is_file(out / "ledger.parquet"):
        _scrub_accounts(out, config, tombstones)
    return [f"{file.parent.name}/{file.name}" for file in touched]


def _known_sources(out: Path) -> dict[str, list[Row]]:
    """Rows with the origin and place of each source; includes incomplete sources, and forgotten ones without a row."""
    known: dict[str, dict[str, Row]] = defaultdict(dict)
    ledger = out / "ledger.parquet"
    for file in [*part_files(out), *([ledger] if is_file(ledger) else [])]:
        try:
            with open_parquet(file) as table:
                names = [name for name in _SOURCE_KEYS if name in table.schema_arrow.names]
                rows = table.read(columns=names).to_pylist()
        except pa.ArrowException as error:
            raise BrokenPart(f"{file} cannot be read: {error}\nDelete it; its sources are measured again.") from error
        for row in rows:
            found = known[row["source_id"]]
            if row["uri"]:
                found.setdefault(json.dumps(row), row)
    return {name: list(rows.values()) for name, rows in known.items()}


def _with_listed(names: list[str], known: dict[str, list[Row]]) -> set[str]:
    """Names of sources and of everything that they listed, at any depth."""
    listed: dict[str | None, set[str]] = defaultdict(set)
    for name, rows in known.items():
        for row in rows:
            listed[row.get("parent_id")].add(name)
    found, fresh = set(), set(names)
    while fresh:
        found |= fresh
        fresh = {entry for name in fresh for entry in listed[name]} - found
    return found


def _read_ledger(out: Path) -> list[Row]:
    path = out / "ledger.parquet"
    return rows_from_table(read_table(path, columns=list(_LEDGER_KEYS))) if is_file(path) else []


def _of_identity(ledger: list[Row], identity: str, identity_sim: float) -> tuple[list[str], set[str]]:
    """Sources that show only this identity, and the clips of other sources that look like it.

    Clips that were dropped have no identity; they are recognised by their faces.
    """
    own = [row for row in ledger if row.get("identity_id") == identity]
    if not own:
        return [], set()
    faces = _unit(own)
    mine, others = defaultdict(set), set()
    for row in ledger:
        if "face_embedding" not in row:
            continue
        if row.get("identity_id") == identity or (faces @ _unit([row])[0]).max() > identity_sim:
            mine[row["source_id"]].add(row["row_id"])
        else:
            others.add(row["source_id"])
    whole = sorted(mine.keys() - others)
    return whole, {row_id for name in mine.keys() & others for row_id in mine[name]}


def _is_copy(row: Row) -> bool:
    return row.get("drop_reason") == DropReason.DUPLICATE_CLIP


def _unit(rows: list[Row]) -> np.ndarray:
    faces = np.stack([np.asarray(row["face_embedding"], np.float32) for row in rows])
    return faces / np.linalg.norm(faces, axis=1, keepdims=True)


def _scrub_shard(file: Path, tombstones: Tombstones) -> bool:
    """Rewrite a shard without forgotten rows, or remove an empty one; False if it held none."""
    with open_parquet(file) as shard:
        marked = gone(shard.read(columns=["row_id", "source_id", "sha256"]), tombstones)
        if any(marked) and not all(marked):
            with write_whole(file) as target, parquet_writer(target, shard.schema_arrow) as writer:
                first = 0
                for number in range(shard.num_row_groups):
                    group = shard.read_row_group(number)
                    stay = [not mark for mark in marked[first : first + group.num_rows]]
                    first += group.num_rows
                    if any(stay):
                        writer.write_table(group.filter(pa.array(stay)), row_group_size=group.num_rows)
    if marked and all(marked):
        remove(file)
    return any(marked)


def _scrub_accounts(out: Path, config: Config, tombstones: Tombstones) -> None:
    """Rewrite ledger, statistics, card and report without forgotten rows; verdicts and splits of others stay."""
    ledger = read_table(out / "ledger.parquet")
    marked = gone(ledger, tombstones)
    stay = ledger.filter(pa.array([not mark for mark in marked]))
    forgotten = rows_from_table(ledger.filter(pa.array(marked)))
    left = {row["row_id"]: row for row in (remains(row, tombstones) for row in forgotten)}
    decided = [row | decide(row, config.policy, STAGE_NAMES) for row in left.values()]
    tables = [stay, table_from_rows(decided, FINAL_LEDGER)]
    ledger = pa.concat_tables(tables, promote_options="default").sort_by("row_id")
    before = json.loads(read_text(out / "stats.json")) if is_file(out / "stats.json") else {}
    write_accounts(out, ledger.select(FINAL_LEDGER.names), before.get("num_incomplete_sources", 0), config)


def _remove_leftovers(out: Path) -> None:
    """Remove half-written files of processes that died: they may hold forgotten rows."""
    for folder in (out / ".shards.new", out / ".shards.old"):
        if is_remote(folder):
            remove_files(list_files(folder, "*"))
        elif folder.is_dir():
            remove_files([*folder.rglob("*"), folder])
    for folder in (out, out / "parts", out / "shards"):
        remove_files(list_files(folder, ".*.parquet.*"))
    remove_files(list_files(out, ".report.html.*"))


def _request(sources: list[str], identity: str | None) -> str:
    return f"identity {identity}" if identity is not None else f"source {' '.join(sorted(sources))}"


@command(again="Run the same command again to finish it.")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m pipeline.forget", __doc__)
    parser.add_argument("--out", required=True, help="folder of a run, or s3://bucket/folder")
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--source", action="append", default=[], metavar="ID", help="source_id; may be given again")
    whom.add_argument("--identity", metavar="ID", help="identity_id of ledger and shards")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    args = parser.parse_args(arguments)
    console = make_console()
    out = as_path(args.out)
    if not config_files(out):
        raise NoDataSet(f"{out} is no data set: it has no {CONFIG_FILE}")
    config = stored_config(out)
    with ExitStack() as locks:
        for work in () if args.dry_run else ("run", "finalize"):
            locks.enter_context(alone(out, work))
        removal = plan_removal(out, config, args.source, args.identity)
        media = [path for path in removal.files if is_file(path)]
        num_bytes = sum(map(size_of, media))
        touched = [] if args.dry_run else forget(out, config, _request(args.source, args.identity), removal)
    lines = [f"{'would forget' if args.dry_run else 'forgotten'}: {len(removal.sources)} sources as a whole"]
    lines += [f"  {name}" for name in removal.sources]
    if removal.row_ids:
        lines.append(f"and {len(removal.row_ids)} clips of sources that show others, whose media stay:")
        lines += [f"  {row_id}" for row_id in sorted(removal.row_ids)]
    lines.append(f"{len(media)} files of the media store, {num_bytes / 1e6:.1f} MB; {len(touched)} files rewritten")
    lines += [f"  {name}" for name in touched]
    if removal.copies:
        lines.append(
            "other sources sound like what goes, and are not touched; forget them too if they show the same person:"
        )
        lines += [f"  {row_id}" for row_id in removal.copies]
    lines.append("Not touched: the manifest, local files that it lists, copies of the data set, models trained on it.")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    raise SystemExit(main())
