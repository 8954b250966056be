"""What `finalize` decides over the whole set, from measurements alone: verdicts, people, duplicates, splits.

The ledger that stands is asked what is known already. Clips that were ever compared are not compared again unless they
were alike (`pipeline/dataset/compared.py`), so that a change of thresholds costs what clips cost that are kept for the
first time; and while the parts are those that it was made of, its own measurements are decided again, and no part is
read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset import dedup, identities, voices
from pipeline.dataset.compared import COMPARED, COMPARED_BY, compared_by, grown, known_groups
from pipeline.job.parts import Address, NoDataSet, part_files, read_parts
from pipeline.job.plan import STAGE_NAMES
from pipeline.job.tombstones import FILE as TOMBSTONES
from pipeline.job.tombstones import Tombstones, scrubbed
from pipeline.rules.config import Config
from pipeline.rules.judge import VERDICT_COLUMNS, judge, verdicts
from stages.core.reasons import DropReason, Verdict
from stages.core.records import DECIDED, LEDGER, Row
from stages.core.rows import completed, rows_from_table
from stages.core.storage import is_file, named, open_parquet, read_table, read_text

if TYPE_CHECKING:
    import pandas as pd

SPLIT_RATIOS = b"split_ratios"
"""Ledger metadata: the shares of validation and test that its splits were drawn with."""
MADE_OF = b"made_of"
"""Ledger metadata: the parts that its rows come from, and the sources that these do not hold all of."""
FINAL_LEDGER = pa.unify_schemas([LEDGER, DECIDED]).remove_metadata()
_ALIKE = ["row_id", "source_id", "num_frames", "face_px", "crop_bytes", "speaker_id", "voice_embedding", *COMPARED]


def read_last(out: Path) -> pa.Table | None:
    """The ledger that stands; None if there is none."""
    path = out / "ledger.parquet"
    return read_table(path) if is_file(path) else None


def read_columns(out: Path, columns: Sequence[str]) -> pa.Table:
    """Columns of the ledger that stands; null where an older one lacks them.

    Raises:
        NoDataSet: there is none.
    """
    path = out / "ledger.parquet"
    if not is_file(path):
        raise NoDataSet(f"{path} is missing: run python -m pipeline.finalize --out {out} first")
    with named(path, "read"), open_parquet(path) as file:
        there = file.read(columns=[name for name in columns if name in file.schema_arrow.names])
    return completed(there, pa.schema([FINAL_LEDGER.field(name) for name in columns]))


@dataclass(frozen=True)
class Measured:
    """All that is to be decided.

    Args:
        rows: the rows that count, with the columns of `LEDGER`.
        made_of: names the parts, and what was forgotten of them.
        addresses: where each row lies; None where no part was read.
    """

    rows: pa.Table
    num_incomplete: int
    made_of: str
    addresses: list[Address] | None = None


def read_measured(out: Path, tombstones: Tombstones) -> Measured:
    """Read what the parts hold.

    Raises:
        BrokenPart: one of them cannot be read.
    """
    made_of = _digest(out)  # before they are read: what a run adds meanwhile is another day's
    parts = read_parts(out)
    return Measured(scrubbed(parts.ledger, tombstones), len(parts.incomplete), made_of, parts.addresses)


def remember_measured(out: Path, before: pa.Table | None) -> Measured | None:
    """The same from the ledger that stands; None unless it was made of just these parts."""
    told = json.loads(((before.schema.metadata or {}) if before is not None else {}).get(MADE_OF, b"null"))
    if before is None or told is None or told["made_of"] != _digest(out) or not before.schema.equals(FINAL_LEDGER):
        return None
    return Measured(before.select(LEDGER.names).replace_schema_metadata(), told["num_incomplete"], told["made_of"])


def _digest(out: Path) -> str:
    stones = out / TOMBSTONES
    text = "\n".join([*(part.name for part in part_files(out)), read_text(stones) if is_file(stones) else ""])
    return hashlib.sha256(text.encode()).hexdigest()


def decide_set(source: Measured, before: pa.Table | None, config: Config) -> pa.Table:
    """The new ledger.

    Args:
        before: the ledger that stands: people keep the names and splits that it gives them.
    Returns:
        `FINAL_LEDGER` in the order of the rows that were measured.
    """
    measured = source.rows
    findings = judge(measured, config.policy, STAGE_NAMES)
    found = verdicts(measured, findings, config.policy, STAGE_NAMES).to_pandas()
    _drop_copies(found, measured)
    kept = np.flatnonzero(found["verdict"] == Verdict.KEEP)
    rows = rows_from_table(measured.select(_ALIKE).take(pa.array(kept)))
    told = known_groups(measured, before, config.finalize, is_same=source.addresses is None)
    names, known_splits = _known(before, config)
    people = identities.cluster_identities(rows, config.finalize, names, told.faces[kept])
    sims = voices.measure_voices(rows, people, config.finalize)
    strange = _strange_voices(rows, people, sims, config)
    _drop(found, kept[list(strange)], DropReason.OTHER_VOICE, list(strange.values()))
    overlaps = dedup.find_overlaps(rows, config.finalize, told.repeats[kept])
    heard = [overlap for overlap in overlaps if not strange.keys() & overlap[:2]]
    copies = dedup.choose_copies(rows, heard, config.finalize)
    details = [f"{copy.share:.0%} the same {copy.what} as {rows[copy.of]['row_id']}" for copy in copies.values()]
    _drop(found, kept[list(copies)], DropReason.DUPLICATE_CLIP, details)
    stay = np.setdiff1d(np.arange(len(rows)), [*copies, *strange])
    splits = identities.assign_splits([people[idx] for idx in stay], config.finalize, known_splits)
    repeats = np.array([row["row_id"] for row in rows], object)
    joined = [list(group) for group in dedup.group_overlaps(overlaps)]
    for group in joined:
        repeats[group] = min(repeats[group])
    found[DECIDED.names] = None
    found.loc[kept, "identity_id"] = people
    found.loc[kept, "voice_sim"] = sims
    found.loc[kept[stay], "split"] = [splits[people[idx]] for idx in stay]
    repeating = [idx for group in joined for idx in group]
    found.loc[kept[repeating], "repeat_id"] = repeats[repeating]
    for name, groups in (("face", grown(told.faces, kept, people)), ("repeat", grown(told.repeats, kept, repeats))):
        found[f"{name}_group"] = np.array([None if n == dedup.UNTOLD else n for n in groups.tolist()], object)
    ledger = measured.drop(list(VERDICT_COLUMNS))
    for name in (*VERDICT_COLUMNS, *DECIDED.names):
        kind = FINAL_LEDGER.field(name).type
        ledger = ledger.append_column(name, pa.array(found[name].to_numpy(object), kind, from_pandas=True))
    about = {SPLIT_RATIOS: _ratios(config), COMPARED_BY: compared_by(config.finalize), MADE_OF: _made_of(source)}
    return ledger.select(FINAL_LEDGER.names).cast(FINAL_LEDGER).replace_schema_metadata(about)


def _strange_voices(rows: list[Row], people: list[str], sims: np.ndarray, config: Config) -> dict[int, str]:
    """What is wrong with the voice, by index of the clip."""
    least = config.finalize.min_voice_sim
    strange = {int(idx): f"voice_sim {sims[idx]:.2g} < {least:g}" for idx in np.flatnonzero(sims < least)}
    for idx, owner in voices.voices_elsewhere(rows, people, config.finalize).items():
        whose = f"is that of {owner}" if owner else "is heard with several faces"
        strange.setdefault(idx, f"the voice {whose} in {rows[idx]['source_id']}")
    return strange


def copy_of(detail: str) -> str:
    """The `row_id` that the detail of a duplicate clip names."""
    return detail.partition(" as ")[2]


def _drop(found: pd.DataFrame, indices: Sequence[int] | np.ndarray, reason: DropReason, details: list[str]) -> None:
    for name, value in zip(VERDICT_COLUMNS, (str(Verdict.DROP), "finalize", str(reason), details), strict=True):
        found.loc[indices, name] = value


def _drop_copies(found: pd.DataFrame, measured: pa.Table) -> None:
    """Of wanted sources with the very same bytes only the first, by id, stays."""
    files = measured.select(["sha256", "source_id"]).to_pandas()
    wanted = files[(found["verdict"] != Verdict.DROP) & files["sha256"].notna()]
    first = wanted.groupby("sha256")["source_id"].transform("min")
    first = first[wanted["source_id"] != first]
    _drop(found, first.index.to_numpy(), DropReason.DUPLICATE_SOURCE, [f"same file as {name}" for name in first])


def _known(before: pa.Table | None, config: Config) -> tuple[dict[str, str], dict[str, str]]:
    """Names by `row_id` and splits by name, as the last ledger has them; no splits where the ratios have changed."""
    if before is None:
        return {}, {}
    people: list[Row] = (
        before.select(["row_id", "identity_id", "split"]).filter(pc.field("identity_id").is_valid()).to_pylist()
    )
    same_ratios = (before.schema.metadata or {}).get(SPLIT_RATIOS) == _ratios(config)
    splits = {row["identity_id"]: row["split"] for row in people if row["split"]} if same_ratios else {}
    return {row["row_id"]: row["identity_id"] for row in people}, splits


def _ratios(config: Config) -> bytes:
    return json.dumps([config.finalize.val_ratio, config.finalize.test_ratio]).encode()


def _made_of(source: Measured) -> bytes:
    return json.dumps({"made_of": source.made_of, "num_incomplete": source.num_incomplete}).encode()
