"""What finalize decides over the whole set: copies of files and of clips, and people who keep their names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.decide import SPLIT_RATIOS, Measured, decide_set
from pipeline.finalize import UNFINISHED, finalize, foresee, main
from pipeline.job.parts import Address, write_part
from pipeline.rules.config import Config, load_config
from stages.core.records import LEDGER, Row
from stages.core.rows import table_from_rows
from tests.rows import kept_clip, write_rows

pytestmark = pytest.mark.slow

GROUPS = ["face_group", "repeat_group"]


def _clip(source: str, person: int, sound: int, **more: object) -> Row:
    words = np.random.default_rng(sound).integers(0, 2**32, 60, np.uint32)
    return kept_clip(source, person, audio_fingerprint=words, **more)


def _finalize(out: Path, rows: list[Row], config: Config | None = None) -> pd.DataFrame:
    if rows:
        write_part(table_from_rows(rows), out, 1)
    finalize(out, config or Config())
    return pd.read_parquet(out / "ledger.parquet").set_index("source_id")


def test_of_two_sources_with_the_same_bytes_one_stays(tmp_path):
    rows = [_clip(name, 0, sound, sha256="same") for sound, name in enumerate(("b", "a"))]
    ledger = _finalize(tmp_path, [*rows, _clip("c", 0, 7)])
    assert dict(ledger.verdict) == {"a": "keep", "b": "drop", "c": "keep"}
    assert (ledger.drop_stage["b"], ledger.drop_reason["b"]) == ("finalize", "duplicate_source")
    assert ledger.drop_detail["b"] == "same file as a"


def test_of_two_clips_with_one_sound_and_one_face_the_larger_stays(tmp_path):
    rows = [_clip("a", 0, 0), _clip("b", 0, 0, face_px=300.0), _clip("c", 0, 7)]
    ledger = _finalize(tmp_path, rows)
    assert dict(ledger.verdict) == {"a": "drop", "b": "keep", "c": "keep"}
    assert (ledger.drop_stage["a"], ledger.drop_reason["a"]) == ("finalize", "duplicate_clip")
    assert ledger.drop_detail["a"] == "100% the same sound as b-s0000-c000"
    shards = pd.read_parquet(tmp_path / "shards", columns=["source_id", "identity_id"])
    assert set(shards.source_id) == {"b", "c"} and shards.identity_id.nunique() == 1


NO_FACE = {"none": None, "nan": np.full(512, np.nan), "inf": np.full(512, np.inf), "zero": np.zeros(512)}
NO_FACE |= {"partly nan": np.r_[np.nan, np.ones(511)], "short": np.ones(3), "empty": np.zeros(0)}


def test_clips_whose_face_was_not_measured_cost_themselves_alone(tmp_path):
    broken = [_clip(name, 1, 5 + n, face_embedding=face) for n, (name, face) in enumerate(NO_FACE.items())]
    ledger = _finalize(tmp_path, [_clip("a", 0, 0), _clip("b", 1, 1), *broken])
    assert dict(ledger.drop_reason.fillna("")) == {"a": "", "b": ""} | dict.fromkeys(NO_FACE, "error")
    assert set(ledger.drop_stage[[*NO_FACE]]) == {"identity"}
    assert ledger.drop_detail["none"] == "face_embedding was not measured"


def test_a_voice_without_a_direction_costs_its_clip_and_a_missing_one_does_not(tmp_path):
    voices = {"none": None, "nan": np.full(192, np.nan), "fine": np.eye(192)[0]}
    ledger = _finalize(tmp_path, [_clip(name, 0, n, voice_embedding=v) for n, (name, v) in enumerate(voices.items())])
    assert dict(ledger.drop_reason.fillna("")) == {"none": "", "nan": "error", "fine": ""}


def test_added_clips_rename_and_move_nobody(tmp_path):
    before = _finalize(tmp_path, [_clip(f"p{n}", n, n) for n in range(4)])
    added = [_clip(f"a{n}", n, 100 + n) for n in range(12)]  # their ids come first
    after = _finalize(tmp_path, added)
    for column in ("identity_id", "split"):
        assert dict(after[column][before.index]) == dict(before[column])
        assert after[column]["a3"] == before[column]["p3"]
    assert after.identity_id.nunique() == 12
    assert sorted(before.split) == ["test", "train", "train", "val"]


def test_other_shares_draw_the_splits_anew(tmp_path):
    before = _finalize(tmp_path, [_clip(f"p{n}", n, n) for n in range(4)])
    after = _finalize(tmp_path, [], load_config([], ["finalize.val_ratio=0", "finalize.test_ratio=1"]))
    assert dict(after.identity_id) == dict(before.identity_id)
    assert set(after.split) == {"test"}


def _shard_stamps(out: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (out / "shards").iterdir()}


def _state(out: Path) -> dict[str, tuple[int, int]]:
    return {str(path.relative_to(out)): (path.stat().st_mtime_ns, path.stat().st_size) for path in out.rglob("*")}


def _write_people(out: Path) -> None:
    """Four that are kept, a copy of one, one that a looser policy wants measured, and one that is silent."""
    dropped_early = {"language": "en", "last_stage": "speech", "source_language": "en", "source_language_prob": 0.5}
    write_rows(
        out,
        *(kept_clip(f"p{n}", n, face_px=100.0 + 10 * n) for n in range(4)),
        kept_clip("en", 5, **dropped_early),
        kept_clip("quiet", 6, speech_ratio=0.1),
    )


def test_a_dry_run_says_what_finalize_then_does_and_writes_nothing(tmp_path, capsys):
    _write_people(tmp_path)
    before = _state(tmp_path)
    assert main(["--out", str(tmp_path), "--dry-run"]) == 0
    assert _state(tmp_path) == before
    assert "Kept clips: 0, 0.0 s before; 4, 16.0 s after." in capsys.readouterr().out
    finalize(tmp_path, Config())
    before = _state(tmp_path)
    overrides = ["policy.min_face_px=115", "policy.languages=[zh,en]"]
    foreseen = foresee(tmp_path, load_config([], overrides))
    assert main(["--out", str(tmp_path), "--dry-run", *overrides]) == 0
    assert _state(tmp_path) == before
    dry = capsys.readouterr().out
    assert main(["--out", str(tmp_path), *overrides]) == 0
    assert capsys.readouterr().out.startswith(dry)  # then comes what was done
    assert re.search(r"face_too_small .* 2, 8\.0 s", dry)
    lines = {line.reason: line for line in foreseen.lines}
    assert lines.keys() == {"face_too_small", "language"}
    assert (lines["face_too_small"].lost.num, lines["language"].reopened.num) == (2, 1)
    assert lines["face_too_small"].lost.hours == pytest.approx(8 / 3600)
    assert (foreseen.kept_before.num, foreseen.kept_after.num, foreseen.pending_units) == (4, 2, {"clip": 1})
    back = {line.reason: line for line in foresee(tmp_path, Config()).lines}
    assert back.keys() == {"face_too_small", "(pending)", "language"}
    assert (back["face_too_small"].gained.num, back["(pending)"].left, back["language"].joined) == (2, 1, 1)


def test_shards_are_written_again_only_when_they_do_not_hold_what_they_should(tmp_path):
    def again(*overrides: str) -> bool:
        before = _shard_stamps(tmp_path)
        finalize(tmp_path, load_config([], overrides))
        held = set(pd.read_parquet(tmp_path / "shards", columns=["source_id"]).source_id)
        assert held >= {"p0", "p1", "p2", "p3"}
        return _shard_stamps(tmp_path) != before

    _write_people(tmp_path)
    finalize(tmp_path, Config())
    assert not again("policy.min_face_px=99")  # nobody goes
    assert again("policy.min_speech_ratio=0.05")  # one comes
    (tmp_path / UNFINISHED).write_text("")  # left by one that died before it wrote the ledger
    assert again("policy.min_speech_ratio=0.05")
    assert not (tmp_path / UNFINISHED).exists()
    next((tmp_path / "shards").glob("train-*")).unlink()
    assert again("policy.min_speech_ratio=0.05", "finalize.shard_bytes=1000")
    assert len(_shard_stamps(tmp_path)) == 5
    assert not foresee(tmp_path, load_config([], ["policy.min_speech_ratio=0.05"]))
    write_rows(tmp_path, kept_clip("p9", 9), generation=2)  # a part that the ledger was not made of
    changes = foresee(tmp_path, load_config([], ["policy.min_speech_ratio=0.05"]))
    assert [(line.reason, line.gained.num) for line in changes.lines] == [("(new)", 1)]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(*(st.integers(0, 3),) * 3), min_size=1, max_size=9), st.integers(90, 130), st.integers(90, 130)
)
def test_what_the_last_ledger_knows_changes_no_decision(clips, first_px, then_px):
    """People, sounds, motions and face sizes by chance: a second decision equals one that compares all clips anew.

    Of sounds every second one is the end of the one before it and the beginning of another.
    """
    rows = [
        kept_clip(f"s{idx}", person, face_px=100.0 + 10 * size, audio_fingerprint=_sound(sound), **_heard_and_seen(idx))
        for idx, (person, sound, size) in enumerate(clips)
    ]
    measured = Measured(table_from_rows(rows).select(LEDGER.names), 0, "")
    before, then = (load_config([], [f"policy.min_face_px={px}"]) for px in (first_px, then_px))
    last = decide_set(measured, None, before)
    told = decide_set(measured, last, then)
    anew = decide_set(measured, last.replace_schema_metadata({SPLIT_RATIOS: last.schema.metadata[SPLIT_RATIOS]}), then)
    assert told.drop(GROUPS).equals(anew.drop(GROUPS))
    back = decide_set(measured, told, before)
    assert back.drop(["split", *GROUPS]).equals(last.drop(["split", *GROUPS]))


def test_a_clip_that_was_measured_anew_is_compared_again():
    rows = [kept_clip("a", 0), kept_clip("b", 1)]
    last = decide_set(_measured(rows), None, Config())
    alike = _measured([rows[0], kept_clip("b", 0, audio_fingerprint=rows[0]["audio_fingerprint"])])
    assert decide_set(alike, last, Config())["drop_reason"].to_pylist().count("duplicate_clip") == 1
    same_face = decide_set(_measured([rows[0], kept_clip("b", 0)]), last, Config())["identity_id"].to_pylist()
    assert same_face[0] == same_face[1]


def _measured(rows: list[Row]) -> Measured:
    """As parts that were read."""
    table = table_from_rows(rows).select(LEDGER.names)
    return Measured(table, 0, "", [Address(Path("part"), idx) for idx in range(len(rows))])


def _sound(number: int) -> np.ndarray:
    """Two and two have half a clip in common."""
    long = np.random.default_rng(number // 2).integers(0, 2**32, 75, np.uint32)
    return long[:50] if number % 2 else long[25:]


def _heard_and_seen(number: int) -> Row:
    """Every third clip shows the same; two voices take turns."""
    motion = np.random.default_rng(number % 3).integers(0, 2**32, 40, np.uint32)
    voice = np.eye(192)[number % 2]
    return {"motion_fingerprint": motion if number % 3 == 0 else motion[:0], "voice_embedding": voice}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=2, max_size=24), st.data())
def test_added_sources_move_no_kept_person_to_another_split(clips, data):
    """The manifest's speaker joins people later on: then all take the name and the split of the greater part."""
    joined = data.draw(st.sampled_from([{}, {0: "li", 1: "li"}]))
    config, ledger = Config(), None
    rows = [kept_clip(f"s{name}-{idx}", person) for idx, (person, name) in enumerate(clips)]
    first = data.draw(st.integers(1, len(rows) - 1))
    named = [
        row | ({"speaker_id": joined[person]} if person in joined else {})
        for row, (person, _) in zip(rows, clips, strict=True)
    ]
    before = decide_set(_measured(rows[:first]), ledger, config).to_pandas().set_index("row_id")
    last = decide_set(_measured(rows[:first]), ledger, config)
    after = decide_set(_measured(named), last, config).to_pandas().set_index("row_id")
    assert (after.groupby("identity_id")["split"].nunique() == 1).all()  # no person in two splits
    was = before.groupby("identity_id").size()
    for name, clips_after in after.loc[before.index].groupby("identity_id"):
        names_before = before.loc[clips_after.index, "identity_id"]
        assert was[name] == was[names_before.unique()].max()
        assert set(clips_after["split"]) == set(before.loc[names_before[names_before == name].index, "split"])
