"""What `finalize` decides over the whole set, from measurements alone: verdicts, people, duplicates, splits.

The ledger that stands is asked what is known already. Clips that were compared for it are not compared again unless
they were alike, so that a change of thresholds costs what the newly kept clips cost; and while the parts are those that
it was made of, its own measurements are decided again, and no part is read.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import dedup, identities, voices
from pipeline.config import Config
from pipeline.judge import VERDICT_COLUMNS, judge, verdicts
from pipeline.ledger import Address, part_files, read_parts
from pipeline.plan import STAGE_NAMES
from pipeline.policy import Verdict
from pipeline.records import DECIDED, LEDGER, DropReason, Row
from pipeline.rows import rows_from_table
from pipeline.storage import is_file, named, open_parquet, read_table, read_text
from pipeline.tombstones import FILE as TOMBSTONES
from pipeline.tombstones import Tombstones, scrubbed

if TYPE_CHECKING:
    import pandas as pd

SPLIT_RATIOS = b"split_ratios"
"""Ledger metadata: the shares of validation and test that its splits were drawn with."""
COMPARED_BY = b"compared_by"
"""Ledger metadata: code and settings that its clips were compared with."""
MADE_OF = b"made_of"
"""Ledger metadata: the parts that its rows come from, and the sources that these do not hold all of."""
FINAL_LEDGER = pa.unify_schemas([LEDGER, DECIDED]).remove_metadata()
_COMPARED = ("face_embedding", "audio_fingerprint", "motion_fingerprint")
_ALIKE = ["row_id", "source_id", "num_frames", "face_px", "crop_bytes", "speaker_id", "voice_embedding", *_COMPARED]


def read_last(out: Path) -> pa.Table | None:
    """The ledger that stands; None if there is none."""
    path = out / "ledger.parquet"
    return read_table(path) if is_file(path) else None


def read_columns(out: Path, columns: Sequence[str]) -> pa.Table:
    """Columns of the ledger that stands; null where an older one lacks them.

    Raises:
        FileNotFoundError: there is none.
    """
    path = out / "ledger.parquet"
    if not is_file(path):
        raise FileNotFoundError(f"{path} is missing: run python -m pipeline.finalize --out {out} first")
    with named(path, "read"), open_parquet(path) as file:
        there = file.read(columns=[name for name in columns if name in file.schema_arrow.names])
    for name in (name for name in columns if name not in there.column_names):
        there = there.append_column(name, pa.nulls(there.num_rows, FINAL_LEDGER.field(name).type))
    return there


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
    repeats, faces = _told(rows, source, before, config)
    names, known_splits = _known(before, config)
    people = identities.cluster_identities(rows, config.finalize, names, faces)
    sims = voices.measure_voices(rows, people, config.finalize)
    strange = _strange_voices(rows, people, sims, config)
    _drop(found, kept[list(strange)], DropReason.OTHER_VOICE, list(strange.values()))
    overlaps = dedup.find_overlaps(rows, config.finalize, repeats)
    heard = [overlap for overlap in overlaps if not strange.keys() & overlap[:2]]
    copies = dedup.choose_copies(rows, heard, config.finalize)
    details = [f"{copy.share:.0%} the same {copy.what} as {rows[copy.of]['row_id']}" for copy in copies.values()]
    _drop(found, kept[list(copies)], DropReason.DUPLICATE_CLIP, details)
    stay = np.setdiff1d(np.arange(len(rows)), [*copies, *strange])
    splits = identities.assign_splits([people[idx] for idx in stay], config.finalize, known_splits)
    groups = [(min(rows[idx]["row_id"] for idx in group), list(group)) for group in dedup.group_overlaps(overlaps)]
    found[DECIDED.names] = None
    found.loc[kept, "identity_id"] = people
    found.loc[kept, "voice_sim"] = sims
    found.loc[kept[stay], "split"] = [splits[people[idx]] for idx in stay]
    for name, group in groups:
        found.loc[kept[group], "repeat_id"] = name
    ledger = measured.drop(list(VERDICT_COLUMNS))
    for name in (*VERDICT_COLUMNS, *DECIDED.names):
        kind = FINAL_LEDGER.field(name).type
        ledger = ledger.append_column(name, pa.array(found[name].to_numpy(object), kind, from_pandas=True))
    about = {SPLIT_RATIOS: _ratios(config), COMPARED_BY: _compared_by(config), MADE_OF: _made_of(source)}
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


def _told(rows: list[Row], source: Measured, before: pa.Table | None, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """What the ledger that stands says of clips: which of them repeat one another, and which show one person.

    Returns:
        Two int arrays (N,). Clips of different numbers were compared and are not alike; `dedup.UNTOLD` where they were
        not, or by other code or settings, or where they have been measured anew.
    """
    repeats, faces = (np.full(len(rows), dedup.UNTOLD) for _ in range(2))
    if before is None or (before.schema.metadata or {}).get(COMPARED_BY) != _compared_by(config):
        return repeats, faces
    columns = ["row_id", "identity_id", "repeat_id"]
    judged = () if source.addresses is None else _COMPARED  # a ledger's own measurements are what they were
    compared = before.select([*columns, *judged]).filter(pc.field("identity_id").is_valid())
    old = {row["row_id"]: row for row in rows_from_table(compared)}
    numbers: dict[str, int] = {}
    for idx, row in enumerate(rows):
        was = old.get(row["row_id"])
        if was is not None and all(np.array_equal(row.get(name, ()), was.get(name, ())) for name in judged):
            repeats[idx] = numbers.setdefault(was.get("repeat_id", row["row_id"]), len(numbers))
            faces[idx] = numbers.setdefault(was["identity_id"], len(numbers))
    return repeats, faces


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


def _compared_by(config: Config) -> bytes:
    code = [hashlib.sha256(inspect.getsource(module).encode()).hexdigest() for module in (dedup, identities)]
    settings = {
        key: value for key, value in asdict(config.finalize).items() if key.startswith(("identity", "duplicate"))
    }
    return json.dumps([code, settings]).encode()
