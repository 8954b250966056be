"""Dubbing, on a photo of a real face that scikit-image carries, moved a little so that it is a video."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.known.media_files import clicks
from benchmarks.wild.timing import beeps_s
from model.dubbing.compose import Composer, blend_mask, colour_shift
from model.dubbing.dub import InferConfig, dub
from model.dubbing.dubber import Dubber, sound_time_s
from model.dubbing.face_track import chunks_of, follow_face, runs_of
from model.dubbing.head_motion import FaceMotion
from model.dubbing.playback import play, to_and_fro
from model.dubbing.sound import BLOCK_STEPS, Sound
from model.nets.editor import Editor
from model.training.config import TrainConfig
from model.training.task import DataFacts
from stages.core.reasons import Dropped, DropReason
from stages.core.settings import ConfigError
from stages.core.weights import WeightStore
from stages.features import FeaturesConfig, WhisperEncoder
from stages.media import decode_audio, decode_video, probe_media, write_video
from tests.talking import moving_photo, untrained_editor

FPS = Fraction(25)
NUM_FRAMES = 24
NUM_BLANK = 6
"""Frames without a face at the end."""


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    photo = moving_photo(NUM_FRAMES - NUM_BLANK)
    return photo + [np.full_like(photo[0], 90)] * NUM_BLANK


@pytest.fixture(scope="module")
def encoder(weights: WeightStore) -> WhisperEncoder:
    return WhisperEncoder(FeaturesConfig(), weights)


@pytest.fixture(scope="module")
def trained(encoder: WhisperEncoder, weights: WeightStore) -> tuple[Editor, TrainConfig, DataFacts]:
    return untrained_editor(weights, encoder)


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


def test_depth_of_the_videos_own_mouth(frames, encoder, trained, voice, weights):
    """The editor is given the depth that belongs to each frame, and what it paints differs from that without."""
    track = follow_face(frames[:6], FPS, weights)
    motion, sound = FaceMotion(track, "cc0"), Sound(voice, encoder)
    own = motion.depth(2, motion.expression(2))
    assert (own > 0).mean() > 0.005
    with_depth = list(Dubber(trained[0], trained[1], sound, track, motion, predicted=False).run(frames[:6], FPS, 6))
    without = list(Dubber(trained[0], trained[1], sound, track, None).run(frames[:6], FPS, 6))
    assert any((a != b).any() for a, b in zip(with_depth, without, strict=True))


def test_one_of_several_faces_is_followed(frames, weights):
    """A small face on the left, a larger one on the right; each can be chosen, and neither is taken for the other."""
    both = []
    for rgb in frames[:8]:
        small = cv2.resize(rgb, (280, 280), interpolation=cv2.INTER_AREA)
        both.append(np.concatenate([cv2.copyMakeBorder(small, 70, 70, 0, 0, cv2.BORDER_REPLICATE), rgb], axis=1))
    for place, middle in ((0, 280 + 210), (1, 140), (2, 280 + 210)):
        track = follow_face(both, FPS, weights, place)
        assert track.found.all() and track.max_faces == 2
        assert np.abs(track.boxes[:, [0, 2]].mean(axis=1) - middle).max() < 60


def test_long_videos_are_worked_on_in_chunks(frames, weights, monkeypatch):
    """With the context that smoothing needs, chunks give the very same boxes; heads fade from one fit to the next."""
    whole = follow_face(frames[:18], FPS, weights)
    heads = [FaceMotion(whole, "cc0")]
    monkeypatch.setattr("model.dubbing.face_track.CHUNK_FRAMES", 7)
    chunked = follow_face(frames[:18], FPS, weights)
    np.testing.assert_array_equal(whole.boxes, chunked.boxes)
    np.testing.assert_array_equal(whole.points, chunked.points)
    assert [chunk for _, chunk, _ in chunks_of(slice(2, 18), 3)] == [slice(2, 9), slice(9, 16), slice(16, 18)]
    heads.append(FaceMotion(chunked, "cc0"))
    neutral = np.zeros(52, np.float32)
    a, b = ([head.depth(i, neutral).astype(int) for i in range(18)] for head in heads)
    assert max(np.abs(x - y)[(x > 0) & (y > 0)].mean() for x, y in zip(a, b, strict=True)) < 4  # half a mm is 1


def test_colours_meet_at_the_rim_and_do_not_flicker(frames, weights):
    """The painted crop is darker by 5, and by 2 more or less in turn: the first goes, the second is not followed."""
    track = follow_face(frames[:6], FPS, weights)
    crop, points = np.full((256, 256, 3), 120, np.uint8), track.points[0]
    mask, composer, frame = blend_mask(points), Composer(), np.full_like(frames[0], 120)
    shifts = []
    for number in range(40):
        edited = np.full_like(crop, 115 + 2 * (-1) ** number)
        assert colour_shift(edited, crop, mask)[0] == pytest.approx(5 - 2 * (-1) ** number)
        composer(frame, crop, edited, track.boxes[0], points)
        assert composer.shift is not None
        shifts.append(composer.shift[0])
    assert np.mean(shifts[20:]) == pytest.approx(5, abs=0.3) and np.std(shifts[20:]) < 0.25
    composer(frame, crop, np.full_like(crop, 130), track.boxes[0], points)
    assert composer.shift is not None and composer.shift[0] == pytest.approx(-10)  # another scene


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
