"""The one table of what is measured: its columns, its thresholds, its bins."""

from __future__ import annotations

import pytest

from pipeline.rules.policy import CHECKS, PolicyConfig
from pipeline.rules.quantities import LIMITS, QUANTITIES
from stages.core.records import LEDGER


def test_every_quantity_is_made_of_columns_and_its_bins_ascend():
    for quantity in QUANTITIES:
        assert {column for number in quantity.numbers for column in number.columns} <= set(LEDGER.names)
        assert list(quantity.edges) == sorted(set(quantity.edges))
    assert len({quantity.name for quantity in QUANTITIES}) == len(QUANTITIES)


def test_thresholds_are_settings_whose_names_say_which_side_fails():
    for quantity in QUANTITIES:
        if quantity.key is not None:
            assert quantity.key in PolicyConfig.__dataclass_fields__
            assert quantity.key.startswith(("min_", "max_"))
            assert all(limit.at_least == quantity.key.startswith("min_") for limit in quantity.limits())


def test_every_number_that_has_a_threshold_is_judged_by_a_check():
    judged = {limit.number.name for check in CHECKS for limit in check.limits}
    assert set(LIMITS) <= judged


@pytest.mark.parametrize(
    ("name", "row", "value"),
    [
        ("fps", {"fps_num": 30000, "fps_den": 1001}, 29.97),
        ("shorter_side_px", {"width_px": 640, "height_px": 480}, 480),
        ("clip_length_s", {"start_s": 2.0, "end_s": 5.5}, 3.5),
        ("|av_offset_ms| left", {"av_offset_ms": -120.0, "av_shift_ms": -80.0}, 40),
        ("face_px", {"shot_face_px": 90.0}, None),
    ],
)
def test_numbers_are_made_of_their_columns(name, row, value):
    found = LIMITS[name].number.value(row)
    assert found is None if value is None else found == pytest.approx(value, rel=1e-3)
