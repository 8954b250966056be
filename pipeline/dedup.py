"""Clips that carry the same sound under different names: re-uploads, re-encodes, overlapping cuts.

Two clips are compared only if they share a word of their audio fingerprints, so the cost stays near linear. A re-encode
flips single bits, so a word and its one-bit neighbours count as shared.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from pipeline.config import FinalizeConfig
from pipeline.records import Row
from stages.audio.fingerprint import WORD_S, match_fingerprints

MAX_BUCKET = 50
"""Words that more clips share say nothing: silence, hum, a jingle."""


def find_duplicates(rows: list[Row], config: FinalizeConfig) -> dict[int, int]:
    """Index of each clip to drop, and of the better one that stays.

    Args:
        rows: kept clips with `audio_fingerprint` and `face_embedding`.
    """
    groups = DisjointSet(range(len(rows)))
    min_words = round(config.duplicate_min_s / WORD_S)
    for a, b in sorted(_candidates(rows)):
        if not _same_face(rows[a], rows[b], config.identity_sim):
            continue  # one sound, two faces: a dub, and the sync stage judges it
        words = rows[a]["audio_fingerprint"], rows[b]["audio_fingerprint"]
        error, _, overlap = match_fingerprints(*words)
        enough = max(min_words, config.duplicate_min_overlap * max(map(len, words)))
        if overlap >= enough and error < config.duplicate_bit_error:
            groups.merge(a, b)
    doomed: dict[int, int] = {}
    for members in groups.subsets():
        best = max(members, key=lambda idx: _quality(rows[idx]))
        doomed |= {idx: best for idx in members if idx != best}
    return doomed


def _candidates(rows: list[Row]) -> set[tuple[int, int]]:
    buckets: dict[int, set[int]] = defaultdict(set)
    flips = np.concatenate([[np.uint32(0)], np.uint32(1) << np.arange(32, dtype=np.uint32)])
    for idx, row in enumerate(rows):
        for word in np.unique(row["audio_fingerprint"][:, None] ^ flips[None]):
            buckets[int(word)].add(idx)
    shared = [sorted(members) for members in buckets.values() if 1 < len(members) <= MAX_BUCKET]
    return {pair for members in shared for pair in combinations(members, 2)}


def _same_face(a: Row, b: Row, min_sim: float) -> bool:
    return float(np.dot(a["face_embedding"].astype(np.float32), b["face_embedding"].astype(np.float32))) > min_sim


def _quality(row: Row) -> tuple[int, float, str]:
    """Longer first, then the larger face; the id decides a tie."""
    return row["num_frames"], row["face_px"], row["row_id"]
