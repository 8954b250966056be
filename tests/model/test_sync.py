"""The command that trains the lip-sound expert, on clips as a run leaves them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.lip_expert.fit import Features, SyncTrainConfig, read_takes
from model.sync import main
from stages.lipsync.lip_sound import MAX_STEPS, LipSound
from tests.model.lip_expert.drawn import talking_clip
from tests.rows import write_rows


@pytest.mark.slow
def test_an_expert_and_its_report_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_rows(tmp_path, *(talking_clip(f"s{person}", person, shot) for person in range(3) for shot in range(2)))
    out, told = tmp_path / "expert.npz", tmp_path / "report.json"
    assert main(["--data", str(tmp_path / "parts"), "--out", str(out), "--report", str(told)]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["num_people"], made["seconds"], made["bytes"]) == (3, 24.0, out.stat().st_size)
    expert = LipSound.load(out)
    assert expert.chance == pytest.approx(made["chance"], abs=1e-4)
    for take in map(Features.of, read_takes([tmp_path / "parts"], SyncTrainConfig())):
        curve = expert.compare(take.lips, take.sound)
        assert np.argmax(curve) == MAX_STEPS and curve.max() > 0.6
    assert json.loads(told.read_text())["5 s"]["people"] == 3
