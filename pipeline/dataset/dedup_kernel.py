"""The inner loops of the search for shared words, compiled by numba once per machine.

Words are marked in a bit map. Both loops go through sorted words and flip the bits of each, so that most accesses to
the map hit the cache.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def mark(words, flips, first, marks):
    """Mark each word (int64) XOR each flip in `marks` (uint8, one bit a word, from the word `first` on)."""
    for word in words:
        for flip in flips:
            place = np.uint64((word ^ flip) - first)
            marks[place >> np.uint64(3)] |= np.uint8(1 << (place & np.uint64(7)))


@numba.njit(cache=True, nogil=True)
def marked(words, flips, first, marks):
    """Each word XOR each flip that is marked, and the index of its word."""
    neighbours = np.empty(len(words) * len(flips), np.int64)
    which = np.empty(len(words) * len(flips), np.int64)
    num = 0
    for i in range(len(words)):
        for flip in flips:
            place = np.uint64((words[i] ^ flip) - first)
            if (marks[place >> np.uint64(3)] >> np.uint8(place & np.uint64(7))) & 1:
                neighbours[num], which[num] = words[i] ^ flip, i
                num += 1
    return neighbours[:num].copy(), which[:num].copy()
