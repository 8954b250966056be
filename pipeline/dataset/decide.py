"""Decisions of `finalize` over the whole set, from measurements alone: verdicts, people, duplicates, splits.

The present ledger holds what is already known. Clips that were known to differ are not compared again
(`pipeline/dataset/compared.py`), so a change of thresholds costs only the comparison of clips that are kept for the
first time. While the parts are the same that the ledger was made of, its measurements are used and no part is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset import dedup, identities, voices
from pipeline.dataset.compared import COMPARED, COMPARED_BY, Groups, compared_by, grown, known_groups
from pipeline.job.parts import Address, NoDataSet, part_files, read_parts
from pipeline.job.plan import STAGE_NAMES
from pipeline.job.scrub import scrubbed
from pipeline.job.tombstones import FILE as TOMBSTONES
from pipeline.job.tombstones import Tombstones
from pipeline.rules.config import Config
from pipeline.rules.judge import VERDICT_COLUMNS, judge, verdicts
from stages.core.reasons import DropReason, Verdict
from stages.core.records import DECIDED, LEDGER, Row
from stages.core.rows import completed, rows_from_table
from stages.core.storage import is_file, named, open_parquet, read_table, read_text

if TYPE_CHECKING:
    import pandas as pd

SPLIT_RATIOS = b"split_ratios"
"""Ledger metadata key: the shares of validation and test that its splits were drawn with."""
MADE_OF = b"made_of"
"""Ledger metadata key: the parts that its rows come from, and the sources that are incomplete in them."""
FINAL_LEDGER = pa.unify_schemas([LEDGER, DECIDED]).remove_metadata()
_CLIP_COLUMNS = [
    "row_id",
    "source_id",
    "num_frames",
    "face_px",
    "crop_bytes",
    "speaker_id",
    "voice_embedding",
    *COMPARED,
]


def read_last(out: Path) -> pa.Table | None:
    """The present ledger; None if there is none."""
    path = out / "ledger.parquet"
    return read_table(path) if is_file(path) else None


def read_columns(out: Path, columns: Sequence[str]) -> pa.Table:
    """Columns of the present ledger; null where an older one lacks them.

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
    """The measurements that are decided.

    Args:
        rows: the rows that count, with the columns of `LEDGER`.
        made_of: hash of the names of the parts and of the tombstones.
        addresses: place of each row in the parts; None if no part was read.
    """

    rows: pa.Table
    num_incomplete: int
    made_of: str
    addresses: list[Address] | None = None


def read_measured(out: Path, tombstones: Tombstones) -> Measured:
    """Read the measurements of the parts.

    Raises:
        BrokenPart: one of them cannot be read.
    """
    made_of = _digest(out)  # taken before the parts are read: what a run adds meanwhile belongs to the next decision
    parts = read_parts(out)
    return Measured(scrubbed(parts.ledger, tombstones), len(parts.incomplete), made_of, parts.addresses)


def remember_measured(out: Path, before: pa.Table | None) -> Measured | None:
    """The measurements of the present ledger; None unless it was made of exactly these parts."""
    if before is None or not before.schema.equals(FINAL_LEDGER):
        return None
    origin = json.loads((before.schema.metadata or {}).get(MADE_OF, b"null"))
    if origin is None or origin["made_of"] != _digest(out):
        return None
    return Measured(before.select(LEDGER.names).replace_schema_metadata(), origin["num_incomplete"], origin["made_of"])


def _digest(out: Path) -> str:
    stones = out / TOMBSTONES
    text = "\n".join([*(part.name for part in part_files(out)), read_text(stones) if is_file(stones) else ""])
    return hashlib.sha256(text.encode()).hexdigest()


