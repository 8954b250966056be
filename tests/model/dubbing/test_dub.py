"""A whole video dubbed, and read back."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.known.media_files import clicks
from benchmarks.wild.timing import beeps_s
from model.dubbing.dub import InferConfig, dub
from model.dubbing.playback import to_and_fro
from model.nets.a2m import A2m
from model.training.config import TrainConfig
from stages.core.reasons import Dropped, DropReason
from stages.core.settings import ConfigError, load_as
from stages.media import decode_audio, decode_video, probe_media, write_video
from tests.talking import FPS, NUM_BLANK, NUM_FRAMES


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


@pytest.mark.parametrize("fps", [FPS, Fraction(30_000, 1001)], ids=["25", "29.97"])
def test_a_flash_and_its_beep_stay_together(tmp_path, frames, trained, weights, fps):
    """The video's lamp flashes where the sound beeps; what is dubbed is decoded and compared."""
    flashes = (6, 14)
    lit = [rgb.copy() for rgb in frames[:18]]
    for number, rgb in enumerate(lit):
        rgb[:40, -40:] = 235 if any(0 <= number - flash < 3 for flash in flashes) else 20
    onsets_s = np.array([float(flash / fps) for flash in flashes])
    write_video(tmp_path / "v.mp4", lit, fps)
    write_video(tmp_path / "a.mp4", lit, fps, clicks(onsets_s, float(18 / fps), 16_000))
    config = InferConfig(loop="stop", visible_mark=False)
    dub(tmp_path / "v.mp4", tmp_path / "a.mp4", tmp_path / "y.mp4", trained, None, weights, config)
    shown = list(decode_video(tmp_path / "y.mp4"))
    bright = np.array([frame.rgb[:36, -36:].mean() > 128 for frame in shown])
    first = np.flatnonzero(bright[1:] & ~bright[:-1]) + 1
    seen_s = np.array([shown[i].pts_s for i in first])
    heard_s = beeps_s(decode_audio(tmp_path / "y.mp4"))
    assert len(seen_s) == len(heard_s) == 2
    assert np.abs(seen_s - heard_s).max() < 0.020


def test_the_shorter_ends_it(tmp_path, frames, trained, voice, weights):
    write_video(tmp_path / "v.mp4", frames[:10], FPS)
    write_video(tmp_path / "a.mp4", frames[:1] * 25, FPS, voice)
    config = InferConfig(loop="stop")
    done = dub(tmp_path / "v.mp4", tmp_path / "a.mp4", tmp_path / "y.mp4", trained, None, weights, config)
    assert done.num_frames == 10 and done.depth == "none"
    assert len(decode_audio(tmp_path / "y.mp4")) == pytest.approx(6_400, abs=1_100)


def test_a_video_without_a_face_is_refused(tmp_path, frames, trained, voice, weights):
    write_video(tmp_path / "v.mp4", frames[-1:] * 10, FPS, voice)
    with pytest.raises(Dropped) as fault:
        dub(tmp_path / "v.mp4", tmp_path / "v.mp4", tmp_path / "y.mp4", trained, None, weights, InferConfig())
    assert fault.value.reason == DropReason.NO_FACE and not (tmp_path / "y.mp4").exists()


@pytest.mark.parametrize(("setting", "message"), [({"depth": "a2m"}, "give --a2m"), ({"loop": "back"}, "loop is one")])
def test_settings_that_cannot_be(tmp_path, trained, weights, setting, message):
    with pytest.raises(ConfigError, match=message):
        dub(tmp_path, tmp_path, tmp_path, trained, None, weights, replace(InferConfig(), **setting))


def test_with_a_motion_model_depth_is_that_of_the_new_sound(tmp_path, frames, trained, encoder, voice, weights):
    write_video(tmp_path / "v.mp4", frames[:8], FPS, voice[: 8 * 640])
    torch.manual_seed(0)
    settings = load_as(TrainConfig, [Path("model/configs/a2m.yaml")])
    motion = A2m(settings.a2m, encoder.dim, trained[2].exp_dim).eval().requires_grad_(False)
    shown = []
    for name, model in (("a2m", (motion, settings, trained[2])), ("none", None)):
        out = tmp_path / f"{name}.mp4"
        done = dub(tmp_path / "v.mp4", tmp_path / "v.mp4", out, trained, model, weights, InferConfig())
        assert done.depth == name
        shown.append([frame.rgb.astype(int) for frame in decode_video(out)])
    assert all(np.abs(ours - plain).max() > 30 for ours, plain in zip(*shown, strict=True))
    other = (motion, settings, replace(trained[2], whisper_model="another"))
    with pytest.raises(ConfigError, match="the motion model another"):
        dub(tmp_path / "v.mp4", tmp_path / "v.mp4", tmp_path / "y.mp4", trained, other, weights, InferConfig())
