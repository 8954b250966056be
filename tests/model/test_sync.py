"""The lip-sound expert is trained on series that run together, some of them late."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from model.lip_expert.fit import Features, SyncTrainConfig, chance_of, held_out, source_delays, train
from model.lip_expert.report import report
from stages.lipsync.lip_sound import MAX_STEPS, MEL_STEPS_PER_FRAME

CONFIG = SyncTrainConfig(num_series=2, rounds=2)
LATE_STEPS = (0, 0, 8, -6)


def take(person: int, late_steps: int) -> Features:
    """20 s of two series that lips and sound share, beside one of each side's own."""
    random = np.random.default_rng(person)
    shared = gaussian_filter1d(random.normal(size=(2200, 2)), 6, axis=0)
    own = gaussian_filter1d(random.normal(size=(2200, 2)), 6, axis=0)
    sound = np.column_stack([shared, own[:, 0]])[100 - late_steps : 2100 - late_steps]
    lips = np.column_stack([shared, own[:, 1]])[100 + MEL_STEPS_PER_FRAME // 2 : 2100 : MEL_STEPS_PER_FRAME]
    return Features(f"source {person}", person, lips, sound)


@pytest.fixture(scope="module")
def takes() -> list[Features]:
    return [take(person, late) for person, late in enumerate(LATE_STEPS)]


def test_what_runs_together_is_found_and_who_is_late(takes):
    expert = train(takes, CONFIG)
    assert list(source_delays(expert, takes, CONFIG).values()) == list(LATE_STEPS)
    curve = expert.compare(takes[2].lips, takes[2].sound)
    assert curve.argmax() - MAX_STEPS == LATE_STEPS[2] and curve.max() > 0.9
    assert expert.made["num_people"] == 4 and expert.made["seconds"] == 80.0


def test_each_fold_leaves_one_person_out(takes):
    folds = [(expert.made["num_people"], [take.person for take in mine]) for expert, mine in held_out(takes, CONFIG)]
    assert folds == [(3, [0]), (3, [1]), (3, [2]), (3, [3])]


def test_chance_shrinks_with_time(takes):
    shorter = [Features(t.source_id, t.person, t.lips[:125], t.sound[:500]) for t in takes]
    assert chance_of(shorter, CONFIG) == pytest.approx(chance_of(takes, CONFIG), rel=0.5)


def test_the_report_tells_shared_sound_from_wrong(takes):
    short = [Features(t.source_id, t.person, t.lips[:150], t.sound[:600]) for t in takes[:3]]
    told = report(short, CONFIG)["5 s"]
    assert told["people"] == 3 and told["windows"] == 6
    assert told["delay right"] == [1.0, 1.0, 1.0] and told["120 ms: delay right"][0] == 1.0 == told["120 ms: AUC"][0]
    assert told["wrong sound, other speaker: AUC"][0] > 0.95
    assert told["kept"]["sync"] == [1.0, 6] and told["kept"]["400"][0] == 0.0 and told["kept"]["other"][0] < 0.5
