"""Dubbing, on a photo of a real face that scikit-image carries, moved a little so that it is a video."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from model.compose import blend_mask
from model.config import TrainConfig
from model.dubber import Dubber, sound_time_s
from model.editor import Editor
from model.infer import InferConfig, dub
from model.playback import play, to_and_fro
from model.sound import BLOCK_STEPS, Sound
from model.tasks import DataFacts, build_editor
from model.track import follow_face, runs_of
from pipeline.config import load_as
from pipeline.weights import WeightStore
from stages.features import FeaturesConfig, WhisperEncoder
from stages.media import decode_audio, decode_video, probe_media, write_video

FPS = Fraction(25)
NUM_FRAMES = 24
NUM_BLANK = 6
"""Frames without a face at the end."""


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    from skimage.data import astronaut

    photo = cv2.resize(astronaut()[:300, 70:370], (420, 420), interpolation=cv2.INTER_CUBIC)
    moved = [np.roll(photo, (i // 4, i // 3), axis=(0, 1)) for i in range(NUM_FRAMES - NUM_BLANK)]
    return moved + [np.full_like(photo, 90)] * NUM_BLANK


@pytest.fixture(scope="module")
def encoder(weights: WeightStore) -> WhisperEncoder:
    return WhisperEncoder(FeaturesConfig(), weights)


@pytest.fixture(scope="module")
def trained(encoder: WhisperEncoder, weights: WeightStore) -> tuple[Editor, TrainConfig, DataFacts]:
    """An editor that paints: untrained, but for a last layer that is not zero."""
    torch.manual_seed(0)
    config = load_as(TrainConfig, [Path("model/configs/tiny.yaml")])
    facts = DataFacts(encoder.name, encoder.dim, "cc0", 52)
    editor = build_editor(config, facts, weights).eval().requires_grad_(False)
    editor.vae.from_latent.weight.normal_(0, 0.5)
    return editor, config, facts


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    time = np.arange(16_000) / 16_000
    return (0.3 * np.sin(2 * np.pi * 220 * time) * np.sin(2 * np.pi * 3 * time) ** 2).astype(np.float32)


def test_only_the_mouth_changes(frames, encoder, trained, voice, weights):
    track = follow_face(frames, FPS, weights)
    assert track.found.tolist() == [True] * (NUM_FRAMES - NUM_BLANK) + [False] * NUM_BLANK
    sound = Sound(voice, encoder)
    out = list(Dubber(trained[0], trained[1], sound, track, None).run(frames, FPS, batch=5))
    assert len(out) == NUM_FRAMES
    for i, (before, after) in enumerate(zip(frames, out, strict=True)):
        changed = (before != after).any(axis=2)
        if i >= NUM_FRAMES - NUM_BLANK:
            assert not changed.any()
            continue
        x0, y0, x1, y1 = track.boxes[i]
        rows, columns = np.nonzero(changed)
        assert changed.mean() > 0.01
        assert rows.min() >= (y0 + y1) / 2 - 1 and rows.max() <= y1 + 1
        assert columns.min() >= x0 - 1 and columns.max() <= x1 + 1


def test_blend_mask_covers_the_lips_and_fades(frames, weights):
    track = follow_face(frames[:6], FPS, weights)
    mask = blend_mask(track.points[0])
    lips = track.points[0][[0, 17, 61, 291], :2].astype(int)
    assert all(mask[y, x] > 0.98 for x, y in lips)
    assert not mask[:128].any() and max(mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()) < 0.05
    assert np.abs(np.diff(mask, axis=1)).max() < 0.15


def test_dubbed_video_has_the_sound_and_the_size(tmp_path, frames, trained, voice, weights):
    video, audio = tmp_path / "v.mp4", tmp_path / "a.mp4"
    write_video(video, frames, FPS)
    write_video(audio, frames[:1] * 30, FPS, np.tile(voice, 2)[: 30 * 640])
    done = dub(video, audio, tmp_path / "y.mp4", trained, None, weights, InferConfig())
    facts = probe_media(tmp_path / "y.mp4")
    assert (facts.width_px, facts.height_px) == (420, 420)
    assert Fraction(facts.fps_num, facts.fps_den) == FPS
    num_samples = len(decode_audio(audio))
    assert done.num_frames == round(num_samples / 640)
    assert sum(1 for _ in decode_video(tmp_path / "y.mp4", fps=FPS)) == done.num_frames
    # Played to and fro: frames 18-23 are blank, then 23 is the turning point and 22-18 are blank again.
    without = sum(to_and_fro(i, NUM_FRAMES) >= NUM_FRAMES - NUM_BLANK for i in range(done.num_frames))
    assert done.num_without_face == without
    assert len(decode_audio(tmp_path / "y.mp4")) == pytest.approx(num_samples, abs=1024)


def test_to_and_fro():
    assert [to_and_fro(i, 4) for i in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert [to_and_fro(i, 1) for i in range(3)] == [0, 0, 0]


def test_play_shows_what_to_and_fro_says(tmp_path: Path):
    levels = [20 + 30 * i for i in range(7)]
    write_video(tmp_path / "v.mp4", [np.full((64, 64, 3), level, np.uint8) for level in levels], FPS)
    shown = [float(rgb.mean()) for rgb in play(tmp_path / "v.mp4", FPS, 7, 20)]
    assert shown == pytest.approx([levels[to_and_fro(i, 7)] for i in range(20)], abs=4)


def test_a_frame_of_any_rate_has_the_sound_of_its_middle():
    assert [sound_time_s(k, FPS) for k in (0, 1, 250)] == pytest.approx([0.0, 0.04, 10.0])
    # 40 ms of 25 fps are two frames of 50: their middles lie 10 ms before and behind the one of 40 ms.
    assert [sound_time_s(k, 2 * FPS) for k in (500, 501)] == pytest.approx([9.99, 10.01])
    assert sound_time_s(0, Fraction(15)) == pytest.approx(1 / 30 - 0.02)


def test_runs():
    assert runs_of(np.array([True, True, False, True])) == [slice(0, 2), slice(3, 4)]
    assert runs_of(np.zeros(3, bool)) == []


class CountingEncoder:
    """Features that name their own sample, so that blocks can be checked without hearing."""

    dim = 1

    def encode(self, audio: np.ndarray) -> np.ndarray:
        return audio[::320, None].astype(np.float16)


def test_long_sound_is_heard_in_blocks_without_seams():
    num_steps = 2 * BLOCK_STEPS + 37
    sound = Sound((np.arange(num_steps * 320) // 320).astype(np.float32), CountingEncoder())
    steps = np.array([-3, 0, 1, 999, 1000, 1001, 2036, 2037, 5000])
    assert sound.features(steps)[:, 0].tolist() == [0, 0, 1, 999, 1000, 1001, 2036, 2036, 2036]
    window = sound.window(10.0, 10, 1)  # 10 s is frame 250, over steps 500 and 501
    assert window[:, 0].tolist() == list(range(496, 506))
