"""Decide what was measured: verdicts, duplicates, people, splits, shards, ledger, report and card.

    python -m pipeline.finalize --out DIR [policy.key=value ...] [--dry-run]

decides the whole set again from the stored measurements, and says what that changes before it writes; no video is
touched. Clips that a looser policy wants but that were dropped before every stage had measured them stay pending until
`pipeline/run.py` runs once more. Shards whose clips stay as they are are not written again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.changes import Changes, compare, print_changes
from pipeline.dataset.decide import Measured, decide_set, read_last, read_measured, remember_measured
from pipeline.dataset.shards import Kept, write_shards
from pipeline.dataset.stats import compute_stats, print_funnel
from pipeline.job.parts import NoDataSet, alone, part_files
from pipeline.job.plan import STAGE_NAMES
from pipeline.job.scrub import scrub_parts
from pipeline.job.tombstones import read_tombstones
from pipeline.rules.config import Config, config_hash, store_config, stored_config
from pipeline.show.card import write_card
from pipeline.show.page import write_report
from stages.core.command import command, make_console, make_parser
from stages.core.reasons import Verdict
from stages.core.records import SCHEMA_VERSION
from stages.core.storage import as_path, is_file, list_files, remove, write_parquet, write_text

UNFINISHED = ".shards.unfinished"
"""Name of the file that marks shards which the ledger does not list yet."""
SHARDS = b"shards"
"""Ledger metadata key: names of the shards that hold its kept clips, and the settings they were written with."""


def finalize(out: Path, config: Config, announce: Callable[[Changes], None] = lambda _changes: None) -> dict[str, Any]:
    """Write everything that readers see; return the statistics.

    Args:
        announce: called with what will change, before anything is written.
    Raises:
        NoDataSet: DIR has no parts.
        BrokenPart: one of them cannot be read.
        Busy: another process is finalizing DIR. A run may go on meanwhile: its complete sources are in.
    """
    _raise_if_empty(out)
    with alone(out, "finalize"):
        before = read_last(out)
        measured = remember_measured(out, before) or _read_clean(out)
        ledger = decide_set(measured, before, config)
        stand = _shards_stand(out, config, before, ledger)
        if not stand and measured.addresses is None:  # the clips to copy must be found in the parts
            measured = _read_clean(out)
            ledger = decide_set(measured, before, config)
        announce(compare(before, ledger))
        if not stand:
            write_text(out / UNFINISHED, "")
            write_shards(out, config, _kept(ledger, measured))
        about = {**(ledger.schema.metadata or {}), SHARDS: _shards(out, config)}
        stats = write_accounts(out, ledger.replace_schema_metadata(about), measured.num_incomplete, config)
        remove(out / UNFINISHED)
        return stats


def foresee(out: Path, config: Config) -> Changes:
    """The changes that `finalize` would make; nothing is written.

    Raises:
        NoDataSet: DIR has no parts.
        BrokenPart: one of them cannot be read.
    """
    _raise_if_empty(out)
    before = read_last(out)
    measured = remember_measured(out, before) or read_measured(out, read_tombstones(out))
    return compare(before, decide_set(measured, before, config))


def _read_clean(out: Path) -> Measured:
    """The measurements of the parts, after everything forgotten was removed from them."""
    tombstones = read_tombstones(out)
    scrub_parts(out, tombstones)
    return read_measured(out, tombstones)


def _raise_if_empty(out: Path) -> None:
    if not part_files(out):
        raise NoDataSet(f"{out} holds no parts: run pipeline/run.py --out {out} first")


def _kept(ledger: pa.Table, measured: Measured) -> Kept:
    rows = ledger.select(["verdict", "split", "identity_id", "num_frames"]).to_pylist()
    places = zip(rows, measured.addresses or [], strict=True)
    return [(row, address) for row, address in places if row["verdict"] == Verdict.KEEP]


def _shards_stand(out: Path, config: Config, before: pa.Table | None, ledger: pa.Table) -> bool:
    """Whether the shards already hold the same clips with the same measurements, splits and identities."""
    if before is None or is_file(out / UNFINISHED):
        return False
    if (before.schema.metadata or {}).get(SHARDS) != _shards(out, config):
        return False
    was, is_now = (table.filter(pc.field("verdict") == Verdict.KEEP) for table in (before, ledger))
    return was.equals(is_now)


def _shards(out: Path, config: Config) -> bytes:
    how = config.finalize
    cut = [SCHEMA_VERSION, how.shard_bytes, how.clips_per_row_group, how.depth, how.exact_whisper, config_hash(config)]
    return json.dumps([cut, [file.name for file in list_files(out / "shards", "*.parquet")]]).encode()


def write_accounts(out: Path, ledger: pa.Table, num_incomplete: int, config: Config) -> dict[str, Any]:
    """Write ledger, statistics, card and report; return the statistics."""
    write_parquet(ledger, out / "ledger.parquet")
    stats = compute_stats(ledger, STAGE_NAMES)
    stats["num_incomplete_sources"] = num_incomplete
    store_config(out, config)
    write_text(out / "stats.json", json.dumps(stats, indent=1, ensure_ascii=False))
    write_card(out, stats, config)
    write_report(out)
    return stats


@command(again="The parts are as they were: run the same command again.")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m pipeline.finalize", __doc__)
    parser.add_argument("--out", required=True, help="folder of a run, or s3://bucket/folder")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    parser.add_argument("overrides", nargs="*", metavar="policy.key=value")
    args = parser.parse_intermixed_args(arguments)
    console = make_console()
    out = as_path(args.out)
    config = stored_config(out, args.overrides)
    if args.dry_run:
        print_changes(foresee(out, config), console)
        return
    stats = finalize(out, config, lambda changes: print_changes(changes, console))
    print_funnel(stats, console)


if __name__ == "__main__":
    raise SystemExit(main())
