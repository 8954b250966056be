"""What results say of themselves, read back from files that were really written and signed."""

from __future__ import annotations

import json
import stat
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from model.dubbing.credentials import CHAIN, KEY, read_credentials, sign
from model.dubbing.dub import InferConfig, dub
from model.dubbing.marks import MARK, VisibleMark, read_comment
from model.provenance import main
from stages.core.settings import ConfigError
from stages.core.weights import WeightStore
from stages.media import decode_video, write_video
from tests.talking import moving_photo, untrained_editor

FPS = Fraction(25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, weights: WeightStore) -> Path:
    """`plain.mp4`, and what it was dubbed to: `marked.mp4`, and `bare.mp4` without what can be seen."""
    made = tmp_path_factory.mktemp("dubbed")
    voice = 0.2 * np.sin(np.arange(8 * 640) / 9).astype(np.float32)
    write_video(made / "plain.mp4", moving_photo(8), FPS, voice)
    trained = untrained_editor(weights)
    for name, seen in (("marked", True), ("bare", False)):
        config = InferConfig(visible_mark=seen, signing=made / "signing", names=("a-run", None))
        dub(made / "plain.mp4", made / "plain.mp4", made / f"{name}.mp4", trained, None, weights, config)
    return made


def test_the_mark_is_seen_by_default_and_in_its_corner_alone(folder: Path):
    assert InferConfig().visible_mark
    marked, bare = (list(decode_video(folder / f"{name}.mp4")) for name in ("marked", "bare"))
    for ours, theirs in zip(marked, bare, strict=True):
        changed = np.abs(ours.rgb.astype(int) - theirs.rgb).max(axis=2) > 40
        rows, columns = np.nonzero(changed)
        assert changed.sum() > 100
        assert rows.min() > 370 and columns.max() < 210


@pytest.mark.parametrize("size", [(64, 48), (1080, 1920), (16, 16)])
def test_the_mark_fits_any_picture(size: tuple[int, int]):
    grey = np.full((*size, 3), 90, np.uint8)
    out = VisibleMark(*size)(grey)
    assert out.shape == grey.shape and (out > 150).any() and (grey == 90).all()


def test_results_tell_how_they_were_made(folder: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("marked.mp4", "bare.mp4"):
        made, signed = read_comment(folder / name), read_credentials(folder / name)
        assert made is not None and signed is not None
        assert (made["run"], made["motion_run"], made["depth"]) == ("a-run", None, "none")
        assert signed.statement == made
        assert signed.intact and not signed.trusted and "this machine" in signed.signer
    assert main([str(folder / "bare.mp4")]) == 0
    assert json.loads(capsys.readouterr().out)["c2pa"]["intact"] is True
    assert main([str(folder / "plain.mp4")]) == 1
    assert main([str(folder / KEY)]) == 2
    assert stat.S_IMODE((folder / "signing" / KEY).stat().st_mode) == 0o600


def test_a_changed_file_is_found_out(folder: Path, tmp_path: Path):
    content = bytearray((folder / "marked.mp4").read_bytes())
    at = content.index(b"mdat") + 500
    content[at] ^= 0xFF
    (tmp_path / "changed.mp4").write_bytes(content)
    signed = read_credentials(tmp_path / "changed.mp4")
    assert signed is not None and not signed.intact


def test_a_key_that_is_none_is_named(folder: Path, tmp_path: Path):
    for name in (KEY, CHAIN):
        (tmp_path / name).write_text("no key")
    with pytest.raises(ConfigError, match="Take its files away"):
        sign(folder / "plain.mp4", tmp_path / "y.mp4", {}, tmp_path)


def test_coding_it_anew_leaves_the_mark_that_is_seen(folder: Path, tmp_path: Path):
    write_video(tmp_path / "anew.mp4", (frame.rgb for frame in decode_video(folder / "marked.mp4")), FPS)
    assert read_comment(tmp_path / "anew.mp4") is None and read_credentials(tmp_path / "anew.mp4") is None
    first, again = (next(decode_video(path)).rgb.astype(int) for path in (folder / "marked.mp4", tmp_path / "anew.mp4"))
    assert np.abs(first - again)[370:, :210].mean() < 4
    assert MARK.isprintable()
