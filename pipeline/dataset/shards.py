"""The shards: kept clips copied from the parts, in smaller types where that costs no accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float16, Float32, Int8

from pipeline.dataset.swap import swap_files
from pipeline.job.parts import Address, read_rows
from pipeline.rules.config import Config, FinalizeConfig, config_hash
from stages.core.records import CLIP_FPS, SPLITS, Row, shard_schema
from stages.core.rows import rows_from_table, table_from_rows
from stages.core.storage import parquet_writer

FRAME_BYTES, DEPTH_BYTES = 18_000, 17_000
"""Approximate size of a frame, and of its depth map."""
STEPS_A_DEVIATION = 6
"""Quantization steps per standard deviation.

Rounding errs by .048 of a deviation. Another start of Whisper's window changes states of real speech by .4 of one.
"""
MOST = 127

Kept = list[tuple[Row, Address]]
"""Kept clips: `split`, `identity_id` and `num_frames` from the ledger, and the place in the parts."""


def write_shards(out: Path, config: Config, kept: Kept) -> None:
    """Replace `shards/` as a whole once all new files are written."""
    with swap_files(out / "shards") as open_file:
        for split in SPLITS:
            chosen = [(row, address) for row, address in kept if row["split"] == split]
            for number, clips in enumerate(_files_of(chosen, config.finalize)):
                with open_file(f"{split}-{number:05d}.parquet") as path:
                    _write_shard(path, clips, config)


def _files_of(clips: Kept, config: FinalizeConfig) -> Iterator[Kept]:
    """Group clips into files by their length."""
    frame_bytes = FRAME_BYTES + DEPTH_BYTES * config.depth
    chosen: Kept = []
    size = 0
    for row, address in clips:
        chosen.append((row, address))
        size += row["num_frames"] * frame_bytes
        if size >= config.shard_bytes:
            yield chosen
            chosen, size = [], 0
    if chosen:
        yield chosen


def _write_shard(path: Path, clips: Kept, config: Config) -> None:
    known = {address: row for row, address in clips}
    writer: pq.ParquetWriter | None = None
    batch: list[Row] = []
    size = config.finalize.clips_per_row_group
    addresses = sorted(known, key=lambda a: (a.part, a.row_idx))
    for address, table in zip(addresses, read_rows(addresses), strict=True):
        row = _shard_row(rows_from_table(table)[0], config)
        row |= {key: known[address][key] for key in ("split", "identity_id")}
        if writer is None:
            widths = row["exp_coeff"].shape[1], len(row["whisper"][0])
            schema = shard_schema(*widths, config.finalize.depth, config.finalize.exact_whisper)
            described = {"config_hash": config_hash(config), "versions": row["versions"]}
            writer = parquet_writer(path, schema.with_metadata({**(schema.metadata or {}), **described}))
        batch.append({key: value for key, value in row.items() if key in writer.schema.names})
        if len(batch) == size:
            writer.write_table(table_from_rows(batch, writer.schema), row_group_size=size)
            batch = []
    if writer is not None:
        if batch:
            writer.write_table(table_from_rows(batch, writer.schema), row_group_size=size)
        writer.close()


def _shard_row(measured: Row, config: Config) -> Row:
    row = measured | {"fps": CLIP_FPS}
    if not config.finalize.exact_whisper:
        levels, row["whisper_step"] = to_levels(measured["whisper"])
        row["whisper"] = [state.tobytes() for state in levels]
    return row


def to_levels(states: Float16[np.ndarray, "t n"]) -> tuple[Int8[np.ndarray, "t n"], Float32[np.ndarray, " n"]]:
    """Quantize Whisper states to 8 bits: levels, and the step of each channel; `states` are about `levels * step`.

    A step is a sixth of the channel's standard deviation over the clip, or larger if its largest value needs it. Shards
    store levels as one byte string a state. Parquet has no 8-bit numbers; as numbers they would take half as much
    again.
    """
    values = states.astype(np.float32)
    step = np.maximum(values.std(axis=0) / STEPS_A_DEVIATION, np.abs(values).max(axis=0) / MOST)
    step[step == 0] = 1
    return np.rint(values / step).clip(-MOST, MOST).astype(np.int8), step
