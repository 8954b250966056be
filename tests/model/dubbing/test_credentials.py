"""Signatures on files that were really written and signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.dubbing.credentials import CHAIN, KEY, read_credentials, sign
from stages.core.settings import ConfigError


def test_a_changed_file_is_found_out(dubbed: Path, tmp_path: Path):
    content = bytearray((dubbed / "marked.mp4").read_bytes())
    at = content.index(b"mdat") + 500
    content[at] ^= 0xFF
    (tmp_path / "changed.mp4").write_bytes(content)
    signed = read_credentials(tmp_path / "changed.mp4")
    assert signed is not None and not signed.intact


def test_a_key_that_is_none_is_named(dubbed: Path, tmp_path: Path):
    for name in (KEY, CHAIN):
        (tmp_path / name).write_text("no key")
    with pytest.raises(ConfigError, match="Take its files away"):
        sign(dubbed / "plain.mp4", tmp_path / "y.mp4", {}, tmp_path)
