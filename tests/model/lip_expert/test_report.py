"""What is said of the expert on people it was not trained on."""

from __future__ import annotations

import pytest

from model.lip_expert.report import report
from tests.model.lip_expert.drawn import CONFIG, first, takes


@pytest.mark.slow
def test_the_report_tells_shared_sound_from_wrong():
    told = report(first(takes()[:3], 150), CONFIG)["5 s"]
    assert told["people"] == 3 and told["windows"] == 6
    assert told["delay right"] == [1.0, 1.0, 1.0] and told["120 ms: delay right"][0] == 1.0 == told["120 ms: AUC"][0]
    assert told["wrong sound, other speaker: AUC"][0] > 0.95
    assert told["kept"]["sync"] == [1.0, 6] and told["kept"]["400"][0] == 0.0 and told["kept"]["other"][0] < 0.5
