"""Clips that were once compared are never compared again, whatever the policy does in between."""

from __future__ import annotations

import numpy as np

from pipeline.dataset.compared import grown, known_groups
from pipeline.dataset.decide import Measured, decide_set
from pipeline.dataset.dedup import UNCOMPARED
from pipeline.rules.config import Config, load_config
from stages.core.records import LEDGER
from stages.core.rows import table_from_rows
from tests.rows import kept_clip

NONE = UNCOMPARED


def _same(groups: np.ndarray) -> list[list[int]]:
    """Members of each group, `UNCOMPARED` left out."""
    return [np.flatnonzero(groups == number).tolist() for number in np.unique(groups[groups != UNCOMPARED])]


def test_what_is_alike_joins_with_all_that_either_had():
    groups = np.array([7, 7, 3, NONE, NONE, 9])
    after = grown(groups, np.array([1, 2, 3]), ["a", "a", "b"])
    assert _same(after) == [[0, 1, 2], [3], [5]] and after[4] == UNCOMPARED


def test_groups_never_part():
    once = grown(np.full(3, UNCOMPARED), np.arange(3), ["a", "a", "a"])
    assert _same(grown(once, np.array([0, 2]), ["x", "y"])) == [[0, 1, 2]]


def test_groups_of_the_same_clips_are_the_same_numbers():
    once = grown(np.full(4, UNCOMPARED), np.array([0, 1, 3]), ["b", "a", "b"])
    np.testing.assert_array_equal(grown(once, np.array([0, 1, 3]), ["b", "a", "b"]), once)


def test_nothing_compared_tells_nothing():
    assert (grown(np.full(2, UNCOMPARED), np.zeros(0, int), []) == UNCOMPARED).all()


def test_a_clip_that_a_policy_drops_stays_known():
    rows = [kept_clip(f"s{person}", person, face_px=100.0 + person) for person in range(4)]
    measured = table_from_rows(rows).select(LEDGER.names)
    source = Measured(measured, 0, "")
    strict = decide_set(source, decide_set(source, None, Config()), load_config([], ["policy.min_face_px=102"]))
    assert strict["verdict"].to_pylist() == ["drop", "drop", "keep", "keep"]
    known = known_groups(measured, strict, Config().finalize, is_same=True)
    assert (known.faces != UNCOMPARED).all() and (known.repeats != UNCOMPARED).all()
    other = load_config([], ["finalize.identity_sim=0.6"]).finalize
    assert (known_groups(measured, strict, other, is_same=True).faces == UNCOMPARED).all()


def test_what_was_measured_anew_or_is_new_is_unknown():
    rows = [kept_clip(f"s{person}", person) for person in range(3)]
    before = decide_set(Measured(table_from_rows(rows).select(LEDGER.names), 0, ""), None, Config())
    rows[1]["face_embedding"] = rows[2]["face_embedding"]
    measured = table_from_rows([kept_clip("new", 5), *rows]).select(LEDGER.names)
    known = known_groups(measured, before, Config().finalize, is_same=False)
    assert (known.faces == UNCOMPARED).tolist() == [True, False, True, False]


def test_what_no_policy_ever_kept_has_no_group():
    rows = [kept_clip("small", 0, face_px=20.0), kept_clip("large", 1)]
    ledger = decide_set(Measured(table_from_rows(rows).select(LEDGER.names), 0, ""), None, Config())
    for name in ("face_group", "repeat_group"):
        assert [group is None for group in ledger[name].to_pylist()] == [True, False]
