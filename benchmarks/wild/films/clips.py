"""Clean clips: the footage that films are made of, and who is seen and heard in each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.wild.films.film import Film, Span, padded
from pipeline.job.step import Runner
from pipeline.rules.config import Config
from stages.audio.pcm16 import from_pcm16
from stages.core.reasons import Dropped
from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS, NUM_LANDMARKS, Row
from stages.core.weights import WeightStore
from stages.face.crop import to_source
from stages.face.landmarks import CHIN, FOREHEAD, LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE
from stages.media import decode_video, probe_media

MAX_SIDE_PX = 1280
"""Longer side to which footage is shrunk, because the cost grows with the pixels."""
MIN_S = 4.0
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v"})


@dataclass(frozen=True)
class Clip:
    """A few seconds of one person who speaks.

    Args:
        start_s: its start in `path`.
        size_px: width and height of its frames.
        audio: float32 (N,) at 16 kHz.
        face, voice: embeddings of unit length, by which other people are chosen.
        tracked: float32 (T, 478, 2) landmarks in frame pixels at 25 fps.
    """

    name: str
    path: Path
    start_s: float
    fps: Fraction
    num_frames: int
    size_px: tuple[int, int]
    audio: np.ndarray = field(repr=False)
    face: np.ndarray = field(repr=False)
    voice: np.ndarray = field(repr=False)
    tracked: np.ndarray = field(repr=False)

    def frames(self, fps: Fraction | None = None, num_frames: int | None = None) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3), at its own rate or another."""
        fps, num_frames = fps or self.fps, num_frames or self.num_frames
        end_s = self.start_s + num_frames / float(fps)
        decoded = decode_video(self.path, self.start_s, end_s, fps=fps, max_side_px=MAX_SIDE_PX)
        yield from padded((frame.rgb for frame in decoded), num_frames)

    def points(self, fps: Fraction | None = None, num_frames: int | None = None) -> np.ndarray:
        """(T, 478, 2) landmarks of the frames that `frames` gives."""
        at = np.arange(num_frames or self.num_frames) / float(fps or self.fps) * CLIP_FPS
        at = np.clip(at, 0, len(self.tracked) - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, len(self.tracked) - 1)
        share = (at - low).astype(np.float32)[:, None, None]
        return self.tracked[low] * (1 - share) + self.tracked[high] * share

    def film(self) -> Film:
        """The unchanged clip, which must be kept."""
        length_s = self.num_frames / float(self.fps)
        return Film(self.frames, self.fps, self.num_frames, self.audio, (Span(0.0, length_s),))


@dataclass(frozen=True)
class FaceFrame:
    """Position and rotation of a face in the picture, from its landmarks (478, 2).

    Args:
        height_px: distance from forehead to chin.
        turn: unit vector from the picture's left eye to its right.
    """

    middle: np.ndarray
    mouth: np.ndarray
    height_px: float
    turn: np.ndarray

    @staticmethod
    def of(points: np.ndarray) -> FaceFrame:
        eyes = points[list(RIGHT_EYE)].mean(axis=0) - points[list(LEFT_EYE)].mean(axis=0)
        ends = points[[FOREHEAD, CHIN]]
        height_px, mouth = float(np.linalg.norm(ends[1] - ends[0])), points[list(MOUTH_CORNERS)].mean(axis=0)
        return FaceFrame(ends.mean(axis=0), mouth, height_px, eyes / np.linalg.norm(eyes))


def covering_matrix(clip: Clip, size_px: tuple[int, int]) -> np.ndarray:
    """(2, 3) from a clip's pixels to a frame of another shape that it fills; the face stays in it."""
    width, height = size_px
    scale = max(width / clip.size_px[0], height / clip.size_px[1])
    middle = clip.tracked[:, [FOREHEAD, CHIN]].mean(axis=(0, 1)) * scale
    room = np.array(clip.size_px) * scale - (width, height)
    corner = np.clip(middle - (width / 2, height / 2), 0, np.maximum(room, 0))
    return np.array([[scale, 0, -corner[0]], [0, scale, -corner[1]]])


