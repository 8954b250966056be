"""Who plays in which film, and what is written of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.wild.__main__ import main
from benchmarks.wild.films.clips import load_clip, save_clip
from benchmarks.wild.films.film import Span
from benchmarks.wild.films.recipes import RECIPES
from benchmarks.wild.measure import piece_of, plan_films, read_results, write_result
from benchmarks.wild.score import Result, Truth
from pipeline.rules.config import Config
from tests.benchmarks.wild.drawn import drawn_clip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    a, b, c = (drawn_clip(folder, name, first, 4.0) for name, first in (("a", 0), ("b", 300), ("c", 600)))
    return [a, b, replace(c, face=a.face)]  # a and c are one person


def test_no_one_plays_against_themselves(clips, tmp_path):
    orders, missing = plan_films(clips, ["cut", "clean"], 3, 0, Config(), tmp_path)
    casts = [(order.cast.clip.name, [other.name for other in order.cast.others]) for order in orders]
    assert missing == []
    assert {name: sorted(others) for name, others in casts} == {"a": ["b"], "b": ["a", "c"], "c": ["b"]}
    assert len(orders) == 6 and len({order.path for order in orders}) == 6


def test_a_film_without_a_cast_is_told(clips, tmp_path):
    orders, missing = plan_films([clips[0], clips[2]], ["cut", "clean"], 1, 0, Config(), tmp_path)
    assert [order.recipe for order in orders] == ["clean"] and missing == ["cut"]


def test_the_same_seed_plans_the_same_films(clips, tmp_path):
    plans = [plan_films(clips, list(RECIPES), 1, seed, Config(), tmp_path)[0] for seed in (1, 1, 2)]
    one, again, other = ([(order.path, order.cast.seed) for order in plan] for plan in plans)
    assert one == again != other


def test_a_clip_is_found_again_as_it_was(clips, tmp_path):
    save_clip(clips[1], tmp_path / "b.npz")
    found = load_clip(tmp_path / "b.npz")
    assert (found.name, found.fps, found.num_frames, found.size_px) == ("b", 25, 100, (160, 96))
    np.testing.assert_array_equal(found.points(), clips[1].points())
    assert all((a == b).all() for a, b in zip(found.frames(), clips[1].frames(), strict=True))


def test_results_are_read_as_written_the_last_of_a_film_counts(tmp_path):
    truth = Truth("clean", {}, ("a",), "a.mp4", "30000/1001", 8.0, (Span(0.0, 8.0),))
    dropped = {"verdict": "drop", "drop_reason": "noise", "drop_stage": "hear", "source_dnsmos_bak": np.float32(1.5)}
    clip = {"verdict": "pending", "shot_start_s": 0.0, "start_s": 1.0, "end_s": 4.0, "face_px": 120.0}
    results = [Result(truth, (piece_of(row, 8.0),)) for row in (dropped, clip)]
    with (tmp_path / "results.jsonl").open("w", encoding="utf-8") as file:
        for result in results:
            write_result(result, file)
    (found,) = read_results(tmp_path / "results.jsonl")
    assert found == results[1]
    assert (results[0].pieces[0].start_s, results[0].pieces[0].end_s, results[0].pieces[0].reason) == (0, 8, "noise")
    assert results[0].pieces[0].measured["source_dnsmos_bak"] == 1.5


def test_scores_are_told_again_without_measuring(tmp_path, capsys):
    truth = Truth("hand_1s", {}, ("a",), "a.mp4", "25", 8.0, (Span(0.0, 8.0, ("mouth_hidden",)),))
    row = {"verdict": "drop", "drop_reason": "mouth_hidden", "start_s": 0.0, "end_s": 8.0}
    with (tmp_path / "results.jsonl").open("w", encoding="utf-8") as file:
        write_result(Result(truth, (piece_of(row, 8.0),)), file)
    assert main(["--out", str(tmp_path), "--score"]) == 0
    assert "| mouth_hidden | 1.00 (0.21-1.00), 1 |" in capsys.readouterr().out
    assert (tmp_path / "scores.md").is_file()
