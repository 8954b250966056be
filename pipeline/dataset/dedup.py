"""Duplicate clips with the same sound or pictures: re-uploads, re-encodes, mirror images, overlapping cuts.

Two clips are compared only if they share a word of their sound or motion fingerprints, so the cost is nearly linear. A
re-encode flips single bits, so two words also count as shared if they have a one-bit neighbour in common. A word and
its neighbours are 33 words: only the word itself is stored, and the neighbours of one slice of the range are sorted at
a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from pipeline.dataset.dedup_kernel import mark, marked
from pipeline.rules.config import FinalizeConfig
from stages.audio import fingerprint as sound
from stages.audio.fingerprint import MIN_OVERLAP_WORDS, NUM_BITS, WORD_S, match_fingerprints
from stages.core.records import CLIP_FPS, Row
from stages.face import motion_print

MAX_BUCKET = 50
"""Largest number of clips that share a word. A more frequent word is silence, hum or a jingle, and is ignored."""
SLICE_WORDS = 200_000
"""Mean number of words whose neighbours are sorted at a time: about 150 MB."""
MIN_TOP_BITS = 5
"""Least number of leading bits that select a slice: the bit map of a slice takes 16 MB or less."""
PAIR_BLOCK = 65_536
"""Number of pairs of faces compared at a time: 270 MB."""
UNCOMPARED = -1
"""Group number of a clip that was never compared."""


class Overlap(NamedTuple):
    """A stretch that two clips have in common, in seconds from the beginning of each.

    Args:
        what: sound or pictures.
    """

    a: int
    b: int
    start_a_s: float
    start_b_s: float
    length_s: float
    what: str


class Copy(NamedTuple):
    """A clip that repeats others.

    Args:
        of: index of the clip that it repeats most of.
        share: share of the clip, by time, that lies in kept clips.
        what: what both have in common: sound, pictures, or both.
    """

    of: int
    share: float
    what: str


def find_overlaps(rows: list[Row], config: FinalizeConfig, groups: np.ndarray | None = None) -> list[Overlap]:
    """Every pair of clips with one face that share sound or pictures.

    Args:
        rows: kept clips with `audio_fingerprint`, `motion_fingerprint` and `face_embedding`.
        groups: int (N,) from earlier comparisons; clips of different groups differ. `UNCOMPARED` for clips that were
            never compared.
    """
    groups = np.full(len(rows), UNCOMPARED) if groups is None else groups
    sounds, motions = (_words(rows, name) for name in ("audio_fingerprint", "motion_fingerprint"))
    found = []
    for a, b in _alike(rows, sounds, config.identity_sim, groups):
        found += _overlap(a, b, "sound", sound.SPAN_S, sounds[a], [sounds[b]], config)
    for a, b in _alike(rows, [motion_print.unsided(words) for words in motions], config.identity_sim, groups):
        both_sides = [motions[b], motions[b] ^ motion_print.SIDE_BITS]
        found += _overlap(a, b, "pictures", motion_print.SPAN_S, motions[a], both_sides, config)
    return found


def choose_copies(rows: list[Row], overlaps: Iterable[Overlap], config: FinalizeConfig) -> dict[int, Copy]:
    """The clips to drop.

    Go through the clips from the best to the worst, and drop a clip when the clips kept so far hold at least
    `duplicate_min_overlap` of it.
    """
    of_clip: dict[int, list[tuple[int, float, float, str]]] = defaultdict(list)
    for a, b, start_a_s, start_b_s, length_s, what in overlaps:
        of_clip[a].append((b, start_a_s, start_a_s + length_s, what))
        of_clip[b].append((a, start_b_s, start_b_s + length_s, what))
    copies: dict[int, Copy] = {}
    done: set[int] = set()
    for idx in sorted(of_clip, key=lambda idx: _quality(rows[idx]), reverse=True):
        done.add(idx)
        held = [one for one in of_clip[idx] if one[0] in done and one[0] not in copies]
        share = _covered_s([(start_s, end_s) for _, start_s, end_s, _ in held]) * CLIP_FPS / rows[idx]["num_frames"]
        if held and share >= config.duplicate_min_overlap:
            of = max(held, key=lambda one: (one[2] - one[1], _quality(rows[one[0]])))[0]
            what = " and ".join(sorted({what for other, _, _, what in held if other == of}, reverse=True))
            copies[idx] = Copy(of, min(1.0, share), what)
    return copies


def group_overlaps(overlaps: Iterable[Overlap]) -> list[set[int]]:
    """Connected components of clips under overlaps."""
    groups = DisjointSet()
    for overlap in overlaps:
        for idx in (overlap.a, overlap.b):
            groups.add(idx)
        groups.merge(overlap.a, overlap.b)
    return groups.subsets()


def _words(rows: list[Row], name: str) -> list[np.ndarray]:
    return [row[name] if row.get(name) is not None else np.zeros(0, np.uint32) for row in rows]


def _overlap(
    a: int, b: int, what: str, span_s: float, words: np.ndarray, others: list[np.ndarray], config: FinalizeConfig
) -> list[Overlap]:
    """The overlap at the alignment with the least bit error, if its bit error and its length pass the thresholds."""
    match = min(match_fingerprints(words, other) for other in others)
    length_s = (match.overlap_words - 1) * WORD_S + span_s
    long_enough = match.overlap_words >= MIN_OVERLAP_WORDS and length_s >= config.duplicate_min_s
    if match.bit_error_rate >= config.duplicate_bit_error or not long_enough:
        return []
    start_s = match.offset_words * WORD_S
    return [Overlap(a, b, max(0.0, -start_s), max(0.0, start_s), length_s, what)]


def _covered_s(spans: list[tuple[float, float]]) -> float:
    """Length of the union of spans."""
    covered_s = reached_s = 0.0
    for start_s, end_s in sorted(spans):
        covered_s += max(0.0, end_s - max(start_s, reached_s))
        reached_s = max(reached_s, end_s)
    return covered_s


def _alike(
    rows: list[Row], fingerprints: list[np.ndarray], min_sim: float, groups: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Pairs that share a word and a face. One sound on two faces is a dub, which the sync stage judges."""
    if not rows:
        return
    faces = np.stack([row["face_embedding"] for row in rows])
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    wanted = (groups == UNCOMPARED) | (counts[group] > 1)
    seen: set[tuple[int, int]] = set()
    for pairs in share_a_word(fingerprints, wanted):
        a, b = groups[pairs].T
        pairs = pairs[(a == b) | (a == UNCOMPARED) | (b == UNCOMPARED)]  # noqa: PLW2901
        for start in range(0, len(pairs), PAIR_BLOCK):
            block = pairs[start : start + PAIR_BLOCK]
            a, b = (faces[block[:, side]].astype(np.float32) for side in (0, 1))
            new = set(map(tuple, block[np.einsum("pd,pd->p", a, b) > min_sim].tolist())) - seen
            seen |= new
            yield from sorted(new)