def decide_set(source: Measured, before: pa.Table | None, config: Config) -> pa.Table:
    """The new ledger.

    Args:
        before: the present ledger; people keep its names and splits.
    Returns:
        `FINAL_LEDGER` in the order of the rows that were measured.
    """
    found = _judge(source.rows, config)
    _drop_same_files(found, source.rows)
    kept = np.flatnonzero(found["verdict"] == Verdict.KEEP)
    clips = rows_from_table(source.rows.select(_CLIP_COLUMNS).take(pa.array(kept)))
    groups = known_groups(source.rows, before, config.finalize, is_same=source.addresses is None)
    people = identities.cluster_identities(clips, config.finalize, _known_names(before), groups.faces[kept])
    overlaps = dedup.find_overlaps(clips, config.finalize, groups.repeats[kept])
    found.loc[kept, "identity_id"] = people
    strange = _drop_strange_voices(found, kept, clips, people, config)
    _drop_duplicates(found, kept, clips, [overlap for overlap in overlaps if not strange & {*overlap[:2]}], config)
    _split(found, _known_splits(before, config), config)
    _group(found, kept, clips, overlaps, groups)
    return _ledger(source, found, config)


def _judge(measured: pa.Table, config: Config) -> pd.DataFrame:
    """The policy's verdict on each row; the other decided columns are null."""
    findings = judge(measured, config.policy, STAGE_NAMES)
    found = verdicts(measured, findings, config.policy, STAGE_NAMES).to_pandas()
    found[DECIDED.names] = None
    _drop_broken_embeddings(found, measured)
    return found


def _drop_broken_embeddings(found: pd.DataFrame, measured: pa.Table) -> None:
    """Drop clips that cannot be compared: without a face's embedding, or with one that has no direction.

    A voice's embedding may be null, for short speech in parts of an older version.
    """
    for stage, name, may_be_null in (("identity", "face_embedding", False), ("speech", "voice_embedding", True)):
        kept = np.flatnonzero(found["verdict"] == Verdict.KEEP)
        vectors = measured[name].take(pa.array(kept)).combine_chunks()
        is_null = vectors.is_null().to_numpy(zero_copy_only=False)
        broken = ~is_null & ~_has_direction(vectors)
        lost = np.flatnonzero(broken if may_be_null else broken | is_null)
        details = [f"{name} {'was not measured' if is_null[idx] else 'is no direction'}" for idx in lost]
        _drop(found, kept[lost], DropReason.ERROR, details, stage)


def _has_direction(vectors: Any) -> np.ndarray:
    """Which lists of numbers have the usual length and a norm above zero; bool (N,), false for null."""
    lengths = pc.fill_null(vectors.value_lengths(), 0).to_numpy()
    usual = np.median(lengths[lengths > 0]) if (lengths > 0).any() else 0
    values = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    norms = np.sqrt(np.bincount(owner, np.square(values), len(lengths)))
    return (lengths == usual) & (norms > 0) & (norms < np.inf)


def _drop_same_files(found: pd.DataFrame, measured: pa.Table) -> None:
    """Drop every wanted source whose file equals that of a source with a smaller id."""
    files = measured.select(["sha256", "source_id"]).to_pandas()
    wanted = files[(found["verdict"] != Verdict.DROP) & files["sha256"].notna()]
    first = wanted.groupby("sha256")["source_id"].transform("min")
    first = first[wanted["source_id"] != first]
    _drop(found, first.index.to_numpy(), DropReason.DUPLICATE_SOURCE, [f"same file as {name}" for name in first])


def _drop_strange_voices(
    found: pd.DataFrame, kept: np.ndarray, clips: list[Row], people: list[str], config: Config
) -> set[int]:
    """Drop clips whose voice belongs to another face; return their indices in `clips`."""
    sims, least = voices.measure_voices(clips, people, config.finalize), config.finalize.min_voice_sim
    strange = {int(idx): f"voice_sim {sims[idx]:.2g} < {least:g}" for idx in np.flatnonzero(sims < least)}
    for idx, owner in voices.voices_elsewhere(clips, people, config.finalize).items():
        whose = f"is that of {owner}" if owner else "is heard with several faces"
        strange.setdefault(idx, f"the voice {whose} in {clips[idx]['source_id']}")
    found.loc[kept, "voice_sim"] = sims
    _drop(found, kept[list(strange)], DropReason.OTHER_VOICE, list(strange.values()))
    return set(strange)


