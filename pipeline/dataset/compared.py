"""Groups of clips that were compared before.

Clips of different groups are known to differ and are not compared again. Every clip that was ever compared has one
group for its face and one for its sound and pictures, both in the ledger. A clip keeps its groups when a stricter
policy drops it, so a looser policy that keeps it again costs no comparison.
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
"""Ledger metadata key: the version and the settings of the comparison."""
VERSION = 1
"""Version of the comparison.

Raise it when a change of `dedup`, `identities` or this file makes other clips count as alike.
"""
COMPARED = ("face_embedding", "audio_fingerprint", "motion_fingerprint")
"""Columns that are compared."""


@dataclass(frozen=True)
class Groups:
    """Group numbers of all measured rows, int64 (N,); `UNCOMPARED` for a clip not yet compared with these values."""

    faces: np.ndarray
    repeats: np.ndarray


def known_groups(measured: pa.Table, before: pa.Table | None, config: FinalizeConfig, *, is_same: bool) -> Groups:
    """Groups from the present ledger, unless its clips were compared by another version or with other settings.

    Args:
        is_same: the ledger was made of the same parts. Otherwise clips whose embedding or fingerprints changed lose
            their groups.
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
    """Merge groups: clips that are alike share one group, together with all members of their earlier groups.

    Args:
        groups: int (N,), the earlier groups.
        clips: indices of the clips that were compared.
        alike: a label for each of these clips, equal for clips that are alike.
    Returns:
        int64 (N,), `UNCOMPARED` for clips that were never compared.
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
    """Version and settings of the comparison, as JSON."""
    settings = {key: value for key, value in asdict(config).items() if key.startswith(("identity", "duplicate"))}
    return json.dumps([VERSION, settings]).encode()