def share_a_word(fingerprints: list[np.ndarray], wanted: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Pairs of clips with words that have a neighbour in common, unless more than `MAX_BUCKET` clips share it.

    Args:
        fingerprints: uint32 (T,) of each clip.
        wanted: bool (N,): every pair with one of these clips is found, other pairs may be. None: all clips.
    Yields:
        int64 (P, 2) pairs a < b, sorted. A pair that shares several words may be repeated in a later array.
    """
    clips = np.repeat(np.arange(len(fingerprints)), [len(words) for words in fingerprints])
    keys = _distinct(_keys(np.concatenate([np.zeros(0, np.uint32), *fingerprints]), clips))
    words, clips = _split(keys)
    # A word with one clip more than a bucket may hold is ignored, so its further clips are not needed.
    is_needed = _places(words)[0] <= MAX_BUCKET
    words, clips = words[is_needed], clips[is_needed]
    num_top = max(MIN_TOP_BITS, int(np.ceil(np.log2(max(1, len(words)) / SLICE_WORDS))))
    whole = wanted is None or bool(wanted.all())
    sought = words[:0] if wanted is None or whole else words[wanted[clips]]
    spans, sought_spans = _slices(words, num_top), _slices(sought, num_top)
    for number in range(2**num_top if whole or len(sought) else 0):
        places = _neighbours(number, num_top)
        marks, first = np.zeros(2 ** (NUM_BITS - num_top - 3), np.uint8), number << (NUM_BITS - num_top)
        for other, flips in () if whole else places:
            mark(sought[sought_spans[other]], flips, first, marks)
        near = []
        for other, flips in places:
            span = spans[other]
            if whole:
                near += [_keys(words[span] ^ flip, clips[span]) for flip in flips]
            else:
                neighbours, which = marked(words[span], flips, first, marks)
                near.append(_keys(neighbours, clips[span][which]))
        yield _pairs(_distinct(np.concatenate(near)))


def _slices(words: np.ndarray, num_top: int) -> list[slice]:
    """The range of sorted words for each value of the leading bits."""
    starts = np.searchsorted(words, np.arange(2**num_top + 1) << (NUM_BITS - num_top)).tolist()
    return [slice(*ends) for ends in pairwise(starts)]


def _neighbours(number: int, num_top: int) -> list[tuple[int, np.ndarray]]:
    """The slices that hold one-bit neighbours of a slice's words, with the bits to flip; 0 flips nothing."""
    num_low = NUM_BITS - num_top
    within = np.concatenate([[0], 1 << np.arange(num_low)])
    return [(number, within), *((number ^ (1 << bit), np.array([1 << (num_low + bit)])) for bit in range(num_top))]


def _keys(words: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Pack word and clip into one int64 that sorts by word first; clips are fewer than 2^31."""
    return words.astype(np.int64) << 31 | clips


def _split(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return keys >> 31, keys & (2**31 - 1)


def _distinct(keys: np.ndarray) -> np.ndarray:
    """Sorted distinct keys; `np.unique` hashes, which takes six times as long here."""
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=-1) != 0]


def _places(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each sorted word, its index among equal words, and how many equal words there are."""
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


def _quality(row: Row) -> tuple[float, float, str]:
    """Sort key: total detail of all pictures, then size of the face; the id breaks ties."""
    return row["num_frames"] * (row.get("crop_bytes") or 1.0), row["face_px"], row["row_id"]
