"""Identities over the whole set, and splits without a common person.

A person keeps the name and the split of the last set: added data renames and moves nobody.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.rules.config import FinalizeConfig
from stages.core.records import Row

BLOCK = 512
"""Number of clips compared with all others at a time: 100 MB of cosines for 50,000 clips."""


def cluster_identities(
    rows: list[Row], config: FinalizeConfig, known: Mapping[str, str] | None = None, groups: np.ndarray | None = None
) -> list[str]:
    """One name per clip; clips with alike faces, or with the same `speaker_id` in the manifest, share it.

    Args:
        rows: kept clips with `face_embedding` (512,) of unit length.
        known: names of clips in the last set, by `row_id`. A cluster takes the name that most of its clips had; when
            two clusters claim one name, the one with more such clips gets it.
        groups: int (N,) from earlier comparisons; faces of different groups differ. Negative for clips never compared.
    Returns:
        Names, which depend only on the members and on `known`, not on the order.
    """
    clusters: dict[int, list[str]] = {}
    labels = _join(rows, config.identity_sim, np.full(len(rows), -1) if groups is None else groups)
    for row, label in zip(rows, labels, strict=True):
        clusters.setdefault(label, []).append(row["row_id"])
    names = _name(clusters.values(), known or {})
    return [names[row["row_id"]] for row in rows]


def _join(rows: list[Row], min_sim: float, groups: np.ndarray) -> list[int]:
    """A number per clip, equal for clips of one person."""
    labels = np.arange(len(rows))
    if not rows:
        return []
    faces = np.stack([np.asarray(row["face_embedding"], np.float32) for row in rows])
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    order = np.argsort(groups, kind="stable")  # clips that were never compared first, then the groups one after another
    faces, groups = faces[order], groups[order]
    for start in range(0, len(faces), BLOCK):
        stop = min(start + BLOCK, len(faces))
        end = len(faces) if groups[start] < 0 else np.searchsorted(groups, groups[stop - 1], side="right")
        a, b = np.nonzero(faces[start:stop] @ faces[start:end].T > min_sim)
        labels = merge(labels, order[start + a], order[start + b])
    speakers: dict[str, int] = {}
    pairs = [(speakers.setdefault(row["speaker_id"], i), i) for i, row in enumerate(rows) if "speaker_id" in row]
    if pairs:
        labels = merge(labels, *np.array(pairs).T)
    return labels.tolist()


def merge(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Labels (N,) after joining those of a[k] and b[k] for every k."""
    a, b = labels[a], labels[b]
    a, b = a[a != b], b[a != b]
    links = coo_array((np.ones(len(a), bool), (a, b)), shape=(len(labels), len(labels)))
    return connected_components(links, directed=False)[1][labels]


def _name(clusters: Iterable[list[str]], known: Mapping[str, str]) -> dict[str, str]:
    """Name of each clip, by `row_id`."""
    clusters = sorted(sorted(members) for members in clusters)
    claims = [
        (-count, name, number)
        for number, members in enumerate(clusters)
        for name, count in Counter(known[member] for member in members if member in known).items()
    ]
    names: dict[int, str] = {}
    given: set[str] = set()
    for _, name, number in sorted(claims):
        if number not in names and name not in given:
            names[number] = name
            given.add(name)
    taken = {*known.values()}
    for number, members in enumerate(clusters):
        if number not in names:
            names[number] = _new_name(members[0], taken)
            taken.add(names[number])
    return {member: names[number] for number, members in enumerate(clusters) for member in members}


def _new_name(first: str, taken: set[str]) -> str:
    name = f"id-{hashlib.sha256(first.encode()).hexdigest()[:10]}"
    return name if name not in taken else _new_name(f"{first} again", taken)


def assign_splits(
    identities: list[str], config: FinalizeConfig, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Split of each identity: its split in the last set, else drawn by a hash of its name, so added data moves nobody.

    A set with three identities or more has a test and a validation speaker even if the hash gives none, provided that
    one of them is new.

    Args:
        known: splits of the last set, by identity.
    """
    known = known or {}
    draw = {name: int(hashlib.sha256(f"split {name}".encode()).hexdigest()[:8], 16) / 2**32 for name in set(identities)}
    order = sorted(draw, key=lambda name: draw[name])
    splits = dict.fromkeys(order, "train")
    for name in order:
        if name in known:
            splits[name] = known[name]
        elif draw[name] < config.test_ratio:
            splits[name] = "test"
        elif draw[name] < config.test_ratio + config.val_ratio:
            splits[name] = "val"
    if len(order) >= 3:
        for split, ratio in (("test", config.test_ratio), ("val", config.val_ratio)):
            free = [name for name in order if name not in known and splits[name] == "train"]
            if ratio > 0 and free and split not in splits.values():
                splits[free[0]] = split
    return splits
