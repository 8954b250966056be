"""Finished videos against real ones: scikit-image's photo, moved, with a tone; and the same, worse."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from model.evaluate import EvaluateConfig, evaluate_pairs, main
from model.judging.pairs import Pair, PairsError, find_pairs, show_pair
from model.judging.score_table import COLUMNS, PUBLISHED, markdown
from stages.core.weight_files import WEIGHTS
from stages.core.weights import WeightStore, sha256_of
from stages.lipsync.syncnet import SyncNet, SyncNetExpert, lip_sync_error
from stages.media import write_video

NUM_FRAMES = 56


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """`a` is the same video at half the size; `b` has no partner."""
    root = tmp_path_factory.mktemp("pairs")
    photo = cv2.resize(astronaut()[:300, 70:370], (420, 420), interpolation=cv2.INTER_CUBIC)
    frames = [np.roll(photo, (i // 8, i // 6), axis=(0, 1)) for i in range(NUM_FRAMES)]
    tone = (0.3 * np.sin(np.arange(NUM_FRAMES * 640) / 9) * np.sin(np.arange(NUM_FRAMES * 640) / 900)).astype(
        np.float32
    )
    for side, size in (("real", 420), ("made", 210)):
        (root / side).mkdir()
        shown = [cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA) for rgb in frames]
        write_video(root / side / "a.mp4", shown, Fraction(25), tone)
    (root / "made" / "b.mp4").write_bytes(b"")
    return root / "real", root / "made"


@pytest.fixture
def store(weights: WeightStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightStore:
    """The machine's files and a SyncNet of random weights."""
    torch.manual_seed(0)
    file = tmp_path / WEIGHTS["syncnet"].file
    torch.save(SyncNet().state_dict(), file)
    monkeypatch.setitem(WEIGHTS, "syncnet", replace(WEIGHTS["syncnet"], sha256=sha256_of(file)))
    return replace(weights, folder=tmp_path)


def test_a_smaller_copy_scores_nearly_like_the_real_video(folders: tuple[Path, Path], store: WeightStore):
    pairs = find_pairs(list(folders))
    assert [(pair.real.name, pair.made.name) for pair in pairs] == [("a.mp4", "a.mp4")]
    result = evaluate_pairs(pairs, store, EvaluateConfig())
    ours, real = result["ours"], result["real"]
    assert 22 < ours["psnr_db"] < 45 and 0.7 < ours["ssim"] < 1 and ours["csim"] > 0.85
    assert ours["lip_distance_pct"] < 2 and ours["face_distance_pct"] < 2
    assert "real h264/aac 420x420" in result["protocol"]["codec"]
    assert "made h264/aac 210x210" in result["protocol"]["codec"]
    # The real video's LSE by hand: its windows, the shift by the least mean distance, the median.
    shown = show_pair(pairs[0], store, 250, 50)[1]
    assert shown.pictures is not None and shown.pictures.shape == (NUM_FRAMES, 224, 224, 3)
    seen, heard = SyncNetExpert(store, "cpu").embed(shown.pictures, shown.pcm16)
    expected = lip_sync_error(seen[: NUM_FRAMES - 5], heard[: NUM_FRAMES - 5])
    assert (real["lse_c"], real["lse_d"]) == pytest.approx((expected.confidence, expected.distance))
    assert ours["lse_d"] == pytest.approx(real["lse_d"], rel=0.2) and ours["lse_d"] != real["lse_d"]


def test_the_table_has_the_real_video_and_published_rows(
    folders: tuple[Path, Path], weights: WeightStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    listed = tmp_path / "pairs.csv"
    listed.write_text(f"real,made\n{folders[0] / 'a.mp4'},{folders[1] / 'a.mp4'}\n")
    assert main(["--pairs", str(listed), "--out", str(tmp_path / "eval.json"), "--device", "cpu"]) == 0
    result = json.loads((tmp_path / "eval.json").read_text())
    written = (tmp_path / "eval.md").read_text()
    assert written == markdown(result)
    lines = [line for line in written.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(PUBLISHED) + 2
    assert all(line.count("|") == len(COLUMNS) + 2 for line in lines)
    assert sum("published" in line for line in lines) == len(PUBLISHED)
    assert "**real video**" in lines[-2] and "**ours**" in lines[-1]
    printed = capsys.readouterr().out
    assert "FID: needs pt_inception" in printed and "(1) published: arXiv:2008.10010" in printed


@pytest.mark.parametrize(
    ("text", "message"), [("a,b\n1,2\n", "no columns real and made"), ("real,made\nx.mp4,y.mp4\n", "no such file")]
)
def test_a_list_without_pairs_says_so(tmp_path: Path, text: str, message: str):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(PairsError, match=message):
        find_pairs([tmp_path / "pairs.csv"])


def test_a_pair_is_named_by_what_was_made(tmp_path: Path):
    assert Pair(tmp_path / "x.mp4", tmp_path / "y.mp4").name == "y"
