"""Dubbing: how much longer than the sound it takes, by preset, with audio to motion. Goal: faster than real time.

The face is known, since detectors are missing on such a machine: what is measured is sound, motion, fit, depth, editing
and putting back. Where PyAV and MediaPipe are there, `model.infer`'s whole way is run, too.
"""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from benchmarks.gpu.branches import RANDOM
from benchmarks.gpu.lease import SMALL, SMALL_VAE, Lease
from benchmarks.gpu.material import Files, drawn_clip, noise_pcm16
from benchmarks.steps.counting import bare_editor
from model.dubbing.dubber import Dubber
from model.dubbing.face_track import FaceTrack
from model.dubbing.head_motion import FaceMotion
from model.dubbing.sound import Sound
from model.nets.a2m import A2m, A2mConfig
from model.nets.vae import TinyVae
from model.training.config import TrainConfig, load_train
from model.training.devices import allow_tf32
from model.training.task import DataFacts
from stages.audio.pcm16 import from_pcm16
from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS, NUM_LANDMARKS
from stages.core.weights import WeightStore
from stages.face.crop import decode_jpeg
from stages.face3d.load import load_face_model
from stages.features import FeaturesConfig, WhisperEncoder

WHISPER_DIM = 5 * 384


def run(lease: Lease) -> None:
    allow_tf32()
    for preset in ("joygen",) if lease.small else ("joygen", "small"):
        settings = [*SMALL, *([SMALL_VAE] if preset == "joygen" else [])] if lease.small else []
        given = [*settings, "unet.cross_attention_dim=384"]
        config = load_train([preset], given)
        for depth in ("a2m", "none"):
            lease.attempt(f"{preset}, depth {depth}", partial(_dub, lease, preset, config, depth))
    lease.attempt("whole way", partial(_whole, lease))


def _nets(lease: Lease, config: TrainConfig) -> tuple[torch.nn.Module, A2m]:
    """Editor and audio to motion with random weights, as `load_trained` gives them."""
    torch.manual_seed(0)
    editor = bare_editor(config)
    if lease.device == "cuda":
        editor.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if not isinstance(editor.vae, TinyVae):
            editor.vae.to(torch.bfloat16)
    motion = A2m(A2mConfig(), WHISPER_DIM, len(load_face_model().expression))
    return (
        editor.to(lease.device).eval().requires_grad_(False),
        motion.to(lease.device).eval().requires_grad_(False),
    )


def _dub(lease: Lease, preset: str, config: TrainConfig, depth: str) -> None:
    editor, motion = _nets(lease, config)
    num_frames, fps = 4 if lease.small else 200, Fraction(CLIP_FPS)
    row = drawn_clip(load_face_model(), min(num_frames, 75), 0, 8)
    frames = [decode_jpeg(jpeg) for jpeg in row["face_jpeg"]]
    marks = row["landmarks"].reshape(-1, NUM_LANDMARKS, 3).astype(np.float32)
    track = FaceTrack(np.ones(len(frames), bool), row["crop_box_xyxy_px"].astype(np.float32), marks)
    store = cast(WeightStore, Files(lease.work / "random", RANDOM))
    samples = from_pcm16(noise_pcm16(num_frames / CLIP_FPS))
    batch = 2 if lease.small else 16

    def once() -> float:
        began = time.perf_counter()
        encoder = WhisperEncoder(FeaturesConfig("tiny", max_abs=None, device=lease.device), store)
        sound = Sound(samples, encoder, motion)
        head = None if depth == "none" else FaceMotion(track, "cc0")
        dubber = Dubber(editor, config, sound, track, head, predicted=depth == "a2m")
        for _ in dubber.run((frames[i % len(frames)] for i in range(num_frames)), fps, batch):
            pass
        return time.perf_counter() - began

    first = once()
    again = first if lease.small else once()
    factor = again / (len(samples) / AUDIO_RATE_HZ)
    goal = {} if lease.small else {"ok": factor < 1}
    lease.tell(
        f"{preset}, depth {depth}", real_time_factor=factor, frames_per_s=num_frames / again, first_s=first, **goal
    )


def _whole(lease: Lease) -> None:
    """A drawn video through `model.infer`: decoding, following the face, editing, coding."""
    if lease.lacks("whole way", "av", "mediapipe"):
        return
    store = WeightStore.from_environment()
    if not store.has("face_landmarker"):
        lease.skip("whole way", "face_landmarker is not in KOUXING_WEIGHTS")
        return
    from model.dubbing.dub import InferConfig, dub
    from stages.media import write_video

    row = drawn_clip(load_face_model(), 8 if lease.small else 50, 0, 8)
    pictures = [np.pad(decode_jpeg(jpeg), ((60, 60), (60, 60), (0, 0)), mode="edge") for jpeg in row["face_jpeg"]]
    sound = from_pcm16(noise_pcm16(len(pictures) / CLIP_FPS))
    video, out = lease.work / "drawn.mp4", lease.work / "dubbed.mp4"
    write_video(video, iter(pictures), Fraction(CLIP_FPS), sound, comment="drawn")
    settings = [*SMALL, SMALL_VAE, "unet.cross_attention_dim=384"]
    config = load_train(["joygen"], settings)
    config = replace(config, loader=replace(config.loader, audio_layers=5))
    editor, motion = _nets(lease, config)
    facts = DataFacts("whisper-tiny/0,1,2,3,4", WHISPER_DIM, "cc0", len(load_face_model().expression))

    class Both(Files):
        """Random Whisper, true detectors."""

        def path(self, name: str) -> Path:
            return super().path(name) if name in RANDOM else store.path(name)

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

    weights = cast(WeightStore, Both(lease.work / "random", RANDOM))
    began = time.perf_counter()
    done = dub(video, video, out, (editor, config, facts), (motion, config, facts), weights, InferConfig())
    seconds = time.perf_counter() - began
    whole = done.num_frames == len(pictures) and done.num_without_face == 0 and out.stat().st_size > 1000
    lease.tell("whole way", real_time_factor=seconds / (len(pictures) / CLIP_FPS), frames=done.num_frames, ok=whole)