def warped(rgb: np.ndarray, matrix: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """A picture moved by a (2, 3) matrix; averaged down where it shrinks."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.6:
        rgb = cv2.GaussianBlur(rgb, (0, 0), 0.4 / scale)
    return cv2.warpAffine(rgb, matrix, size_px, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def find_clips(
    folder: Path, cache: Path, runner: Runner, seconds: float, *, trust: bool
) -> Iterator[tuple[Clip | None, str]]:
    """The clean clip of each video of a folder, or None, and what was found of it; looked at once.

    Args:
        cache: folder for the results.
        runner: stages up to `sync`, which decide what is clean.
        seconds: largest length of a clip.
        trust: take the beginning of every video with a face and speech, whatever the policy decides.
    """
    cache.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            continue
        known = cache / f"{path.stem}.npz"
        if known.is_file():
            yield load_clip(known), "known"
            continue
        row, found = (_trusted if trust else _judged)(path, runner, seconds)
        clip = _clip_of(path, row, seconds) if row is not None else None
        if clip is not None:
            save_clip(clip, known)
        yield clip, found


def _judged(path: Path, runner: Runner, seconds: float) -> tuple[Row | None, str]:
    rows = list(runner.run({"source_id": path.stem, "uri": str(path), "platform": "local"}))
    kept = [row for row in rows if row["verdict"] != "drop" and row["end_s"] - row["start_s"] >= MIN_S]
    if not kept:
        return None, "; ".join(sorted({f"{row.get('drop_reason')}: {row.get('drop_detail')}" for row in rows}))
    return max(kept, key=lambda row: min(seconds, row["end_s"] - row["start_s"])), "kept"


def _trusted(path: Path, runner: Runner, seconds: float) -> tuple[Row | None, str]:
    try:
        length_s = min(seconds, probe_media(path).duration_s)
        row: Row = {"source_id": path.stem, "media_path": str(path), "shot_start_s": 0.0, "shot_end_s": length_s}
        row = next(iter(_stage(runner, "track")(row)))
        if length_s < MIN_S or row.get("fault_reason"):
            return None, row.get("fault_detail") or f"{length_s:.1f} s are too few"
        for name in ("identity", "speech", "sync"):  # the last one takes out what the sound is surely late by
            row = _stage(runner, name)(row)
        return row, "trusted"
    except Dropped as fault:
        return None, str(fault)


def _stage(runner: Runner, name: str) -> Callable[[Row], Any]:
    stage = next(stage for stage in runner.stages if stage.name == name)
    return stage.build(runner.config, runner.weights, runner.out)


def _clip_of(path: Path, row: Row, seconds: float) -> Clip:
    facts = probe_media(path)
    fps = Fraction(facts.fps_num, facts.fps_den)
    scale = min(1.0, MAX_SIDE_PX / max(facts.width_px, facts.height_px))
    points = np.asarray(row["landmarks"], np.float32).reshape(-1, NUM_LANDMARKS, 3)
    tracked = to_source(points, np.asarray(row["crop_box_xyxy_px"]))[..., :2] * np.float32(scale)
    num_frames = int(min(seconds, row["end_s"] - row["start_s"]) * fps)
    audio = from_pcm16(row["audio_pcm16"])[: round(num_frames / fps * AUDIO_RATE_HZ)]
    first = next(decode_video(path, row["start_s"], fps=fps, max_side_px=MAX_SIDE_PX)).rgb
    size_px = (first.shape[1], first.shape[0])
    face, voice = (np.asarray(row[key], np.float32) for key in ("face_embedding", "voice_embedding"))
    return Clip(path.stem, path, row["start_s"], fps, num_frames, size_px, audio, face, voice, tracked)


def save_clip(clip: Clip, path: Path) -> None:
    facts = {"name": clip.name, "path": str(clip.path.resolve()), "start_s": clip.start_s, "fps": str(clip.fps)}
    facts |= {"num_frames": clip.num_frames, "size_px": clip.size_px}
    np.savez(path, facts=json.dumps(facts), audio=clip.audio, face=clip.face, voice=clip.voice, tracked=clip.tracked)


def load_clip(path: Path) -> Clip:
    with np.load(path, allow_pickle=False) as stored:
        facts = json.loads(str(stored["facts"]))
        arrays = {name: stored[name] for name in ("audio", "face", "voice", "tracked")}
    place = {"path": Path(facts.pop("path")), "fps": Fraction(facts.pop("fps")), "size_px": tuple(facts.pop("size_px"))}
    return Clip(**facts, **place, **arrays)


def make_clips(folder: Path, weights: WeightStore, seconds: float) -> None:
    """The demo corpus's good takes, where no footage is given."""
    from manifests.demo.corpus import RECIPES, make_corpus

    if not (folder / "manifest.yaml").is_file():
        make_corpus(folder, weights, [name for name in RECIPES if name.startswith("clean_")], seconds)


def strangers(clip: Clip, clips: list[Clip], config: Config) -> list[Clip]:
    """The clips with another face and another voice."""
    return [
        other
        for other in clips
        if float(clip.face @ other.face) < config.policy.min_identity_sim
        and float(clip.voice @ other.voice) < MAX_VOICE_SIM
    ]


MAX_VOICE_SIM = 0.6
"""CAM++ cosine: other speakers have .47 at most, the same one .70 and more."""
