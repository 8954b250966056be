"""Each rule decides for its own reason, in the plan's order, from measurements alone."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from pipeline.rules.policy import CHECKS, CUTTING, PolicyConfig, decide
from pipeline.rules.quantities import MAY_BE_NULL
from stages.core.reasons import DropReason, Verdict
from stages.core.records import ROW, Row

STAGES = tuple("crawl probe hear scan track identity mouth speech sync geometry depth features".split())  # noqa: SIM905
STRICT = PolicyConfig(require_licence=True, require_consent=True, require_same_bytes=True)
GOOD: Row = {
    "licence": "CC-BY-4.0",
    "consent": "written, on file",
    "last_stage": "features",
    "duration_s": 8.0,
    "width_px": 1280,
    "height_px": 720,
    "fps_num": 30000,
    "fps_den": 1001,
    "source_speech_s": 7.0,
    "source_language": "zh",
    "source_language_prob": 0.97,
    "source_dnsmos_bak": 4.0,
    "source_dnsmos_sig": 4.0,
    "shot_start_s": 0.0,
    "shot_end_s": 8.0,
    "shot_face_ratio": 1.0,
    "shot_multi_face_ratio": 0.0,
    "shot_face_px": 200.0,
    "start_s": 0.0,
    "end_s": 8.0,
    "track_ratio": 1.0,
    "track_multi_face_ratio": 0.0,
    "face_px": 200.0,
    "yaw_deg": 8.0,
    "pitch_deg": 5.0,
    "roll_deg": 3.0,
    "jitter": 0.01,
    "identity_min_sim": 0.8,
    "mouth_px": 60.0,
    "mouth_light": 60.0,
    "mouth_visible_ratio": 1.0,
    "mouth_motion": 0.02,
    "speech_ratio": 0.9,
    "dnsmos_bak": 4.0,
    "dnsmos_sig": 4.0,
    "snr_db": 30.0,
    "crest_db": 15.0,
    "second_speaker_ratio": 0.0,
    "language": "zh",
    "language_prob": 0.97,
    "language_margin": 0.95,
    "av_offset_ms": 20.0,
    "av_shift_ms": 0.0,
    "sync_conf": 6.0,
    "fit_error_px": 1.2,
}
BAD = [
    ("crawl", "licence", {"licence": "Unknown "}),
    ("crawl", "consent", {"consent": None}),
    ("crawl", "changed", {"bytes_changed": True, "sha256": "ab" * 32, "expect_sha256": "cd" * 32}),
    ("probe", "low_resolution", {"height_px": 200}),
    ("probe", "low_fps", {"fps_num": 10, "fps_den": 1}),
    ("probe", "too_short", {"duration_s": 2.0}),
    ("hear", "speech", {"source_speech_s": 0.5}),
    ("hear", "language", {"source_language": "en", "source_language_prob": 0.95}),
    ("hear", "noise", {"source_dnsmos_bak": 1.2}),
    ("hear", "noise", {"source_dnsmos_sig": 1.2}),
    ("scan", "too_short", {"shot_end_s": 1.0}),
    ("scan", "no_face", {"shot_face_ratio": 0.1}),
    ("scan", "multi_face", {"shot_multi_face_ratio": 0.5, "shot_alone_s": 1.0}),
    ("scan", "face_too_small", {"shot_face_px": 40.0}),
    *(("track", str(reason), {"unusable": str(reason), "end_s": 2.5}) for reason in CUTTING),
    ("track", "too_short", {"end_s": 1.0}),
    ("track", "multi_face", {"track_multi_face_ratio": 0.5}),
    ("track", "face_lost", {"track_ratio": 0.5}),
    ("track", "face_too_small", {"face_px": 40.0}),
    ("track", "face_too_small", {"detail_px": 60.0}),
    ("track", "coarse", {"flat_ratio": 0.4}),
    ("track", "pose", {"yaw_deg": 70.0}),
    ("track", "pose", {"pitch_deg": 60.0}),
    ("track", "pose", {"roll_deg": 60.0}),
    ("track", "jitter", {"jitter": 0.5}),
    ("identity", "identity_change", {"identity_min_sim": 0.1}),
    ("mouth", "mouth_hidden", {"mouth_px": 10.0}),
    ("mouth", "mouth_hidden", {"mouth_light": 6.0}),
    ("mouth", "mouth_hidden", {"mouth_visible_ratio": 0.2}),
    ("mouth", "mouth_static", {"mouth_motion": 0.0001}),
    ("speech", "speech", {"speech_ratio": 0.1}),
    ("speech", "noise", {"dnsmos_bak": 1.2}),
    ("speech", "noise", {"dnsmos_sig": 1.2}),
    ("speech", "noise", {"snr_db": 0.0}),
    ("speech", "noise", {"crest_db": 4.0}),
    ("speech", "multi_speaker", {"second_speaker_ratio": 0.5}),
    ("speech", "language", {"language": "ja"}),
    ("speech", "language", {"language_prob": 0.4}),
    ("speech", "language", {"language_margin": 0.1}),
    ("sync", "out_of_sync", {"sync_conf": 1.5}),
    ("sync", "out_of_sync", {"av_offset_ms": -400.0}),
    ("geometry", "fit_error", {"fit_error_px": 9.0}),
]


NUMBERS = sorted({column for check in CHECKS for limit in check.limits for column in limit.columns})


def test_a_good_clip_is_kept():
    assert decide(GOOD, PolicyConfig(), STAGES)["verdict"] == Verdict.KEEP


@pytest.mark.parametrize(("stage", "reason", "change"), BAD)
def test_one_bad_measurement_drops_for_its_reason(stage, reason, change):
    assert decide(GOOD, STRICT, STAGES)["verdict"] == Verdict.KEEP
    verdict = decide(GOOD | change, STRICT, STAGES)
    assert (verdict["verdict"], verdict["drop_stage"], verdict["drop_reason"]) == ("drop", stage, reason)
    assert verdict["drop_detail"]


def test_every_rule_is_tested_here():
    assert [(check.stage, str(check.reason)) for check in CHECKS] == [(stage, reason) for stage, reason, _ in BAD]


def test_every_rule_reads_declared_columns():
    assert set(GOOD) <= set(ROW.names)


@pytest.mark.parametrize("column", [name for name in NUMBERS if pa.types.is_floating(ROW.field(name).type)])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_an_error_of_its_row(column, value):
    verdict = decide(GOOD | {column: value}, PolicyConfig(), STAGES)
    assert (verdict["verdict"], verdict["drop_reason"]) == ("drop", "error")
    assert verdict["drop_detail"].endswith(("is nan", "is inf", "is -inf"))


@pytest.mark.parametrize("column", sorted(set(NUMBERS) - MAY_BE_NULL))
def test_a_number_that_its_stage_left_out_is_an_error_of_its_row(column):
    verdict = decide(GOOD | {column: None}, PolicyConfig(), STAGES)
    assert (verdict["verdict"], verdict["drop_reason"]) == ("drop", "error")
    assert "was not measured" in verdict["drop_detail"]


def test_nothing_to_measure_and_columns_of_a_newer_version_decide_nothing():
    assert decide(GOOD | dict.fromkeys(MAY_BE_NULL), PolicyConfig(), STAGES)["verdict"] == Verdict.KEEP


def test_a_fact_comes_before_numbers_that_were_taken_out():
    bare = {"last_stage": "track", "fault_reason": "forgotten", "fault_detail": "on request"}
    assert decide(bare, PolicyConfig(), STAGES)["drop_reason"] == DropReason.FORGOTTEN


def test_the_earliest_stage_gives_the_reason():
    verdict = decide(GOOD | {"yaw_deg": 80.0, "language": "en"}, PolicyConfig(), STAGES)
    assert verdict["drop_reason"] == DropReason.POSE


def test_measurements_of_stages_that_have_not_run_do_not_count():
    verdict = decide(GOOD | {"last_stage": "scan", "yaw_deg": 80.0}, PolicyConfig(), STAGES)
    assert verdict["verdict"] == Verdict.PENDING


def test_a_fact_stands_whatever_the_policy_says():
    row = {"last_stage": "probe", "fault_reason": "no_audio", "fault_detail": "no audio stream"}
    verdict = decide(row, PolicyConfig(), STAGES)
    assert (verdict["drop_stage"], verdict["drop_reason"]) == ("probe", "no_audio")


def test_a_threshold_before_the_fact_decides_first():
    row = GOOD | {"last_stage": "track", "fault_reason": "corrupt", "fault_detail": "frame 7", "shot_face_px": 80.0}
    assert decide(row, PolicyConfig(), STAGES)["drop_reason"] == DropReason.FACE_TOO_SMALL
    assert decide(row, replace(PolicyConfig(), min_face_px=50.0), STAGES)["drop_reason"] == DropReason.CORRUPT


def test_a_looser_policy_reopens_a_dropped_row():
    dropped = GOOD | {"last_stage": "hear", "source_language": "en", "source_language_prob": 0.99}
    assert decide(dropped, PolicyConfig(), STAGES)["verdict"] == Verdict.DROP
    assert decide(dropped, PolicyConfig(languages=("zh", "en")), STAGES)["verdict"] == Verdict.PENDING


@pytest.mark.parametrize(
    ("licence", "policy", "detail"),
    [
        ("unknown", PolicyConfig(), None),
        ("cc-by-4.0, in the description", PolicyConfig(licences=("CC0*", "CC-BY*")), None),
        ("All rights reserved", PolicyConfig(licences=("CC0*", "CC-BY*")), "'All rights reserved' is none of CC0"),
        (None, PolicyConfig(licences=("*",)), "none named"),
        ("未知", PolicyConfig(require_licence=True), "未知"),
    ],
)
def test_licences_are_patterns_in_any_case(licence, policy, detail):
    verdict = decide({"last_stage": "crawl", "licence": licence}, policy, STAGES)
    assert verdict["drop_reason"] == (None if detail is None else "licence")
    assert detail is None or detail in verdict["drop_detail"]


def test_an_offset_that_was_taken_out_does_not_count():
    late = GOOD | {"av_offset_ms": 180.0}
    assert decide(late, PolicyConfig(), STAGES)["drop_detail"] == "|av_offset_ms| left 180 > 90"
    assert decide(late | {"av_shift_ms": 180.0}, PolicyConfig(), STAGES)["verdict"] == Verdict.KEEP


def test_changed_bytes_are_dropped_only_where_the_same_are_asked_for():
    row = {"last_stage": "crawl", "bytes_changed": True, "sha256": "a" * 64, "expect_sha256": "b" * 64}
    assert decide(row, PolicyConfig(), STAGES)["verdict"] == "pending"
    verdict = decide(row, PolicyConfig(require_same_bytes=True), STAGES)
    assert (verdict["drop_stage"], verdict["drop_reason"]) == ("crawl", "changed")
    assert decide(row | {"bytes_changed": False}, PolicyConfig(require_same_bytes=True), STAGES)["verdict"] == "pending"


def test_a_long_stretch_that_cut_a_shot_is_judged_by_its_measurements():
    assert decide(GOOD | {"unusable": "pose"}, PolicyConfig(), STAGES)["verdict"] == Verdict.KEEP
    assert decide(GOOD | {"unusable": "pose", "yaw_deg": 50.0}, PolicyConfig(), STAGES)["drop_reason"] == "pose"


def test_a_second_face_for_a_while_leaves_the_rest_of_a_shot():
    for_a_while = GOOD | {"shot_multi_face_ratio": 0.5, "shot_alone_s": 3.5}
    assert decide(for_a_while, PolicyConfig(), STAGES)["verdict"] == Verdict.KEEP
    assert decide(for_a_while, PolicyConfig(min_clip_s=4.0), STAGES)["drop_reason"] == "multi_face"
