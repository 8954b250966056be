"""What results say of themselves, read back from files that were really written and signed."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from model.dubbing.credentials import KEY, read_credentials
from model.dubbing.marks import read_comment
from model.provenance import main


def test_results_tell_how_they_were_made(dubbed: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("marked.mp4", "bare.mp4"):
        made, signed = read_comment(dubbed / name), read_credentials(dubbed / name)
        assert made is not None and signed is not None
        assert (made["run"], made["motion_run"], made["depth"]) == ("a-run", None, "none")
        assert signed.statement == made
        assert signed.intact and not signed.trusted and "this machine" in signed.signer
    assert main([str(dubbed / "bare.mp4")]) == 0
    assert json.loads(capsys.readouterr().out)["c2pa"]["intact"] is True
    assert main([str(dubbed / "plain.mp4")]) == 1
    assert main([str(dubbed / KEY)]) == 2
    assert stat.S_IMODE((dubbed / "signing" / KEY).stat().st_mode) == 0o600
