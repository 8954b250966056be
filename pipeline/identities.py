"""Who is who over the whole set, and splits that share nobody."""

from __future__ import annotations

import hashlib

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from pipeline.config import FinalizeConfig
from pipeline.records import Row

BLOCK = 2048


def cluster_identities(rows: list[Row], config: FinalizeConfig) -> list[str]:
    """One name per clip: clips whose faces are alike, or that the manifest gives to one speaker, share it.

    Args:
        rows: kept clips with `face_embedding` (512,) of unit length.
    Returns:
        Names that depend only on the members, not on their order.
    """
    groups = DisjointSet(range(len(rows)))
    if rows:
        faces = np.stack([np.asarray(row["face_embedding"], np.float32) for row in rows])
        faces /= np.linalg.norm(faces, axis=1, keepdims=True)
        for start in range(0, len(faces), BLOCK):
            similar = faces[start : start + BLOCK] @ faces.T > config.identity_sim
            for a, b in zip(*np.nonzero(similar), strict=True):
                groups.merge(start + int(a), int(b))
    named: dict[str, int] = {}
    for idx, row in enumerate(rows):
        if "speaker_id" in row:
            groups.merge(named.setdefault(row["speaker_id"], idx), idx)
    names = {}
    for members in groups.subsets():
        first = min(rows[idx]["row_id"] for idx in members)
        names |= dict.fromkeys(members, f"id-{hashlib.sha256(first.encode()).hexdigest()[:10]}")
    return [names[idx] for idx in range(len(rows))]


def assign_splits(identities: list[str], config: FinalizeConfig) -> dict[str, str]:
    """Split of each identity, by a hash of its name, so that added data moves nobody.

    A set with three identities or more has a test and a validation speaker even where the hash would give none.
    """
    draw = {name: int(hashlib.sha256(f"split {name}".encode()).hexdigest()[:8], 16) / 2**32 for name in set(identities)}
    order = sorted(draw, key=lambda name: draw[name])
    splits = dict.fromkeys(order, "train")
    for name in order:
        if draw[name] < config.test_ratio:
            splits[name] = "test"
        elif draw[name] < config.test_ratio + config.val_ratio:
            splits[name] = "val"
    if len(order) >= 3:
        if config.test_ratio > 0 and "test" not in splits.values():
            splits[order[0]] = "test"
        if config.val_ratio > 0 and "val" not in splits.values():
            splits[next(name for name in order if splits[name] == "train")] = "val"
    return splits
