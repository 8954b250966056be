"""From parts to a data set: verdicts, duplicates, identities, splits, shards, ledger, statistics, report and card.

    python -m pipeline.finalize --out DIR [policy.key=value ...]

decides the whole set again from the stored measurements; no video is touched. Clips that a looser policy wants but that
were dropped before every stage had measured them stay pending until `pipeline/run.py` runs once more.
"""

from __future__ import annotations

import argparse
import errno
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.card import write_card
from pipeline.config import Config, ConfigError, config_hash, load_config, to_yaml
from pipeline.console import make_console
from pipeline.dedup import find_duplicates
from pipeline.identities import assign_splits, cluster_identities
from pipeline.ledger import Address, BrokenPart, Busy, Parts, alone, part_files, read_parts, read_rows
from pipeline.manifest import is_there, is_url
from pipeline.plan import STAGE_NAMES
from pipeline.policy import Verdict, decide
from pipeline.progress import UNKNOWN_FAULTS
from pipeline.records import CLIP_FPS, LEDGER, TRANSIENT_REASONS, DropReason, Row, shard_schema
from pipeline.report import write_report
from pipeline.rows import rows_from_table, table_from_rows
from pipeline.stats import compute_stats, print_funnel
from pipeline.storage import UnknownStorage, as_path, is_file, read_table, write_parquet, write_text
from pipeline.swap import swap_files
from pipeline.tombstones import read_tombstones, scrub_parts

INTERRUPTED = 130
SAME_SOUND = "same sound as "
SPLIT_RATIOS = b"split_ratios"
"""Ledger metadata: the shares of validation and test that its splits were drawn with."""
FINAL_LEDGER = pa.schema([*LEDGER, pa.field("split", pa.string()), pa.field("identity_id", pa.string())])


def finalize(out: Path, config: Config) -> dict[str, Any]:
    """Write everything that readers see; returns the statistics.

    Raises:
        FileNotFoundError: DIR has no parts.
        BrokenPart: one of them cannot be read.
        Busy: another process is finalizing DIR. A run may go on meanwhile: its complete sources are in.
    """
    if not part_files(out):
        raise FileNotFoundError(f"{out} holds no parts: run pipeline/run.py --out {out} first")
    with alone(out, "finalize"):
        scrub_parts(out, read_tombstones(out))
        return _write_all(out, config, read_parts(out))


def _write_all(out: Path, config: Config, parts: Parts) -> dict[str, Any]:
    rows = decide_all(rows_from_table(parts.ledger), config)
    rows = _drop_copies(rows)
    kept = [idx for idx, row in enumerate(rows) if row["verdict"] == Verdict.KEEP]
    for idx, original in find_duplicates([rows[idx] for idx in kept], config.finalize).items():
        rows[kept[idx]] |= _dropped(DropReason.DUPLICATE_CLIP, SAME_SOUND + rows[kept[original]]["row_id"])
    kept = [idx for idx in kept if rows[idx]["verdict"] == Verdict.KEEP]
    names, known_splits = _known(out, config)
    identities = cluster_identities([rows[idx] for idx in kept], config.finalize, names)
    splits = assign_splits(identities, config.finalize, known_splits)
    for idx, identity in zip(kept, identities, strict=True):
        rows[idx] |= {"identity_id": identity, "split": splits[identity]}
    _write_shards(out, config, [(rows[idx], parts.addresses[idx]) for idx in kept])
    ledger = table_from_rows(rows, FINAL_LEDGER).replace_schema_metadata({SPLIT_RATIOS: _ratios(config)})
    return write_accounts(out, ledger, len(parts.incomplete), config)


def write_accounts(out: Path, ledger: pa.Table, num_incomplete: int, config: Config) -> dict[str, Any]:
    """Write all that is told of the shards: ledger, statistics, card and report; returns the statistics."""
    write_parquet(ledger, out / "ledger.parquet")
    stats = compute_stats(ledger, STAGE_NAMES)
    stats["num_incomplete_sources"] = num_incomplete
    write_text(out / "config.yaml", to_yaml(config))
    write_text(out / "stats.json", json.dumps(stats, indent=1, ensure_ascii=False))
    write_card(out, stats, config)
    write_report(out)
    return stats


def _known(out: Path, config: Config) -> tuple[dict[str, str], dict[str, str]]:
    """Names by `row_id` and splits by name, as the last ledger has them; no splits where the ratios have changed."""
    if not is_file(out / "ledger.parquet"):
        return {}, {}
    ledger = read_table(out / "ledger.parquet", columns=["row_id", "identity_id", "split"])
    people = [row for row in ledger.to_pylist() if row["identity_id"] is not None]
    same_ratios = (ledger.schema.metadata or {}).get(SPLIT_RATIOS) == _ratios(config)
    splits = {row["identity_id"]: row["split"] for row in people} if same_ratios else {}
    return {row["row_id"]: row["identity_id"] for row in people}, splits


def _ratios(config: Config) -> bytes:
    return json.dumps([config.finalize.val_ratio, config.finalize.test_ratio]).encode()


def decide_all(rows: list[Row], config: Config) -> list[Row]:
    """Every row with the verdict that today's policy gives it."""
    return [row | decide(row, config.policy, STAGE_NAMES) for row in rows]


def _drop_copies(rows: list[Row]) -> list[Row]:
    """Of wanted sources with the very same bytes only the first, by id, stays."""
    wanted = [row for row in rows if row["verdict"] != Verdict.DROP and "sha256" in row]
    first: dict[str, str] = {}
    for row in sorted(wanted, key=lambda row: row["source_id"]):
        first.setdefault(row["sha256"], row["source_id"])
    return [
        row | _dropped(DropReason.DUPLICATE_SOURCE, f"same file as {first[row['sha256']]}")
        if row["verdict"] != Verdict.DROP and first.get(row.get("sha256", "")) not in (None, row["source_id"])
        else row
        for row in rows
    ]


