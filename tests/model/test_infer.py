"""The command that dubs, as a user gives it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.dubbing.marks import read_comment
from model.infer import main
from stages.media import probe_media, write_video
from tests.talking import FPS, moving_photo, save_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, trained) -> Path:
    return save_run(tmp_path_factory.mktemp("runs") / "tiny", trained)


def test_a_video_is_dubbed_with_what_the_run_saved(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]):
    write_video(tmp_path / "v.mp4", moving_photo(8), FPS, 0.2 * np.sin(np.arange(8 * 640) / 9).astype(np.float32))
    given = ["--run", str(run), "--video", str(tmp_path / "v.mp4"), "--audio", str(tmp_path / "v.mp4")]
    given += ["--out", str(tmp_path / "new" / "y.mp4"), "--device", "cpu", "--no-c2pa", "--depth", "original"]
    assert main(given) == 0
    assert "y.mp4: 8 frames at 25.000 fps, depth: original" in capsys.readouterr().out
    assert probe_media(tmp_path / "new" / "y.mp4").width_px == 420
    made = read_comment(tmp_path / "new" / "y.mp4")
    assert made is not None and (made["run"], made["depth"]) == ("tiny", "original")


def test_what_cannot_be_dubbed_is_one_line(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]):
    grey = [np.full((64, 64, 3), 90, np.uint8)] * 6
    write_video(tmp_path / "blank.mp4", grey, FPS, np.zeros(6 * 640, np.float32))
    blank, gone = str(tmp_path / "blank.mp4"), str(tmp_path / "gone.mp4")
    for folder, video, message in [
        (run, gone, "no such file: " + gone),
        (run, blank, "none of the 6 frames of blank.mp4 shows a face"),
        (tmp_path, blank, "holds no checkpoint"),
    ]:
        given = ["--run", str(folder), "--video", video, "--audio", blank, "--out", str(tmp_path / "y.mp4")]
        assert main([*given, "--device", "cpu"]) == 2
        said = capsys.readouterr().err.splitlines()
        assert said[-1].startswith("error: ") and message in said[-1]
    assert not (tmp_path / "y.mp4").exists()
