"""One clip explained: every check in order, what decided, how far from it; and its frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.known.media_files import steady, tone, write_media
from pipeline.explain import main
from pipeline.finalize import finalize
from pipeline.rules.config import Config, load_config
from pipeline.rules.policy import CHECKS, Fact, PolicyConfig
from pipeline.show.findings import Explanation, explain, findings
from stages.core.records import NUM_LANDMARKS, Row
from tests.rows import NUM_FRAMES, kept_clip, write_rows


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """Two clips kept, a copy of one, one of a small face with its media file, one faulty, one source of two clips."""
    out = tmp_path_factory.mktemp("out")
    (out / "media").mkdir()
    media = write_media(out / "media" / "small.mp4", steady(100), sound=tone(4.0))
    jpeg = cv2.imencode(".jpg", np.full((256, 256, 3), (30, 60, 200), np.uint8))[1].tobytes()
    landmarks = np.full((NUM_FRAMES, NUM_LANDMARKS * 3), 128.0)
    pictures = {"face_jpeg": [jpeg] * NUM_FRAMES, "landmarks": landmarks}
    sound = np.random.default_rng(0).integers(0, 2**32, 50, np.uint32)
    fault = {"fault_reason": "corrupt", "fault_detail": "no packets\nafter 2 s", "last_stage": "track"}
    write_rows(
        out,
        kept_clip("first", 0, audio_fingerprint=sound, **pictures),
        kept_clip("second", 0, audio_fingerprint=sound, face_px=100.0, **pictures),
        kept_clip("small", 1, face_px=60.0, yaw_deg=50.0, last_stage="track", media_path=str(media)),
        kept_clip("faulty", 2, media_path=str(out / "gone.mp4"), **fault),
        *(kept_clip("both", 3, shot, 2) for shot in range(2)),
    )
    finalize(out, Config())
    return out


def _explained(out: Path, clip: str, *overrides: str) -> Explanation:
    told = explain(out, clip, load_config([], overrides).policy)
    assert isinstance(told, Explanation)
    return told


@pytest.mark.slow
def test_margins_states_and_what_was_not_measured(out):
    told = _explained(out, "small-s0000-c000")
    assert [f.name for f in told.findings if not f.is_condition] == [
        check.limits[0].number.name if check.limits and check.rule is check.limits[0] else check.rule.columns[0]
        for check in CHECKS
        if not isinstance(check.rule, Fact) or check.rule.keys
    ]
    by_name = {finding.name: finding for finding in told.findings}
    face, yaw, fps, mouth = (by_name[name] for name in ("face_px", "yaw_deg", "fps", "mouth_px"))
    assert (face.state, face.value, face.limit, face.margin) == ("decides", "60", "≥ 90", -30.0)
    assert face.share == pytest.approx(-1 / 3)
    assert (yaw.state, yaw.limit, yaw.margin) == ("fails", "≤ 35", -15.0)
    assert (fps.state, fps.margin) == ("passes", 10.0)
    assert (mouth.state, mouth.value, mouth.margin) == ("not measured", "", None)
    assert told.verdict["drop_detail"] == "face_px 60 < 90" and told.changed is None


def test_conditions_are_told_with_their_rule():
    row = {"last_stage": "scan", "shot_multi_face_ratio": 0.4, "shot_alone_s": 5.0}
    ratio, alone = (f for f in findings(row, PolicyConfig()) if f.reason == "multi_face" and f.value)
    assert (ratio.name, ratio.value, ratio.state) == ("shot_multi_face_ratio", "0.4", "passes")  # long enough alone
    assert (alone.name, alone.limit, alone.is_condition) == ("shot_alone_s", "< 3", True)


def test_copies_name_each_other(out):
    assert _explained(out, "first").copies == ("second-s0000-c000",)
    copy = _explained(out, "second-s0000-c000")
    assert copy.verdict["drop_detail"] == "100% the same sound as first-s0000-c000"


def test_another_policy_is_told_beside_the_ledgers_verdict(out):
    told = _explained(out, "small", "policy.min_face_px=50", "policy.max_yaw_deg=60")
    assert told.verdict["verdict"] == "pending"
    assert told.changed == "drop at track: face_too_small, face_px 60 < 90"


def test_a_fault_is_told_with_its_detail(out, capsys):
    assert main(["--out", str(out), "faulty-s0000-c000"]) == 0
    printed = capsys.readouterr().out
    assert "corrupt: no packets | after 2 s" in printed
    assert "clip_length_s" in printed.partition("Not measured: ")[2]


def test_the_command_tells_a_kept_clip_and_lists_a_source(out, capsys):
    assert main(["--out", str(out), "first"]) == 0
    printed = capsys.readouterr().out
    assert "identity_id" in printed and "split" in printed and "+60 (+67%)" in printed
    assert main(["--out", str(out), "both"]) == 0
    assert capsys.readouterr().out.splitlines() == ["both-s0000-c000  keep", "both-s0001-c000  keep"]


def test_an_unknown_name_gets_those_like_it(out, capsys):
    assert main(["--out", str(out), "smal-s0000-c000"]) == 2
    assert "close to it: small-s0000-c000" in capsys.readouterr().err
    assert main(["--out", str(out / "none"), "small"]) == 2
    assert "ledger.parquet is missing" in capsys.readouterr().err


def _picture(out: Path, row_id: str, target: Path) -> np.ndarray:
    assert main(["--out", str(out), row_id, "--picture", str(target)]) == 0
    return np.asarray(Image.open(target).convert("RGB")).astype(int)


def test_picture_of_a_kept_clip_has_its_crops_with_landmarks(out, tmp_path):
    pixels = _picture(out, "first-s0000-c000", tmp_path / "kept.png")
    red = (np.abs(pixels - (200, 60, 30)).max(axis=2) < 12).mean()
    assert red * pixels.shape[0] * pixels.shape[1] == pytest.approx(12 * 256 * 256, rel=0.02)
    assert (np.abs(pixels - (56, 214, 192)).max(axis=2) < 40).sum() >= 12


def test_picture_of_a_dropped_clip_has_frames_of_its_media(out, tmp_path):
    media = _picture(out, "small-s0000-c000", tmp_path / "dropped.png")
    gone = _picture(out, "faulty-s0000-c000", tmp_path / "gone.png")
    assert media.shape[1] > gone.shape[1]  # five frames and the preview against the preview alone
    assert (np.abs(media - (180, 35, 24)).max(axis=2) < 8).sum() > 200  # what decided, in red


def test_row_ids_are_not_mixed_up_with_sources(out):
    rows: list[Row] | Explanation = explain(out, "both", PolicyConfig())
    assert isinstance(rows, list) and [row["row_id"] for row in rows] == ["both-s0000-c000", "both-s0001-c000"]
