from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.lease import Lease, results
from benchmarks.gpu.material import drawn_shards
from model.shards.clips import LoaderConfig
from model.shards.samples import EditorDataset
from model.shards.views import AugmentConfig, lip_mask

MISSING = (
    *(
        "upath",
        "diffusers",
        "av",
        "mediapipe",
        "insightface",
        "ray",
        "faster_whisper",
        "ctranslate2",
        "pyannote",
        "beartype",
    ),
    *("silero_vad", "webrtcvad", "scenedetect", "yt_dlp", "datasets", "duckdb", "plotly", "c2pa", "soundfile", "soxr"),
)
"""What a machine with a GPU and little else has not."""


@pytest.mark.slow
def test_parts_load_on_a_bare_machine():
    code = f"import sys; sys.modules.update(dict.fromkeys({MISSING}))\n"
    code += f"import importlib\nfor part in {tuple(gpu.PARTS)}: importlib.import_module(f'benchmarks.gpu.{{part}}')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_wheels_are_those_of_the_lock(capsys: pytest.CaptureFixture[str]):
    assert gpu.main(["--wheels"]) == 0
    lines = capsys.readouterr().out.split()
    assert [line.split("==")[0] for line in lines] == list(gpu.WHEELS) and all("==" in line for line in lines)


def test_what_fails_costs_itself_alone(tmp_path: Path):
    lease = Lease("step", "cpu", tmp_path, 60)

    def broken() -> None:
        raise RuntimeError("no kernel image | for this card")

    lease.attempt("first", broken)
    lease.attempt("second", lambda: lease.tell("second", speed=1234.5678, ok=True))
    assert lease.lacks("third", "torch", "not_to_be_had")
    lease.seconds = -1
    lease.attempt("fourth", broken)
    assert [r["what"] for r in results(tmp_path)] == ["first", "second", "third", "fourth"]
    first, second, third, fourth = results(tmp_path)
    assert first["failed"] == "RuntimeError: no kernel image | for this card"
    assert second["speed"] == 1235.0 and third["skipped"] == "not installed: not_to_be_had"
    assert fourth["skipped"] == "out of time"
    rows = (tmp_path / "gpu.md").read_text().splitlines()
    assert len(rows) == 6 and all(row.count("|") == 4 for row in rows)


def test_a_part_that_does_not_end_is_cut_off(tmp_path: Path):
    gpu.run_part("drawing", 0.2, 0.2, Namespace(device="cpu", out=tmp_path, shards=None))
    assert results(tmp_path)[-1]["what"] == "cut off"


def test_without_a_card_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path)]) == 2
    assert "sees no CUDA device; --device cpu runs it in small" in capsys.readouterr().err


@pytest.mark.slow
def test_drawn_speakers_talk(tmp_path: Path):
    folder = drawn_shards(tmp_path, 1, 30, 8)
    dataset = EditorDataset(str(folder), "train", LoaderConfig(num_workers=0), AugmentConfig(depth_drop_prob=0.0), 0)
    clip = dataset.table.clip(0)
    opened = [int(lip_mask(points).sum()) for points in clip.landmarks]
    assert clip.num_frames == 30 and clip.face(0).std() > 20 and max(opened) > 1.05 * min(opened) > 0
    sample = dataset[3]
    inside = sample["depth"][sample["depth"] > 0].float()
    assert sample["audio"].shape == (50, 8) and len(inside) > 100 and 100 < inside.mean() < 255


def told(out: Path) -> list[dict[str, object]]:
    """What it says, none of which is a failure."""
    every = json.loads((out / "gpu.json").read_text())
    wrong = [r for r in every if "failed" in r or r.get("ok") is False]
    assert not wrong
    return every


@pytest.mark.slow
def test_it_runs_in_small(tmp_path: Path):
    assert gpu.main(["--device", "cpu", "--minutes", "3", "--only", "drawing", "--out", str(tmp_path)]) == 0
    every = told(tmp_path)
    assert [r["part"] for r in every] == ["machine", *["drawing"] * 5]
    assert all(r["frames_per_s"] > 1 for r in every if "frames_per_s" in r)


@pytest.mark.gpu
def test_all_of_it_runs_in_small(tmp_path: Path):
    assert gpu.main(["--device", "cpu", "--minutes", "20", "--out", str(tmp_path)]) == 0
    every = told(tmp_path)
    assert {r["part"] for r in every} == {"machine", *gpu.PARTS}
    assert not [r for r in every if r.get("skipped") == "out of time"]
    assert {"small.png", "small.jsonl"} <= {file.name for file in tmp_path.iterdir()}