def _dropped(reason: DropReason, detail: str) -> Row:
    return {
        "verdict": str(Verdict.DROP),
        "drop_stage": "finalize",
        "drop_reason": str(reason),
        "drop_detail": detail,
    }


def _write_shards(out: Path, config: Config, kept: list[tuple[Row, Address]]) -> None:
    """Replace `shards/` as a whole once all new files are written."""
    with swap_files(out / "shards") as open_file:
        for split in ("train", "val", "test"):
            chosen = [(row, address) for row, address in kept if row["split"] == split]
            for number, clips in enumerate(_files_of(chosen, config.finalize.shard_bytes)):
                with open_file(f"{split}-{number:05d}.parquet") as path:
                    _write_shard(path, clips, config)


def _files_of(clips: list[tuple[Row, Address]], limit_bytes: int) -> Iterator[list[tuple[Row, Address]]]:
    """Group clips into files by their length; a frame takes about 28 KB."""
    frame_bytes = 28_000
    chosen: list[tuple[Row, Address]] = []
    size = 0
    for row, address in clips:
        chosen.append((row, address))
        size += row["num_frames"] * frame_bytes
        if size >= limit_bytes:
            yield chosen
            chosen, size = [], 0
    if chosen:
        yield chosen


def _write_shard(path: Path, clips: list[tuple[Row, Address]], config: Config) -> None:
    known = {address: row for row, address in clips}
    writer: pq.ParquetWriter | None = None
    batch: list[Row] = []
    size = config.finalize.clips_per_row_group
    addresses = sorted(known, key=lambda a: (a.part, a.row_idx))
    for address, table in zip(addresses, read_rows(addresses), strict=True):
        row: dict[str, Any] = rows_from_table(table)[0] | {"fps": CLIP_FPS}
        row |= {key: known[address][key] for key in ("split", "identity_id")}
        schema = shard_schema(row["exp_coeff"].shape[1], row["whisper"].shape[1])
        if writer is None:
            described = {"config_hash": config_hash(config), "versions": row["versions"]}
            schema = schema.with_metadata({**(schema.metadata or {}), **described})
            writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=3)
        batch.append({key: value for key, value in row.items() if key in schema.names})
        if len(batch) == size:
            writer.write_table(table_from_rows(batch, writer.schema), row_group_size=size)
            batch = []
    if writer is not None:
        if batch:
            writer.write_table(table_from_rows(batch, writer.schema), row_group_size=size)
        writer.close()


def wanted_sources(sources: list[Row], parts: Parts, config: Config) -> tuple[set[str], set[str]]:
    """Ids of the sources that need no more work, and of those to measure again.

    These have rows that the policy newly wants, a licence or consent that will do now, or a fault that may be gone: an
    unknown error, a site that could not be reached, a file that now has another address or is there.
    """
    rows = decide_all(rows_from_table(parts.ledger.drop(["face_embedding", "voice_embedding"])), config)
    listed = {source["source_id"]: source for source in sources}
    known = [row for row in rows if row["source_id"] in listed]
    again = {row["source_id"] for row in known if _is_wanted(row, listed[row["source_id"]], config)}
    return {row["source_id"] for row in known} - again, again


def _is_wanted(row: Row, source: Row, config: Config) -> bool:
    return (
        row["verdict"] == Verdict.PENDING
        or _allowed_since(row, source, config)
        or _may_be_gone(row, source["uri"], config)
    )


def _allowed_since(row: Row, source: Row, config: Config) -> bool:
    """Whether a row was refused for its licence or consent, and the manifest now names one that will do."""
    refusals = (DropReason.LICENCE, DropReason.CONSENT)
    if row["drop_reason"] not in refusals:
        return False
    return decide(source | {"last_stage": STAGE_NAMES[0]}, config.policy, STAGE_NAMES)["drop_reason"] not in refusals


def _may_be_gone(row: Row, uri: str, config: Config) -> bool:
    fault = row.get("fault_reason")
    if fault == DropReason.LISTING:
        return config.run.list_again
    if fault == DropReason.LOGIN_REQUIRED:
        return config.crawl.cookies_file is not None
    if fault == DropReason.UNAVAILABLE and not is_url(uri):
        return uri != row["uri"] or is_there(uri)
    return fault in UNKNOWN_FAULTS or fault in TRANSIENT_REASONS


def disk_trouble(error: OSError, out: Path | str) -> str:
    """What the machine refused; for a full disk, which one."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full; free some space for {error.filename or out}"
    return str(error)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.finalize", description=__doc__)
    parser.add_argument("--out", required=True, help="folder of a run, or s3://bucket/folder")
    parser.add_argument("overrides", nargs="*", metavar="policy.key=value")
    args = parser.parse_args(arguments)
    console = make_console()
    try:
        out = as_path(args.out)
        stored = out / "config.yaml"
        for override in args.overrides:
            if not override.startswith(("policy.", "finalize.")):
                raise ConfigError(f"{override!r}: only policy.* and finalize.* can be decided again without measuring")
        config = load_config([stored] if is_file(stored) else [], args.overrides)
        stats = finalize(out, config)
    except (ConfigError, FileNotFoundError, BrokenPart, Busy, UnknownStorage) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again.", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        print(f"error: {disk_trouble(error, args.out)}\nThe parts are as they were: run it again.", file=sys.stderr)
        return 1
    print_funnel(stats, console)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
