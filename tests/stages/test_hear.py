from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks.known.media_files import steady, write_media
from stages.core.reasons import Dropped, DropReason
from stages.core.records import STAGE_COLUMNS, Row
from stages.core.weights import WeightStore
from stages.hear import AudioGate, HearConfig, choose_looks, clip_spans
from stages.media import probe_media
from tests.spoken import english, mandarin, noise, silence

CONFIG = HearConfig(device="cpu")
_LANGUAGE = {"source_language", "source_language_prob", "source_language_margin"}
_QUALITY = {"source_dnsmos_sig", "source_dnsmos_bak", "source_dnsmos_ovr"}


@pytest.fixture(scope="module")
def gate(weights: WeightStore) -> AudioGate:
    return AudioGate(CONFIG, weights)


def source(path: Path, sound: np.ndarray | None) -> Row:
    seconds = 2.0 if sound is None else len(sound) / 16_000
    write_media(path, steady(round(seconds * 5), fps=5.0), sound=sound, sound_rate_hz=16_000)
    facts = {name: value for name, value in asdict(probe_media(path)).items() if value is not None}
    return {"source_id": path.stem, "media_path": str(path), **facts}


def test_looks_are_spread_over_windows_with_speech() -> None:
    spans = np.array([[k * 30.0 + 5, k * 30.0 + 15] for k in range(40) if k % 2])
    looks = choose_looks(spans, [(0.0, 1200.0, "")], CONFIG)
    assert looks == [(30.0, 60.0), (390.0, 420.0), (810.0, 840.0), (1170.0, 1200.0)]


def test_the_last_window_ends_with_the_file() -> None:
    assert choose_looks(np.array([[31.0, 35.0]]), [(0.0, 40.0, "")], CONFIG) == [(30.0, 40.0)]


def test_little_speech_is_looked_at_where_there_is_most() -> None:
    whole = [(0.0, 60.0, "")]
    assert choose_looks(np.array([[5.0, 5.3], [40.0, 40.8]]), whole, CONFIG) == [(30.0, 60.0)]
    assert choose_looks(np.zeros((0, 2)), whole, CONFIG) == []


def test_windows_keep_within_the_spans_that_are_listened_to() -> None:
    speech = np.array([[0.0, 100.0]])
    assert choose_looks(speech, [(10.0, 50.0, "a"), (70.0, 72.0, "b")], CONFIG) == [
        (10.0, 40.0),
        (40.0, 50.0),
        (70.0, 72.0),
    ]


def test_spans_are_cut_to_a_window() -> None:
    spans = np.array([[0.0, 2.0], [4.0, 7.0], [8.0, 9.0]])
    np.testing.assert_allclose(clip_spans(spans, 1.0, 6.0), [[0.0, 1.0], [3.0, 5.0]])


def test_mandarin(gate: AudioGate, tmp_path: Path) -> None:
    row = source(tmp_path / "zh.mp4", mandarin())
    out = gate(row)
    assert out.keys() - row.keys() == set(STAGE_COLUMNS["hear"].names)
    assert out["source_language"] == "zh"
    assert out["source_speech_s"] == pytest.approx(out["source_speech_ratio"] * row["duration_s"], rel=1e-6)
    assert out["source_speech_ratio"] > 0.5
    assert out["source_dnsmos_bak"] > 3.0


def test_english(gate: AudioGate, tmp_path: Path) -> None:
    out = gate(source(tmp_path / "en.mp4", english()))
    assert out["source_language"] == "en"
    assert out["source_language_prob"] > 0.8


def test_noise_has_neither_speech_nor_language(gate: AudioGate, tmp_path: Path) -> None:
    out = gate(source(tmp_path / "noise.mp4", noise(4.0)))
    assert out["source_speech_s"] == 0.0
    assert not out.keys() & (_LANGUAGE | _QUALITY)
    assert out["source_webrtc_ratio"] > 0.5  # which is why it is never used alone


def test_quality_is_that_of_the_best_part(weights: WeightStore, tmp_path: Path) -> None:
    gate = AudioGate(HearConfig(look_s=10.0, device="cpu"), weights)
    bad = mandarin() + noise(8.0, float(mandarin().std()))
    mixed = np.concatenate([bad, silence(2.0), mandarin(), silence(2.0)])
    out = gate(source(tmp_path / "mixed.mp4", mixed))
    assert out["source_dnsmos_bak"] > 3.0
    assert gate(source(tmp_path / "bad.mp4", bad))["source_dnsmos_bak"] < 2.2


def test_pieces_do_not_change_what_is_found(gate: AudioGate, weights: WeightStore, tmp_path: Path) -> None:
    row = source(tmp_path / "long.mp4", np.concatenate([mandarin(), silence(1.0), english()]))
    pieces = AudioGate(HearConfig(piece_s=5.0, device="cpu"), weights)(row)
    assert pieces["source_speech_s"] == pytest.approx(gate(row)["source_speech_s"], abs=0.5)


def test_only_the_spans_are_heard(gate: AudioGate, tmp_path: Path) -> None:
    first, second = mandarin(), english()
    border_s = len(first) / 16_000
    row = source(tmp_path / "both.mp4", np.concatenate([first, second]))
    row |= {"spans": np.array([[border_s, row["duration_s"] + 5.0]]), "span_names": ["b"]}
    out = gate(row)
    assert out["source_language"] == "en"
    assert out["source_speech_s"] < len(second) / 16_000 + 0.1
    assert out["source_speech_ratio"] == pytest.approx(
        out["source_speech_s"] / (row["duration_s"] - border_s), rel=1e-3
    )


def test_no_audio_is_dropped(gate: AudioGate, tmp_path: Path) -> None:
    with pytest.raises(Dropped, match="no audio stream") as dropped:
        gate(source(tmp_path / "mute.mp4", None))
    assert dropped.value.reason is DropReason.NO_AUDIO
