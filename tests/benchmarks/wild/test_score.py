"""Scores of hand-made results with known answers."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from benchmarks.wild.films.film import Span
from benchmarks.wild.score import (
    Piece,
    Result,
    Tally,
    Truth,
    clip_edge_errors,
    confusion,
    keepable_runs,
    purity,
    score_cuts,
    tally_reasons,
    wilson,
)
from benchmarks.wild.tables import report

MIN_S = 3.0
HAND = (Span(0.0, 4.0), Span(4.0, 5.0, ("mouth_hidden",)), Span(5.0, 10.0))


def result(spans: tuple[Span, ...], *pieces: Piece, cuts_s: tuple[tuple[float, float], ...] = ()) -> Result:
    truth = Truth("recipe", {}, ("a",), "a.mp4", "25", spans[-1].end_s, spans, cuts_s)
    return Result(truth, pieces)


def kept(start_s: float, end_s: float, shot_s: float = 0.0) -> Piece:
    return Piece(start_s, end_s, None, shot_s)


def dropped(start_s: float, end_s: float, reason: str, shot_s: float = 0.0) -> Piece:
    return Piece(start_s, end_s, reason, shot_s)


def test_runs_end_at_faults_and_cuts_and_short_ones_are_no_clips():
    spans = (Span(0.0, 4.0), Span(4.0, 5.0, ("noise",)), Span(5.0, 7.0), Span(7.0, 9.0), Span(9.0, 10.0))
    runs = keepable_runs(result(spans, cuts_s=((9.0, 9.0),)).truth, MIN_S)
    assert runs == [Span(0.0, 4.0), Span(5.0, 9.0), Span(9.0, 10.0, ("too_short",))]


def test_a_cut_inside_a_span_splits_it():
    assert keepable_runs(result((Span(0.0, 8.0),), cuts_s=((4.0, 4.0),)).truth, MIN_S) == [
        Span(0.0, 4.0),
        Span(4.0, 8.0),
    ]


def test_split_around_a_fault_is_pure_and_caught():
    one = result(HAND, kept(0.0, 4.0), dropped(4.0, 5.0, "mouth_hidden"), kept(5.04, 10.0))
    of = purity([one], MIN_S)
    assert (of.num_kept, of.num_pure, of.keepable_s) == (2, 2, 9.0)
    assert of.pure_s == of.kept_s == pytest.approx(8.96)
    assert tally_reasons([one], MIN_S) == {"mouth_hidden": Tally(1, 1, 1, 1)}
    assert clip_edge_errors([one], MIN_S) == pytest.approx([0.0, 1.0])


def test_a_fault_that_is_kept_is_missed_and_impure():
    one = result(HAND, kept(0.0, 10.0))
    of = purity([one], MIN_S)
    assert (of.kept_s, of.pure_s, of.num_pure) == (10.0, 5.0, 0)  # two takes in one clip: the longer one counts
    assert tally_reasons([one], MIN_S) == {"mouth_hidden": Tally(1, 0, 0, 0)}
    assert confusion([one], MIN_S) == {("mouth_hidden", "kept"): 1, ("kept", "kept"): 2}


def test_a_whole_clip_dropped_for_its_fault_is_right_but_costs_what_was_good():
    one = result(HAND, dropped(0.0, 10.0, "mouth_hidden"))
    assert tally_reasons([one], MIN_S) == {"mouth_hidden": Tally(1, 1, 1, 1)}
    assert confusion([one], MIN_S) == {("mouth_hidden", "mouth_hidden"): 1, ("kept", "mouth_hidden"): 2}


def test_another_reason_than_the_expected_counts_against_both():
    one = result((Span(0.0, 8.0, ("noise", "speech")),), dropped(0.0, 8.0, "language"))
    assert tally_reasons([one], MIN_S) == {"noise": Tally(1, 0, 0, 0), "language": Tally(0, 0, 1, 0)}
    other = result((Span(0.0, 8.0, ("noise", "speech")),), dropped(0.0, 8.0, "speech"))
    assert tally_reasons([other], MIN_S) == {"noise": Tally(1, 1, 0, 0), "speech": Tally(0, 0, 1, 1)}


def test_what_was_cut_out_without_a_row_is_caught():
    one = result(HAND, kept(0.0, 4.0), kept(5.0, 10.0))
    assert tally_reasons([one], MIN_S)["mouth_hidden"].caught == 1


def test_border_cases_count_neither_way():
    border = (Span(0.0, 8.0, ("out_of_sync",), may_keep=True),)
    for piece in (kept(0.0, 8.0), dropped(0.0, 8.0, "out_of_sync")):
        of = purity([result(border, piece)], MIN_S)
        assert (of.kept_s, of.keepable_s, of.num_kept) == (0.0, 0.0, 0)
    assert tally_reasons([result(border, dropped(0.0, 8.0, "out_of_sync"))], MIN_S) == {
        "out_of_sync": Tally(0, 0, 1, 1)
    }
    assert tally_reasons([result(border, dropped(0.0, 8.0, "noise"))], MIN_S) == {"noise": Tally(0, 0, 1, 0)}


def test_a_short_remainder_may_be_dropped_as_too_short_a_long_one_not():
    spans = (Span(0.0, 2.0), Span(2.0, 8.0))
    cuts = ((2.0, 2.0),)
    right = result(spans, dropped(0.0, 2.0, "too_short"), kept(2.0, 8.0, 2.0), cuts_s=cuts)
    assert tally_reasons([right], MIN_S) == {"too_short": Tally(0, 0, 1, 1)}
    wrong = result((Span(0.0, 8.0),), dropped(0.0, 2.0, "too_short"), kept(2.0, 8.0, 2.0))
    assert tally_reasons([wrong], MIN_S) == {"too_short": Tally(0, 0, 1, 0)}


def test_cuts_are_matched_with_their_error_and_false_ones_counted():
    spans = (Span(0.0, 10.0),)
    one = result(spans, kept(0.0, 4.08), kept(4.08, 7.0, 4.08), kept(7.0, 10.0, 7.0), cuts_s=((4.0, 4.0),))
    score = score_cuts([one])
    assert (score.num_true, score.num_found, score.num_false) == (1, 1, 1)
    assert score.errors_frames == pytest.approx((2.0,))
    within = score_cuts([result(spans, kept(0.0, 4.4), kept(4.4, 10.0, 4.4), cuts_s=((4.0, 5.0),))])
    assert (within.num_found, within.num_false, within.errors_frames) == (1, 0, (0.0,))
    far = score_cuts([result(spans, kept(0.0, 6.0), kept(6.0, 10.0, 6.0), cuts_s=((4.0, 4.0),))])
    assert (far.num_found, far.num_false) == (0, 1)
    one_shot = result((Span(0.0, 7.0),), kept(0.0, 4.0), kept(4.0, 7.0), cuts_s=((4.0, 4.0),))
    assert score_cuts([one_shot]).num_found == 1
    by_length = result((Span(0.0, 10.0),), kept(0.0, 5.0), kept(5.0, 10.0))
    assert score_cuts([by_length]).num_false == 0


def test_wilson_agrees_with_the_published_example():
    low, high = wilson(81, 263)  # Newcombe 1998, Statistics in Medicine 17, table I: 0.2553 to 0.3662
    assert (low, high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert wilson(0, 0) == (0.0, 1.0)


def test_truth_survives_json():
    truth = result(HAND, cuts_s=((4.0, 4.2),)).truth
    assert Truth.from_json(json.loads(json.dumps(asdict(truth)))) == truth


def test_the_report_shows_what_was_counted():
    text = report([result(HAND, dropped(0.0, 10.0, "mouth_hidden"))], MIN_S)
    assert "| mouth_hidden | 1.00 (0.21-1.00), 1 | 1.00 (0.21-1.00), 1 | 1.00 |" in text
    assert "| kept | 2 | mouth_hidden 2 |" in text
