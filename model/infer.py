"""Dub a video: the same pictures, with the mouth saying another sound.

    python -m model.infer --run RUN --video V --audio A --out Y.mp4 [--a2m RUN2] [--device cuda]

The result is as long as the sound: a longer video is cut, a shorter one runs to and fro. Frames without a face pass
through. Two passes over the video keep memory constant: the first follows the face, the second edits frame by frame.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from model.a2m import A2m
from model.compose import compose
from model.config import TrainConfig
from model.editor import Editor, to_bytes
from model.motion import FaceMotion
from model.progress import Progress
from model.sound import Sound, encoder_named
from model.tasks import DataFacts, load_trained
from model.track import FaceTrack, follow_face
from pipeline.config import ConfigError
from pipeline.records import AUDIO_RATE_HZ, CLIP_FPS, Dropped
from pipeline.storage import local_path
from pipeline.weights import MissingWeights, WeightStore
from stages.crop import crop_face
from stages.media import decode_audio, decode_video, probe_media, write_video

REVERSED_BYTES = 256 << 20
"""Frames held to play a stretch backwards."""


@dataclass(frozen=True)
class InferConfig:
    batch_size: int = 8


@dataclass(frozen=True)
class Dubbed:
    """What was done."""

    num_frames: int
    num_without_face: int
    fps: Fraction
    depth: bool


def to_and_fro(idx: int, length: int) -> int:
    """The source frame of output frame `idx` when a video of `length` frames runs forwards, then backwards, ..."""
    if length == 1:
        return 0
    place = idx % (2 * (length - 1))
    return min(place, 2 * (length - 1) - place)


def play(video: Path, fps: Fraction, length: int, num_frames: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames `to_and_fro(0), to_and_fro(1), ...` of a video, holding few of them at a time."""
    yield from islice(_to_and_fro_frames(video, fps, length), num_frames)


