"""Picture and sound of whatever is crawled: a flash and its beep stay together, up to what training reads."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.wild.films.variants import VARIANTS, Variant
from benchmarks.wild.timing import LENGTH_S, Errors, make, measure
from model.shards.samples import EditorDataset
from model.shards.views import Views
from model.training.config import AugmentConfig, LoaderConfig
from stages.audio.pcm16 import to_pcm16
from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS, shard_schema
from stages.core.rows import table_from_rows
from stages.core.weights import WeightStore
from stages.features import FeaturesConfig, WhisperFeatures
from stages.media import probe_media
from tests.shards import EXP_DIM, clip_row

pytestmark = pytest.mark.slow  # nearly a hundred files are encoded

HALF_TICK_S = 0.5 / CLIP_FPS
ROUNDING_S = 0.0015
"""Of containers that count milliseconds, twice, and of finding a beep's onset."""
UNSTEADY_S = 0.0065
"""Of sound whose clock is wrong: what is taken for drift only beyond 5 ms."""


def assert_in_step(worst: Errors, variant: Variant) -> None:
    sound_s = UNSTEADY_S if variant.drift or variant.jitter_s else ROUNDING_S
    assert worst.pts_s <= ROUNDING_S
    assert worst.outside_s <= ROUNDING_S
    assert worst.beep_s <= sound_s
    assert worst.flash_s <= HALF_TICK_S + ROUNDING_S
    assert worst.apart_s <= HALF_TICK_S + sound_s


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_flash_and_beep_stay_together(tmp_path: Path, variant: Variant) -> None:
    path, flashes, truth = make(tmp_path, variant)
    assert_in_step(measure(path, flashes, truth), variant)
    start_s = truth.times_s[len(truth.times_s) // 4] + 0.1
    assert_in_step(measure(path, flashes, truth, start_s, start_s + 1.9), variant)


def test_an_encoder_leaves_the_process_as_patient_as_it_was(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    make(tmp_path, next(variant for variant in VARIANTS if variant.video == "libsvtav1"))
    assert os.sched_getscheduler(0) == before


CODECS = {
    "mp4": (("libx264", "libx265", "libvpx-vp9", "mpeg4"), ("aac", "libopus", "libmp3lame", "ac3", "flac")),
    "mov": (("libx264", "mpeg4"), ("aac", "pcm_s16le")),
    "mkv": (
        ("libx264", "libx265", "libvpx-vp9"),
        ("aac", "libopus", "libmp3lame", "ac3", "flac", "vorbis", "pcm_s16le"),
    ),
    "webm": (("libvpx-vp9",), ("libopus", "vorbis")),
    "flv": (("libx264",), ("aac", "libmp3lame")),
    "ts": (("libx264", "libx265", "mpeg2video"), ("aac", "ac3", "mp2")),
}
RATES_HZ = {"libopus": (48_000,), "ac3": (44_100, 48_000), "libmp3lame": (22_050, 44_100), "mp2": (44_100, 48_000)}
FRAME_RATES = ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")


@st.composite
def variants(draw: st.DrawFn) -> Variant:
    container = draw(st.sampled_from(sorted(CODECS)))
    video, audio = (draw(st.sampled_from(codecs)) for codecs in CODECS[container])
    return Variant(
        container=container,
        video=video,
        audio=audio,
        rate=Fraction(draw(st.sampled_from(FRAME_RATES))),
        uneven=video not in ("mpeg4", "mpeg2video") and draw(st.booleans()),
        b_frames=draw(st.integers(0, 3)),
        key_frame_every=draw(st.integers(1, 60)),
        sound_rate_hz=draw(st.sampled_from(RATES_HZ.get(audio, (22_050, 44_100, 48_000)))),
        layout="stereo" if audio == "vorbis" else draw(st.sampled_from(["mono", "stereo"])),
        start_s=draw(st.sampled_from([0.0, 0.0, 1.4, 3_600.0])),
        video_skip_s=draw(st.floats(0, 0.6)),
        sound_skip_s=draw(st.floats(0, 0.6)),
        rotation_deg=draw(st.sampled_from([0, 90, 180, 270])) if container in ("mp4", "mov") else 0,
    )


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(variant=variants(), gaps_s=st.lists(st.floats(0.45, 0.7), min_size=3, max_size=3), from_s=st.floats(0, 0.9))
def test_flash_and_beep_stay_together_however_it_is_combined(
    tmp_path: Path, variant: Variant, gaps_s: list[float], from_s: float
) -> None:
    events_s = 0.75 + np.cumsum(gaps_s)
    path, flashes, truth = make(tmp_path, variant, events_s)
    assert_in_step(measure(path, flashes, truth), variant)
    assert_in_step(measure(path, flashes, truth, from_s, LENGTH_S - 0.3), variant)


@pytest.mark.parametrize("late", ["video_skip_s", "sound_skip_s"])
@pytest.mark.parametrize("from_s", [0.3, 0.75, 1.2])
def test_a_span_may_begin_before_a_stream_that_is_late(tmp_path: Path, late: str, from_s: float) -> None:
    """FLV finds nothing before the first packet."""
    variant = Variant(container="flv", audio="libmp3lame", **{late: 0.5})
    path, flashes, truth = make(tmp_path, variant)
    assert_in_step(measure(path, flashes, truth, from_s), variant)


@pytest.mark.parametrize("name", ["29.97 fps", "video late, mkv", "sound late, mp4", "rotated by 90", "both late, ts"])
def test_facts_are_the_truth(tmp_path: Path, name: str) -> None:
    variant = next(variant for variant in VARIANTS if variant.name == name)
    path, _, truth = make(tmp_path, variant)
    facts = probe_media(path)
    assert facts.video_start_s == pytest.approx(truth.times_s[0], abs=ROUNDING_S)
    # Some containers begin with what the encoder puts before sample 0.
    assert -0.03 <= facts.audio_start_s - max(0.0, truth.sound_s + variant.sound_skip_s) <= ROUNDING_S
    assert facts.duration_s == pytest.approx(LENGTH_S + truth.sound_s, abs=0.07)
    assert facts.rotation_deg == variant.rotation_deg
    assert facts.fps_num / facts.fps_den == pytest.approx(float(variant.rate), rel=0.005)


NUM_FRAMES = 50
STEP_S = 0.02
STRUCK = (11, 17, 24, 30, 36, 41)
"""Frames in whose middle something is heard."""


@pytest.fixture(scope="module")
def struck(weights: WeightStore, tmp_path_factory: pytest.TempPathFactory) -> EditorDataset:
    """Clips of faint noise through the feature stage: the first as it is, in each other one frame is struck."""
    random = np.random.default_rng(0)
    noise, burst = random.normal(0, 0.01, NUM_FRAMES * 640), 0.7 * np.hanning(160) * random.choice([-1, 1], 160)
    encode = WhisperFeatures(FeaturesConfig(device="cpu"), weights)
    boxes = np.tile([0.0, 0.0, 256.0, 256.0], (NUM_FRAMES, 1))
    rows = []
    for number, frame in enumerate((None, *STRUCK)):
        sound = noise.copy()
        if frame is not None:
            middle = round((frame + 0.5) / CLIP_FPS * AUDIO_RATE_HZ)
            sound[middle - 80 : middle + 80] += burst
        row = clip_row(number, NUM_FRAMES) | {"audio_pcm16": to_pcm16(sound)}
        rows.append(encode(row | {"crop_box_xyxy_px": boxes}))
    folder = tmp_path_factory.mktemp("struck")
    schema = shard_schema(EXP_DIM, rows[0]["whisper"].shape[1], exact_whisper=True)
    pq.write_table(table_from_rows(rows, schema), folder / "train-00000.parquet", row_group_size=1)
    return EditorDataset(str(folder), "train", LoaderConfig(num_workers=0), AugmentConfig(), seed=0)


def test_what_the_loader_gives_a_frame_is_centred_on_its_sound(struck: EditorDataset) -> None:
    blank = np.zeros((256, 256, 3), np.uint8)
    views = Views(blank, blank, blank[..., 0], blank[..., 0])
    steps, layers = struck.config.audio_steps, struck.config.audio_layers
    changes = np.zeros((len(STRUCK), steps, layers))
    for number, frame in enumerate(STRUCK):
        plain, hit = (struck.tensors(views, struck.table.clip(clip), frame)["audio"] for clip in (0, number + 1))
        changes[number] = (hit - plain).square().sum(-1).reshape(steps, layers)
    change = np.median(changes / changes.sum(axis=1, keepdims=True), axis=0)
    from_middle_s = (np.arange(steps) - (steps - 1) / 2) * STEP_S
    assert set(change.argmax(axis=0)) <= {steps // 2 - 1, steps // 2}  # the frame's own two
    heard_s = from_middle_s @ change / change.sum(axis=0)
    # A step is centred on its beginning: those of the frame's 40 ms lie 10 ms before its middle, to which the deeper
    # layers add what they hear elsewhere.
    assert heard_s[:2] == pytest.approx(0.01, abs=0.003)
    assert np.abs(heard_s).max() <= 0.013
