"""What is known of clips that were compared with each other, from one decision to the next, so that none is twice.

Every clip that was ever compared has a group for its face and one for its sound and pictures, written in the ledger:
clips of different groups are not alike. A clip keeps them when a stricter policy drops it, so that a looser one, which
takes it back, costs no comparison.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset import identities
from pipeline.dataset.dedup import UNCOMPARED
from pipeline.rules.config import FinalizeConfig
from stages.core.rows import rows_from_table

COMPARED_BY = b"compared_by"
"""Ledger metadata: code and settings that its clips were compared with."""
VERSION = 1
"""Of the comparison: raise it with every change of `dedup`, `identities` or this file that finds other clips alike."""
COMPARED = ("face_embedding", "audio_fingerprint", "motion_fingerprint")
"""What is compared."""


@dataclass(frozen=True)
class Groups:
    """Int64 (N,) of all rows that were measured; `UNCOMPARED` where a clip was never compared as it now is."""

    faces: np.ndarray
    repeats: np.ndarray


def known_groups(measured: pa.Table, before: pa.Table | None, config: FinalizeConfig, *, is_same: bool) -> Groups:
    """What the ledger that stands says, unless its clips were compared by other code or settings.

    Args:
        is_same: that ledger was made of these very measurements; else each clip's are compared with its last ones.
    """
    import pandas as pd

    faces, repeats = (np.full(measured.num_rows, UNCOMPARED) for _ in range(2))
    if before is None or (before.schema.metadata or {}).get(COMPARED_BY) != compared_by(config):
        return Groups(faces, repeats)
    judged = [] if is_same else list(COMPARED)
    old = before.select(["row_id", "face_group", "repeat_group", *judged]).filter(pc.field("face_group").is_valid())
    place = pd.Index(measured["row_id"].to_numpy()).get_indexer(old["row_id"].to_numpy())
    there = place >= 0
    old, place = old.filter(pa.array(there)), place[there]
    if judged:
        pairs = zip(
            rows_from_table(old.select(judged)),
            rows_from_table(measured.select(judged).take(pa.array(place))),
            strict=True,
        )
        stays = np.array([all(np.array_equal(a.get(k, ()), b.get(k, ())) for k in judged) for a, b in pairs], bool)
        old, place = old.filter(pa.array(stays)), place[stays]
    faces[place], repeats[place] = old["face_group"].to_numpy(), old["repeat_group"].to_numpy()
    return Groups(faces, repeats)


def grown(groups: np.ndarray, clips: np.ndarray, alike: Sequence[str] | np.ndarray) -> np.ndarray:
    """The groups after some clips were compared: those that are alike share one from now on, with all that they had.

    Args:
        groups: int (N,) as they were.
        clips: indices of those that were compared.
        alike: of each of these, the same for those that are alike.
    Returns:
        int64 (N,), `UNCOMPARED` where there never was a comparison.
    """
    known = np.flatnonzero(groups != UNCOMPARED)
    labels = np.arange(len(groups))
    for members, keys in ((known, groups[known]), (clips, np.asarray(alike))):
        _, first, group = np.unique(keys, return_index=True, return_inverse=True)
        labels = identities.merge(labels, members[first[group]], members)
    joined = np.full(len(groups), UNCOMPARED)
    for members in (known, clips):
        joined[members] = labels[members]
    return joined


def compared_by(config: FinalizeConfig) -> bytes:
    """Names code and settings of the comparison."""
    settings = {key: value for key, value in asdict(config).items() if key.startswith(("identity", "duplicate"))}
    return json.dumps([VERSION, settings]).encode()