def _to_and_fro_frames(video: Path, fps: Fraction, length: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Without end. The video's last frame and, after the first round, its first are shown once at each turn."""
    yield from _frames(video, fps, 0, length)
    while True:
        end = length - 1
        while end > 0:
            nearest = next(_frames(video, fps, end - 1, end))
            chunk = max(1, min(end, REVERSED_BYTES // nearest.nbytes))
            yield from reversed(list(_frames(video, fps, end - chunk, end)))
            end -= chunk
        yield from _frames(video, fps, min(1, length - 1), length)


def _frames(video: Path, fps: Fraction, start: int, end: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    ticks = decode_video(video, float(start / fps), float(end / fps), fps=fps)
    yield from (frame.rgb for frame in islice(ticks, end - start))


def sound_time_s(number: int, fps: Fraction) -> float:
    """When the frame of 25 a second begins whose middle is that of frame `number`: sounds are centred on the middle."""
    return float((number + Fraction(1, 2)) / fps - Fraction(1, 2 * CLIP_FPS))


class Dubber:
    """Edits frames of one video with one sound.

    Args:
        motion: gives depth for the new sound; None edits without depth, which the editor is trained for.
    """

    def __init__(self, editor: Editor, config: TrainConfig, sound: Sound, track: FaceTrack, motion: FaceMotion | None):
        self._editor, self._config, self._sound, self._track, self._motion = editor, config, sound, track, motion
        self._device = next(editor.parameters()).device

    def edit(self, frames: list[UInt8[np.ndarray, "h w 3"]], places: list[tuple[int, float]]) -> list[np.ndarray]:
        """Frames with the mouth of their time.

        Args:
            frames: source frames with a face.
            places: of each, its number in the video and its time in the sound, in seconds.
        """
        loader = self._config.loader
        crops = [crop_face(rgb, self._track.boxes[i]) for rgb, (i, _) in zip(frames, places, strict=True)]
        pictures = torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2).copy())
        audio = np.stack([self._sound.window(t, loader.audio_steps, loader.audio_layers) for _, t in places])
        depth = np.zeros((len(frames), 1, *pictures.shape[2:]), np.uint8)
        if self._motion is not None:
            depth = np.stack([self._motion.depth(i, self._sound.expression(t))[None] for i, t in places])
        batch = {
            "target": pictures,
            "reference": pictures,
            "depth": torch.from_numpy(depth),
            "audio": torch.from_numpy(audio),
        }
        with torch.no_grad():
            output = self._editor({k: v.to(self._device) for k, v in batch.items()}).image
        edited = to_bytes(output).permute(0, 2, 3, 1).cpu().numpy()
        return [
            compose(rgb, crop, face, self._track.boxes[i], self._track.points[i])
            for rgb, crop, face, (i, _) in zip(frames, crops, edited, places, strict=True)
        ]

    def run(self, frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: Fraction, batch: int) -> Iterator[np.ndarray]:
        """All frames in order, those with a face edited, `batch` at a time."""
        length = len(self._track.found)
        waiting: list[tuple[np.ndarray, int, float]] = []
        for number, rgb in enumerate(frames):
            waiting.append((rgb, to_and_fro(number, length), sound_time_s(number, fps)))
            if len(waiting) == batch:
                yield from self._flush(waiting)
                waiting = []
        yield from self._flush(waiting)

    def _flush(self, waiting: list[tuple[np.ndarray, int, float]]) -> Iterator[np.ndarray]:
        chosen = [(rgb, (i, t)) for rgb, i, t in waiting if self._track.found[i]]
        edited = iter(self.edit([rgb for rgb, _ in chosen], [place for _, place in chosen]) if chosen else [])
        for rgb, i, _ in waiting:
            yield next(edited) if self._track.found[i] else rgb


def dub(
    video: Path,
    audio: Path,
    out: Path,
    editor: tuple[Editor, TrainConfig, DataFacts],
    motion: tuple[A2m, TrainConfig, DataFacts] | None,
    weights: WeightStore,
    config: InferConfig,
    progress: Progress | None = None,
) -> Dubbed:
    """Write `out`: `video` with the sound of `audio` and lips that fit it.

    Raises:
        Dropped: one of the two cannot be read.
        ConfigError: the two runs were not trained on the same features.
    """
    network, settings, facts = editor
    if motion is not None and motion[2].whisper_model != facts.whisper_model:
        raise ConfigError(f"the editor hears {facts.whisper_model}, the motion model {motion[2].whisper_model}")
    progress = progress or Progress(active=False)
    about = probe_media(video)
    fps = Fraction(about.fps_num, about.fps_den)
    samples = decode_audio(audio)
    num_frames = max(1, round(Fraction(len(samples), AUDIO_RATE_HZ) * fps))
    wanted = min(num_frames, max(1, round(about.duration_s * fps)))
    progress.say(f"following the face through {wanted} frames")
    track = follow_face(_frames(video, fps, 0, wanted), fps, weights)
    length = len(track.found)
    device = str(next(network.parameters()).device)
    sound = Sound(samples, encoder_named(facts.whisper_model, weights, device), motion[0] if motion else None)
    face_motion = FaceMotion(track, motion[2].geometry_model) if motion else None
    dubber = Dubber(network, settings, sound, track, face_motion)
    edited = dubber.run(play(video, fps, length, num_frames), fps, config.batch_size)
    with progress:
        write_video(out, _counted(edited, num_frames, progress), fps, samples)
    without = sum(not track.found[to_and_fro(i, length)] for i in range(num_frames))
    return Dubbed(num_frames, without, fps, face_motion is not None)


def _counted(frames: Iterator[np.ndarray], total: int, progress: Progress) -> Iterator[np.ndarray]:
    for number, rgb in enumerate(frames):
        progress.show("dub", number + 1, (number + 1) / total, {})
        yield rgb


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.infer", description="Give a video another voice.")
    parser.add_argument("--run", type=local_path, required=True, help="a run of python -m model.train")
    parser.add_argument("--video", type=local_path, required=True)
    parser.add_argument("--audio", type=local_path, required=True, help="any file with sound, a video too")
    parser.add_argument("--out", type=local_path, required=True, help="the .mp4 to write")
    parser.add_argument("--a2m", type=local_path, help="a run of configs/a2m.yaml: depth for the new sound")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch-size", type=int, default=InferConfig.batch_size)
    given = parser.parse_args(arguments)
    weights = WeightStore.from_environment()
    absent = [str(path) for path in (given.video, given.audio) if not path.is_file()]
    if absent:
        print(f"model.infer: no such file: {', '.join(absent)}", file=sys.stderr)
        return 2
    try:
        editor: Any = load_trained(given.run, "editor", weights, given.device)
        motion: Any = load_trained(given.a2m, "a2m", weights, given.device) if given.a2m else None
        given.out.parent.mkdir(parents=True, exist_ok=True)
        config = InferConfig(given.batch_size)
        done = dub(given.video, given.audio, given.out, editor, motion, weights, config, Progress(active=True))
    except (ConfigError, MissingWeights, Dropped) as error:
        print(f"model.infer: {error}", file=sys.stderr)
        return 2
    depth = "with" if done.depth else "without"
    print(f"{given.out}: {done.num_frames} frames at {float(done.fps):.3f} fps, {depth} depth")
    if done.num_without_face:
        print(f"{done.num_without_face} frames show no face and were left as they are")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
