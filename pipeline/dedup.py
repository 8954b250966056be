"""Clips that carry the same sound under different names: re-uploads, re-encodes, overlapping cuts.

Two clips are compared only if they share a word of their audio fingerprints, so the cost stays near linear. A re-encode
flips single bits, so a word and its one-bit neighbours count as shared. They are 33 to a word: only the words are kept,
and the neighbours of one slice of their range are sorted at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from pipeline.config import FinalizeConfig
from pipeline.records import Row
from stages.audio.fingerprint import NUM_BITS, WORD_S, match_fingerprints

MAX_BUCKET = 50
"""Words that more clips share say nothing: silence, hum, a jingle."""
SLICE_WORDS = 200_000
"""Words, on average, whose neighbours are sorted at a time: about 150 MB."""
PAIR_BLOCK = 65_536
"""Pairs of faces compared at a time: 270 MB."""
UNTOLD = -1
"""Of clips that no earlier comparison tells anything of."""
_FILTER_BITS = 24


def find_duplicates(rows: list[Row], config: FinalizeConfig, told: np.ndarray | None = None) -> dict[int, int]:
    """Index of each clip to drop, and of the better one that stays.

    Args:
        rows: kept clips with `audio_fingerprint` and `face_embedding`.
        told: int (N,) what an earlier comparison found: clips of different numbers are not alike. `UNTOLD` where there
            was none.
    """
    groups = DisjointSet()
    min_words = round(config.duplicate_min_s / WORD_S)
    for a, b in _alike(rows, config.identity_sim, np.full(len(rows), UNTOLD) if told is None else told):
        groups.add(a)
        groups.add(b)
        if groups.connected(a, b):
            continue
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


def _alike(rows: list[Row], min_sim: float, told: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs with a word and a face in common. One sound on two faces is a dub, and the sync stage judges it."""
    if not rows:
        return
    faces = np.stack([row["face_embedding"] for row in rows])
    _, group, counts = np.unique(told, return_inverse=True, return_counts=True)
    wanted = (told == UNTOLD) | (counts[group] > 1)
    for pairs in share_a_word([row["audio_fingerprint"] for row in rows], wanted):
        a, b = told[pairs].T
        pairs = pairs[(a == b) | (a == UNTOLD) | (b == UNTOLD)]  # noqa: PLW2901
        for start in range(0, len(pairs), PAIR_BLOCK):
            block = pairs[start : start + PAIR_BLOCK]
            a, b = (faces[block[:, side]].astype(np.float32) for side in (0, 1))
            yield from map(tuple, block[np.einsum("pd,pd->p", a, b) > min_sim].tolist())


def share_a_word(fingerprints: list[np.ndarray], wanted: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Pairs of clips with words that have a neighbour in common, unless more than `MAX_BUCKET` clips have it.

    Args:
        fingerprints: uint32 (T,) of each clip.
        wanted: bool (N,): all pairs with one of these clips are found, others perhaps. None: all.
    Yields:
        int64 (P, 2) pairs a < b, sorted. A pair that shares several words may come again in a later array.
    """
    clips = np.repeat(np.arange(len(fingerprints)), [len(words) for words in fingerprints])
    keys = _distinct(_keys(np.concatenate([np.zeros(0, np.uint32), *fingerprints]), clips))
    words, clips = _split(keys)
    # More clips than a bucket may hold tell no more than one too many does.
    told = _places(words)[0] <= MAX_BUCKET
    words, clips = words[told], clips[told]
    near_wanted = _near(words[wanted[clips]]) if wanted is not None else None
    num_top = max(0, int(np.ceil(np.log2(max(1, len(words)) / SLICE_WORDS))))  # leading bits, which name the slice
    starts = np.searchsorted(words, np.arange(2**num_top + 1) << (NUM_BITS - num_top))
    for number in range(2**num_top if wanted is None or wanted.any() else 0):
        near = []
        own = slice(starts[number], starts[number + 1])
        places = [(own, 0), *((own, 1 << bit) for bit in range(NUM_BITS - num_top))]
        for bit in range(num_top):
            other = number ^ (1 << bit)  # the slice whose words have their neighbour by this bit in here
            places.append((slice(starts[other], starts[other + 1]), 1 << (NUM_BITS - num_top + bit)))
        for span, flip in places:
            neighbours, whose = words[span] ^ flip, clips[span]
            if near_wanted is not None:
                told = near_wanted[_short(neighbours)]
                neighbours, whose = neighbours[told], whose[told]
            near.append(_keys(neighbours, whose))
        yield _pairs(_distinct(np.concatenate(near)))


def _near(words: np.ndarray) -> np.ndarray:
    """Bool: whether a word, by its short form, may be one of these or a neighbour of one."""
    marks = np.zeros(2**_FILTER_BITS, bool)
    for flip in (0, *(1 << bit for bit in range(NUM_BITS))):
        marks[_short(words ^ flip)] = True
    return marks


def _short(words: np.ndarray) -> np.ndarray:
    """Fewer bits, which all bits of a word have a part in (Knuth's multiplicative hash)."""
    return (words * 2_654_435_761 & (2**32 - 1)) >> (NUM_BITS - _FILTER_BITS)


def _keys(words: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Both in one int64, sorted by word first; clips are fewer than 2^31."""
    return words.astype(np.int64) << 31 | clips


def _split(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return keys >> 31, keys & (2**31 - 1)


def _distinct(keys: np.ndarray) -> np.ndarray:
    """Sorted, each once; `np.unique` hashes, which takes six times as long here."""
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=-1) != 0]


def _places(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of sorted words: which of its equals each is, from 0, and how many they are."""
    edges = np.flatnonzero(np.diff(words, prepend=-1, append=-1))
    counts = np.diff(edges)
    return np.arange(len(words)) - np.repeat(edges[:-1], counts), np.repeat(counts, counts)


def _pairs(keys: np.ndarray) -> np.ndarray:
    words, clips = _split(keys)
    _, counts = _places(words)
    shared = (counts > 1) & (counts <= MAX_BUCKET)
    words, clips = words[shared], clips[shared]
    found = [np.zeros(0, np.int64)]
    for lag in range(1, int(counts[shared].max(initial=1))):
        same = words[lag:] == words[:-lag]
        found.append(_keys(clips[:-lag][same], clips[lag:][same]))
    return np.stack(_split(_distinct(np.concatenate(found))), axis=1)


def _quality(row: Row) -> tuple[int, float, str]:
    """Longer first, then the larger face; the id decides a tie."""
    return row["num_frames"], row["face_px"], row["row_id"]