def _drop_duplicates(
    found: pd.DataFrame, kept: np.ndarray, clips: list[Row], overlaps: list[dedup.Overlap], config: Config
) -> None:
    copies = dedup.choose_copies(clips, overlaps, config.finalize)
    details = [f"{copy.share:.0%} the same {copy.what} as {clips[copy.of]['row_id']}" for copy in copies.values()]
    _drop(found, kept[list(copies)], DropReason.DUPLICATE_CLIP, details)


def _split(found: pd.DataFrame, known: dict[str, str], config: Config) -> None:
    """Give each kept clip the split of its identity."""
    people = found.loc[found["verdict"] == Verdict.KEEP, "identity_id"]
    splits = identities.assign_splits(people.tolist(), config.finalize, known)
    found.loc[people.index, "split"] = people.map(splits)


def _group(
    found: pd.DataFrame, kept: np.ndarray, clips: list[Row], overlaps: list[dedup.Overlap], groups: Groups
) -> None:
    """Write which clips repeat each other, and the groups that save comparisons next time."""
    repeats = np.array([clip["row_id"] for clip in clips], object)
    for members in map(list, dedup.group_overlaps(overlaps)):
        repeats[members] = min(repeats[members])
        found.loc[kept[members], "repeat_id"] = repeats[members]
    people = found.loc[kept, "identity_id"].tolist()
    for name, numbers in (
        ("face", grown(groups.faces, kept, people)),
        ("repeat", grown(groups.repeats, kept, repeats)),
    ):
        found[f"{name}_group"] = np.array([None if n == dedup.UNCOMPARED else n for n in numbers.tolist()], object)


def _ledger(source: Measured, found: pd.DataFrame, config: Config) -> pa.Table:
    ledger = source.rows.drop(list(VERDICT_COLUMNS))
    for name in (*VERDICT_COLUMNS, *DECIDED.names):
        kind = FINAL_LEDGER.field(name).type
        ledger = ledger.append_column(name, pa.array(found[name].to_numpy(object), kind, from_pandas=True))
    about = {SPLIT_RATIOS: _ratios(config), COMPARED_BY: compared_by(config.finalize), MADE_OF: _made_of(source)}
    return ledger.select(FINAL_LEDGER.names).cast(FINAL_LEDGER).replace_schema_metadata(about)


def copy_of(detail: str) -> str:
    """The `row_id` named in the detail of a duplicate clip."""
    return detail.partition(" as ")[2]


def _drop(
    found: pd.DataFrame,
    indices: Sequence[int] | np.ndarray,
    reason: DropReason,
    details: list[str],
    stage: str = "finalize",
) -> None:
    for name, value in zip(VERDICT_COLUMNS, (str(Verdict.DROP), stage, str(reason), details), strict=True):
        found.loc[indices, name] = value


def _known_names(before: pa.Table | None) -> dict[str, str]:
    """Identities in the last ledger, by `row_id`."""
    if before is None:
        return {}
    named = before.select(["row_id", "identity_id"]).filter(pc.field("identity_id").is_valid())
    return {row["row_id"]: row["identity_id"] for row in named.to_pylist()}


def _known_splits(before: pa.Table | None, config: Config) -> dict[str, str]:
    """Splits in the last ledger, by identity; none if the ratios have changed."""
    if before is None or (before.schema.metadata or {}).get(SPLIT_RATIOS) != _ratios(config):
        return {}
    named = before.select(["identity_id", "split"]).filter(pc.field("identity_id").is_valid())
    return {row["identity_id"]: row["split"] for row in named.to_pylist() if row["split"]}


def _ratios(config: Config) -> bytes:
    return json.dumps([config.finalize.val_ratio, config.finalize.test_ratio]).encode()


def _made_of(source: Measured) -> bytes:
    return json.dumps({"made_of": source.made_of, "num_incomplete": source.num_incomplete}).encode()
