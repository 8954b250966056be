"""The inner loops of the search for shared words, compiled by numba once per machine.

Words are marked in a map of one bit each. Both loops go through sorted words and turn the bits of each in turn, so that
most of the map that they touch was touched just before.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def mark(words, flips, first, marks):
    """Set marks (uint8, 8 words each, from the word `first` on) of words (int64) with the bits of each flip turned."""
    for word in words:
        for flip in flips:
            place = np.uint64((word ^ flip) - first)
            marks[place >> np.uint64(3)] |= np.uint8(1 << (place & np.uint64(7)))


@numba.njit(cache=True, nogil=True)
def marked(words, flips, first, marks):
    """Words with the bits of a flip turned, as far as these are marked, and the indices of the words themselves."""
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
