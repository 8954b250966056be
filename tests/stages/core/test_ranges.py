"""What a setting may be, by what stands beside it, and by its name where nothing does."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

import pytest

from stages.core.ranges import ENDINGS, faults_of, one_of, ranged, rule_of


@dataclass(frozen=True)
class Part:
    side_px: int = 3
    num_looks: int = 2
    min_sim: float = 0.5
    max_yaw_deg: float = 30.0
    error_ratio: float = 0.1
    time_ratio: float = ranged(3.0, low=0)
    step_s: float = ranged(1.0, above=0)
    few_s: float = ranged(1.0, at_most="many_s")
    many_s: float = 2.0
    most: int | None = ranged(None, low=1)
    word: str = one_of("a", "b")
    free: str = "anything"
    flag: bool = False


@dataclass(frozen=True)
class Tree:
    part: Part = field(default_factory=Part)
    named: dict[str, Part] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"side_px": -1}, "part.side_px=-1 must be at least 0, and finite"),
        ({"side_px": math.inf}, "part.side_px=inf must be at least 0, and finite"),
        ({"side_px": math.nan}, "part.side_px=nan must be at least 0, and finite"),
        ({"num_looks": 0}, "part.num_looks=0 must be at least 1, and finite"),
        ({"min_sim": -1.1}, "part.min_sim=-1.1 must be at least -1 and at most 1"),
        ({"max_yaw_deg": 181.0}, "part.max_yaw_deg=181.0 must be at least 0 and at most 180"),
        ({"error_ratio": 1.1}, "part.error_ratio=1.1 must be at least 0 and at most 1"),
        ({"time_ratio": -1.0}, "part.time_ratio=-1.0 must be at least 0, and finite"),
        ({"step_s": 0.0}, "part.step_s=0.0 must be above 0"),
        ({"few_s": 3.0}, "part.few_s=3.0 is above part.many_s=2.0"),
        ({"most": 0}, "part.most=0 must be at least 1, and finite"),
        ({"word": "c"}, "part.word=c must be one of a, b"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_wanted(values, message):
    assert faults_of(Tree(Part(**values))) == [message]


@pytest.mark.parametrize(
    "values",
    [{}, {"side_px": 0}, {"min_sim": -1.0}, {"time_ratio": 30.0}, {"most": None}, {"most": 7}, {"word": "b"}],
)
def test_what_is_within_its_range_has_no_fault(values):
    assert faults_of(Tree(Part(**values))) == []


def test_parts_by_name_are_looked_into():
    assert faults_of(Tree(named={"x": Part(num_looks=0)})) == ["named.x.num_looks=0 must be at least 1, and finite"]


def test_no_ending_is_the_end_of_another():
    assert not [(a, b) for a in ENDINGS for b in ENDINGS if a != b and a.endswith(b)]


def test_rules_are_said_in_words():
    words = {setting.name: str(rule_of(setting)) for setting in fields(Part)}
    assert (words["step_s"], words["error_ratio"], words["word"]) == (
        "above 0",
        "at least 0 and at most 1",
        "one of a, b",
    )
