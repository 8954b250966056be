from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.known.media_files import cut_bytes, steady, tone, write_media
from stages.core.reasons import Dropped, DropReason
from stages.core.records import PROBE
from stages.probe import ProbeConfig, probe


def test_columns_are_those_of_the_schema(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", steady(50), sound=tone(2.0))
    row = {"source_id": "a", "media_path": str(path)}
    probed = probe(row, ProbeConfig())
    assert probed.keys() - row.keys() == set(PROBE.names)
    assert row == {"source_id": "a", "media_path": str(path)}
    assert (probed["fps_num"], probed["fps_den"]) == (25, 1)
    assert probed["duration_s"] == pytest.approx(2.0, abs=0.05)


def test_silent_files_have_no_audio(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", steady(10))
    with pytest.raises(Dropped) as dropped:
        probe({"media_path": str(path)}, ProbeConfig())
    assert dropped.value.reason == DropReason.NO_AUDIO
    assert "160x96 h264" in dropped.value.detail


def test_how_much_may_be_missing_is_configured(tmp_path: Path) -> None:
    path = cut_bytes(write_media(tmp_path / "a.flv", steady(150), sound=tone(6.0)), 0.7)
    row = {"media_path": str(path)}
    with pytest.raises(Dropped) as dropped:
        probe(row, ProbeConfig())
    assert dropped.value.reason == DropReason.TRUNCATED
    assert probe(row, ProbeConfig(max_missing_s=5.0))["video_codec"] == "h264"
