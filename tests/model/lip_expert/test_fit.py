"""The lip-sound expert is trained on series that run together, some of them late."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.lip_expert.fit import Features, chance_of, held_out, read_takes, source_delays, train
from stages.lipsync.lip_sound import MAX_STEPS
from tests.model.lip_expert import drawn
from tests.model.lip_expert.drawn import CONFIG, LATE_STEPS, first, talking_clip
from tests.rows import write_rows


@pytest.fixture(scope="module")
def takes() -> list[Features]:
    return drawn.takes()


def test_what_runs_together_is_found_and_who_is_late(takes):
    expert = train(takes, CONFIG)
    assert list(source_delays(expert, takes, CONFIG).values()) == list(LATE_STEPS)
    curve = expert.compare(takes[2].lips, takes[2].sound)
    assert curve.argmax() - MAX_STEPS == LATE_STEPS[2] and curve.max() > 0.9
    assert expert.made["num_people"] == 4 and expert.made["seconds"] == 80.0


def test_each_fold_leaves_one_person_out(takes):
    folds = [(expert.made["num_people"], [take.person for take in mine]) for expert, mine in held_out(takes, CONFIG)]
    assert folds == [(3, [0]), (3, [1]), (3, [2]), (3, [3])]


def test_chance_falls_with_the_square_root_of_time(takes):
    """A quarter of the time agrees twice as far by chance: what is told for a second is the same within a fifth."""
    assert chance_of(first(takes, 125), CONFIG) == pytest.approx(chance_of(takes, CONFIG), rel=0.2)


def test_clips_that_follow_each_other_are_one_take_and_silent_ones_none(tmp_path: Path):
    write_rows(tmp_path, *(talking_clip("a", 0, shot) for shot in (1, 0)), talking_clip("b", 1))
    write_rows(tmp_path, talking_clip("c", 0), talking_clip("quiet", 2, speech_ratio=0.1), generation=2)
    takes = read_takes([tmp_path / "parts"], CONFIG)
    assert [(take.source_id, take.person) for take in takes] == [("a", 0), ("b", 1), ("c", 0)]
    assert [(len(take.points), len(take.audio)) for take in takes] == [(200, 128_000), (100, 64_000), (100, 64_000)]
    with pytest.raises(ValueError, match="no clip with landmarks"):
        read_takes([tmp_path], CONFIG)
