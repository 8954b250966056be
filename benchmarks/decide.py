"""Cost of deciding a large data set again: CPU seconds by phase, on a synthetic ledger of the true schema.

    python -m benchmarks.decide [--rows 100000]

Of ten rows two are videos, three shots, and five clips. A person has fifty clips, one clip in a hundred is a copy.
Measurements lie around the thresholds; a row that fails was not measured further. The set is decided for the first
time, once more, under a stricter policy, and under the first one again. Writing shards is not counted.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.dedup import make_clips
from pipeline.dataset.changes import compare
from pipeline.dataset.decide import Measured, decide_set, read_last
from pipeline.finalize import write_accounts
from pipeline.job.plan import STAGE_NAMES
from pipeline.rules.config import Config
from pipeline.rules.judge import judge
from pipeline.rules.policy import CHECKS, PolicyConfig
from stages.core.command import command, make_parser
from stages.core.records import LEDGER, STAGE_COLUMNS

THUMB_BYTES = 3_000
SPREAD = 0.2
"""Standard deviation of a measurement over its threshold; the mean is two and a half of them inside."""


def make_measured(num_rows: int, seed: int = 0) -> pa.Table:
    """Rows as parts hold them, with the columns of `LEDGER`."""
    rng = np.random.default_rng(seed)
    kind = np.sort(rng.choice(["hear", "scan", "features"], num_rows, p=[0.2, 0.3, 0.5]))[::-1]
    is_clip, has_shot = kind == "features", kind != "hear"
    row = np.arange(num_rows)
    start_s = (row % 8) * 8.0
    columns: dict[str, np.ndarray | pa.Array] = {
        "row_id": np.char.add("row", np.char.zfill(row.astype(str), 7)),
        "source_id": np.char.add("source", np.char.zfill((row // 5).astype(str), 7)),
        "uri": np.char.add("https://video.test/", (row // 5).astype(str)),
        "sha256": np.char.zfill((row // 5).astype(str), 64),
        "title": np.full(num_rows, "三分钟看懂人工智能：大模型到底是怎么学会说话的？"),
        "versions": np.full(num_rows, '{"code": "0.1.0+1f3a9c2e04d7", "config": "1f3a9c2e04d7", "weights": {}}'),
        "language": np.where(rng.random(num_rows) < 0.97, "zh", "en"),
        "source_language": np.where(rng.random(num_rows) < 0.97, "zh", "en"),
        **{"duration_s": np.full(num_rows, 64.0), "fps_num": np.full(num_rows, 25), "fps_den": np.full(num_rows, 1)},
        **{"width_px": np.full(num_rows, 1280), "height_px": np.full(num_rows, 720)},
        **{"start_s": start_s, "end_s": start_s + 6, "shot_start_s": start_s, "shot_end_s": start_s + 8},
        **{"shot_idx": row % 5, "clip_idx": np.zeros(num_rows), "num_frames": np.full(num_rows, 150)},
        "last_stage": kind.astype(str),
    }
    policy = PolicyConfig()
    for limit in (limit for check in CHECKS for limit in check.limits if len(limit.columns) == 1):
        inside = SPREAD * rng.normal(2.5, 1, num_rows) * (1 if limit.at_least else -1)
        columns.setdefault(limit.columns[0], np.maximum(0, (1 + inside) * getattr(policy, limit.key)))
    unmeasured = {field.name for name in STAGE_NAMES[4:] for field in STAGE_COLUMNS.get(name, ())}
    blank = dict.fromkeys(unmeasured, ~is_clip) | {field.name: ~has_shot for field in STAGE_COLUMNS["scan"]}
    arrays = [
        pa.array(columns[f.name], mask=blank.get(f.name)).cast(f.type) if f.name in columns else None for f in LEDGER
    ]
    table = pa.Table.from_arrays(
        [pa.nulls(num_rows, f.type) if array is None else array for f, array in zip(LEDGER, arrays, strict=True)],
        schema=LEDGER,
    )
    clips = make_clips(int(is_clip.sum()), seed)
    heavy = {
        "face_embedding": [clip["face_embedding"] for clip in clips],
        "audio_fingerprint": [clip["audio_fingerprint"] for clip in clips],
        "motion_fingerprint": [clip["motion_fingerprint"] for clip in clips],
        "voice_embedding": [clip["voice_embedding"] for clip in clips],
        "thumb_jpeg": [rng.bytes(THUMB_BYTES) for _ in range(int(has_shot.sum()))],
    }
    for name, values in heavy.items():
        filled = iter(values)
        there = has_shot if name == "thumb_jpeg" else is_clip
        array = pa.array([next(filled) if here else None for here in there], LEDGER.field(name).type)
        table = table.set_column(table.column_names.index(name), name, array)
    return _forget_what_came_later(table)


def _forget_what_came_later(table: pa.Table) -> pa.Table:
    """The ledger of a run, in which a row that fails was not measured by later stages."""
    first = judge(table, PolicyConfig(), STAGE_NAMES).first
    last = np.array(table["last_stage"].to_pylist(), object)
    failed = first < len(CHECKS)
    last[failed] = [CHECKS[idx].stage for idx in first[failed]]
    table = table.set_column(table.column_names.index("last_stage"), "last_stage", pa.array(last, pa.string()))
    reached = np.array([STAGE_NAMES.index(name) for name in last])
    for stage in ("identity", "mouth", "speech", "sync", "geometry", "features"):
        unmeasured = pa.array(reached < STAGE_NAMES.index(stage))
        for name in STAGE_COLUMNS[stage].names:
            idx = table.column_names.index(name)
            keep = np.flatnonzero(reached >= STAGE_NAMES.index(stage))
            place = np.full(table.num_rows, -1)
            place[keep] = keep
            table = table.set_column(idx, name, table[name].take(pa.array(place, mask=np.array(unmeasured))))
    return table


@contextmanager
def timed(what: str) -> Iterator[None]:
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    yield
    print(f"  {what:28} {time.process_time() - start_cpu_s:6.2f} CPU-s {time.perf_counter() - start_s:6.2f} s")


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.decide", __doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    args = parser.parse_args(arguments)
    strict = {"min_face_px": 110.0, "max_yaw_deg": 30.0}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        measured = Measured(make_measured(args.rows), 0, "")
        for name, change in (("first", {}), ("again", {}), ("stricter", strict), ("back", {})):
            config = replace(Config(), policy=replace(PolicyConfig(), **change))
            print(name)
            with timed("together"):
                with timed("reading the ledger"):
                    before = read_last(out)
                with timed("deciding"):
                    ledger = decide_set(measured, before, config)
                with timed("comparing"):
                    changes = compare(before, ledger)
            print(f"  {args.rows} rows, {changes.kept_before.num} clips kept before, {changes.kept_after.num} after")
            with timed("writing ledger, card, report"):
                write_accounts(out, ledger, 0, config)
        print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    raise SystemExit(main())
