"""A video with another voice: the same pictures, with the mouth saying another sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
from torch import nn

from model.dubbing.credentials import sign
from model.dubbing.dubber import Dubber
from model.dubbing.face_track import follow_face
from model.dubbing.head_motion import FaceMotion
from model.dubbing.marks import Made, marked
from model.dubbing.playback import frames_between, play, to_and_fro
from model.dubbing.sound import Sound, encoder_named
from model.nets.a2m import A2m
from model.training.config import TrainConfig
from model.training.progress import Progress
from model.training.task import DataFacts
from stages.core.reasons import Dropped, DropReason
from stages.core.records import AUDIO_RATE_HZ
from stages.core.settings import ConfigError
from stages.core.storage import staging_name
from stages.core.weights import WeightStore
from stages.media import decode_audio, probe_media, write_video

LOOPS = ("ping-pong", "stop")
DEPTHS = ("a2m", "original", "none")


@dataclass(frozen=True)
class InferConfig:
    """Settings of dubbing.

    Args:
        batch_size: frames edited at a time.
        loop: ping-pong plays a video that is shorter than the sound to and fro; stop ends with the shorter of the two.
        depth: source of the depth: the mouth predicted from the sound (a2m), the video's own mouth (original, for a
            voice that says nearly the same), or none. None takes a2m where there is such a run.
        face: number of the face where there are several: 0 for the largest, n for the n-th from the left.
        visible_mark: write on the pictures that they are synthetic.
        signing: folder of the key and chain for C2PA; None signs nothing.
        names: names of the editor's run and of the motion model's, for the record in the file.
        temperature: standard deviation of the noise that a2m's motion is drawn with; 0 gives the likeliest motion.
        seed: seed of that noise.
    """

    batch_size: int = 8
    loop: str = "ping-pong"
    depth: str | None = None
    face: int = 0
    visible_mark: bool = True
    signing: Path | None = None
    names: tuple[str, str | None] = ("", None)
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Dubbed:
    """Facts about a dubbed video."""

    num_frames: int
    num_without_face: int
    fps: Fraction
    depth: str
    max_faces: int

    def notes(self) -> list[str]:
        """Notes for the user on the result."""
        notes = [f"{self.num_frames} frames at {float(self.fps):.3f} fps, depth: {self.depth}"]
        if self.num_without_face:
            notes.append(f"{self.num_without_face} frames show no face and were left as they are")
        if self.max_faces > 1:
            notes.append(f"up to {self.max_faces} faces are seen at once; one was followed (--face chooses)")
        return notes


def dub(
    video: Path,
    audio: Path,
    out: Path,
    editor: tuple[nn.Module, TrainConfig, DataFacts],
    motion: tuple[A2m, TrainConfig, DataFacts] | None,
    weights: WeightStore,
    config: InferConfig,
    progress: Progress | None = None,
) -> Dubbed:
    """Write `out`: `video` with the sound of `audio` and matching lips.

    Raises:
        Dropped: one of the two cannot be read, or no frame shows a face.
        ConfigError: the two runs were not trained on the same features, or a setting has an unknown value.
    """
    network, settings, facts = editor
    depth = _checked_depth(config, facts, motion)
    progress = progress or Progress(active=False)
    about = probe_media(video)
    fps = Fraction(about.fps_num, about.fps_den)
    samples = decode_audio(audio)
    num_frames = max(1, round(Fraction(len(samples), AUDIO_RATE_HZ) * fps))
    wanted = min(num_frames, max(1, round(about.duration_s * fps)))
    progress.say(f"following the face through {wanted} frames")
    track = follow_face(frames_between(video, fps, 0, wanted), fps, weights, config.face)
    length = len(track.found)
    if not track.found.any():
        raise Dropped(DropReason.NO_FACE, f"none of the {length} frames of {video.name} shows a face")
    if config.loop == "stop" and length < num_frames:
        num_frames = length
        samples = samples[: round(num_frames / fps * AUDIO_RATE_HZ)]
    device = str(next(network.parameters()).device)
    encoder = encoder_named(facts.whisper_model, weights, device)
    sound = Sound(samples, encoder, motion[0] if motion else None, config.temperature, config.seed)
    _, trained, fitted = motion or editor
    face_model = trained.loader.face_model or fitted.geometry_model
    face_motion = None if depth == "none" else FaceMotion(track, face_model)
    dubber = Dubber(network, settings, sound, track, face_motion, predicted=depth == "a2m")
    frames = dubber.run(play(video, fps, length, num_frames), fps, config.batch_size)
    frames = _counted(marked(frames) if config.visible_mark else frames, num_frames, progress)
    made = Made(datetime.now(UTC).isoformat(timespec="seconds"), config.names[0], config.names[1], depth)
    with progress:
        _write(out, frames, fps, samples, made, config.signing)
    without = sum(not track.found[to_and_fro(i, length)] for i in range(num_frames))
    return Dubbed(num_frames, without, fps, depth, track.max_faces)


def _checked_depth(config: InferConfig, facts: DataFacts, motion: tuple[A2m, TrainConfig, DataFacts] | None) -> str:
    if config.loop not in LOOPS or config.depth not in (None, *DEPTHS):
        raise ConfigError(f"loop is one of {', '.join(LOOPS)}, depth one of {', '.join(DEPTHS)}")
    if config.depth == "a2m" and motion is None:
        raise ConfigError("depth a2m needs a run of the preset a2m: give --a2m, or --depth original or none")
    if motion is not None and motion[2].whisper_model != facts.whisper_model:
        raise ConfigError(f"the editor hears {facts.whisper_model}, the motion model {motion[2].whisper_model}")
    return config.depth or ("a2m" if motion else "none")


def _write(
    out: Path, frames: Iterator[np.ndarray], fps: Fraction, samples: np.ndarray, made: Made, signing: Path | None
) -> None:
    if signing is None:
        write_video(out, frames, fps, samples, comment=made.comment())
        return
    unsigned, signed = staging_name(out.with_name(f"unsigned-{out.name}")), staging_name(out)
    try:
        write_video(unsigned, frames, fps, samples, comment=made.comment())
        sign(unsigned, signed, asdict(made), signing)
        signed.replace(out)
    finally:
        unsigned.unlink(missing_ok=True)
        signed.unlink(missing_ok=True)


def _counted(frames: Iterator[np.ndarray], total: int, progress: Progress) -> Iterator[np.ndarray]:
    for number, rgb in enumerate(frames):
        progress.show("dub", number + 1, (number + 1) / total, {})
        yield rgb
