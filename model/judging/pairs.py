"""Pairs of videos, a real one and one made of it, cut alike so that they can be compared frame by frame."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from model.dubbing.face_track import FaceTrack, follow_face
from model.judging.judge import Shown
from stages.audio.pcm16 import to_pcm16
from stages.core.command import UserError
from stages.core.reasons import Dropped, DropReason
from stages.core.records import CLIP_FPS
from stages.core.weights import WeightStore
from stages.face.crop import crop_face, to_source
from stages.lipsync.syncnet import PICTURE_PX, PICTURE_SIDE
from stages.media import decode_audio, decode_video, probe_media

SMOOTHING_FRAMES = 13
"""Of the median over the boxes. Source: run_pipeline.py of joonson/syncnet_python."""
VIDEOS = {".mp4", ".mov", ".mkv", ".webm", ".avi"}


class PairsError(UserError):
    """There are no pairs; the message says what was looked for."""


@dataclass(frozen=True)
class Pair:
    real: Path
    made: Path

    @property
    def name(self) -> str:
        return self.made.stem

    def codecs(self) -> list[str]:
        """Video and sound of both, as `probe_media` finds them."""
        facts = [(side, probe_media(path)) for side, path in (("real", self.real), ("made", self.made))]
        return [f"{side} {f.video_codec}/{f.audio_codec} {f.width_px}x{f.height_px}" for side, f in facts]


def find_pairs(places: list[Path]) -> list[Pair]:
    """Two folders whose videos have the same names, or a CSV with the columns `real` and `made`.

    Raises:
        PairsError: there is none.
    """
    if len(places) == 2 and all(place.is_dir() for place in places):
        real, made = ({p.stem: p for p in sorted(place.iterdir()) if p.suffix in VIDEOS} for place in places)
        pairs = [Pair(real[name], made[name]) for name in made if name in real]
    elif len(places) == 1 and places[0].is_file():
        with places[0].open(newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or not {"real", "made"} <= rows[0].keys():
            raise PairsError(f"{places[0]} has no columns real and made")
        pairs = [Pair(places[0].parent / row["real"], places[0].parent / row["made"]) for row in rows]
    else:
        raise PairsError("--pairs wants a folder of real videos and one of made videos, or one CSV")
    absent = [str(path) for pair in pairs for path in (pair.real, pair.made) if not path.is_file()]
    if absent or not pairs:
        raise PairsError(f"no such file: {', '.join(absent)}" if absent else "no two videos have the same name")
    return pairs


def show_pair(pair: Pair, weights: WeightStore, max_frames: int, min_frames: int) -> tuple[Shown, Shown]:
    """The longest stretch with a face, as the made and as the real video have it.

    Raises:
        Dropped: TOO_SHORT, NO_FACE, or what the media stage found.
    """
    fps = Fraction(CLIP_FPS)
    num_made = sum(1 for _ in islice(_frames(pair.made, max_frames), max_frames))
    track = follow_face(_frames(pair.real, num_made), fps, weights)
    stretch = max(track.runs(), key=lambda run: run.stop - run.start, default=slice(0, 0))
    if stretch.stop - stretch.start < min_frames:
        detail = f"{pair.real.name} shows a face for {stretch.stop - stretch.start} of {num_made} frames in a row"
        raise Dropped(DropReason.NO_FACE, detail)
    real = _show(pair.real, track, stretch, (1.0, 1.0))
    facts = [probe_media(path) for path in (pair.made, pair.real)]
    scale = (facts[0].width_px / facts[1].width_px, facts[0].height_px / facts[1].height_px)
    return _show(pair.made, track, stretch, scale), real


def _frames(path: Path, number: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    yield from (frame.rgb for frame in islice(decode_video(path, fps=Fraction(CLIP_FPS)), number))


def _show(path: Path, track: FaceTrack, stretch: slice, scale: tuple[float, float]) -> Shown:
    """A stretch of one video; `scale` is its size over that of the video that was tracked."""
    chosen = range(stretch.start, stretch.stop)
    times = np.array([*scale, *scale], np.float32)
    squares = _squares(to_source(track.points[stretch], track.boxes[stretch]) * np.array([*scale, 1], np.float32))
    crops, pictures = [], []
    for idx, rgb in zip(chosen, islice(_frames(path, stretch.stop), stretch.start, None), strict=True):
        crops.append(crop_face(rgb, track.boxes[idx] * times))
        pictures.append(_picture(rgb, squares[idx - stretch.start]))
    start_s, end_s = stretch.start / CLIP_FPS, stretch.stop / CLIP_FPS
    audio = decode_audio(path, start_s, end_s)
    pcm16 = to_pcm16(audio)
    return Shown(np.stack(crops), track.boxes[stretch], track.points[stretch], pcm16, np.stack(pictures))


def _squares(points: Float[np.ndarray, "t p xyz"]) -> Float[np.ndarray, "t 3"]:
    """Left, top and side of SyncNet's pictures: its face box reaches from their top on, 1.4 times its longer side."""
    from scipy.signal import medfilt

    low, high = points[..., :2].min(axis=1), points[..., :2].max(axis=1)
    half = (high - low).max(axis=1) / 2
    x, y = ((low + high) / 2).T
    x, y, half = (medfilt(series.astype(np.float64), SMOOTHING_FRAMES) for series in (x, y, half))
    return np.stack([x - PICTURE_SIDE * half, y - half, 2 * PICTURE_SIDE * half], axis=1)


def _picture(rgb: UInt8[np.ndarray, "h w 3"], square: Float[np.ndarray, "3"]) -> UInt8[np.ndarray, "224 224 3"]:
    """What SyncNet looks at, BGR."""
    left, top, side = square
    step = side / PICTURE_PX
    matrix = np.array([[step, 0, left], [0, step, top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(rgb, matrix, (PICTURE_PX, PICTURE_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(cut[..., ::-1])
