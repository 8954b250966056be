"""Which frames of a shot can be used, from what was seen of each; no picture is needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.reasons import DropReason
from stages.shots.stretches import TROUBLES, StretchFinder, cut_evenly

EVERY, MAX_GAP = 5, 5
LETTERS = {None: ".", DropReason.FACE_LOST: "l", DropReason.IDENTITY_CHANGE: "j"}
LETTERS |= {
    DropReason.MULTI_FACE: "2",
    DropReason.MOUTH_HIDDEN: "h",
    DropReason.POSE: "t",
    DropReason.MOUTH_STATIC: "s",
}


def _judged(found: Sequence[bool], looks: Sequence[Iterable[DropReason]], jumps: Iterable[int] = ()) -> str:
    """A letter for each frame."""
    finder, told = StretchFinder(EVERY, MAX_GAP), list[DropReason | None]()
    for idx, has_face in enumerate(found):
        assert finder.is_look == (idx % EVERY == 0)
        told += finder.push(has_face, jumped=idx in jumps, troubles=looks[idx // EVERY] if looks else ())
        assert idx - 2 * EVERY <= len(told) <= idx + 1
    return "".join(LETTERS[reason] for reason in [*told, *finder.finish()])


def _looks(text: str) -> list[set[DropReason]]:
    letters = {letter: reason for reason, letter in LETTERS.items()}
    return [{letters[letter]} if letter != "." else set() for letter in text]


@pytest.mark.parametrize(
    ("looks", "judged"),
    [
        ("......", "." * 30),
        ("hhhhhh", "h" * 30),
        ("..h...", "." * 30),  # one look may err
        ("hh.hhh", "h" * 30),
        ("..hh..", "......" + "h" * 14 + "." * 10),
        (".h2t..", "." * 30),
        ("22hhttss", "2" * 10 + "h" * 10 + "t" * 10 + "s" * 10),
    ],
)
def test_two_looks_of_three_decide_and_the_frames_between_share_their_fate(looks: str, judged: str) -> None:
    assert _judged([True] * len(judged), _looks(looks)) == judged


def test_the_gravest_trouble_is_told() -> None:
    assert _judged([True] * 10, [set(TROUBLES)] * 2) == "2" * 10


@pytest.mark.parametrize(
    ("found", "judged"),
    [
        ([1] * 4 + [0] * 5 + [1] * 4, "." * 13),
        ([1] * 4 + [0] * 6 + [1] * 4, "....llllll...."),
        ([0] * 6 + [1] * 4, "llllll...."),
        ([0] * 5 + [1] * 4, "." * 9),
        ([1] * 4 + [0] * 6, "....llllll"),
        ([0] * 30, "l" * 30),
    ],
)
def test_only_a_long_gap_loses_the_face(found: list[bool], judged: str) -> None:
    assert _judged(found, []) == judged


def test_a_jump_stands_alone() -> None:
    assert _judged([True] * 8, [], jumps=(3,)) == "...j...."


@given(st.lists(st.booleans(), max_size=80), st.lists(st.sets(st.sampled_from(TROUBLES)), min_size=16, max_size=16))
def test_every_frame_is_told_once_and_in_time(found: list[bool], looks: list[set[DropReason]]) -> None:
    assert len(_judged(found, looks)) == len(found)


@pytest.mark.parametrize(
    ("num_frames", "lengths"),
    [(0, []), (1, [1]), (250, [250]), (251, [125, 126]), (575, [191, 192, 192]), (3000, [250] * 12)],
)
def test_a_stretch_is_cut_evenly(num_frames: int, lengths: list[int]) -> None:
    assert cut_evenly(num_frames, 250) == lengths
