"""Scores of a clip by detectors that do not know its origin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import Float, Int16, UInt8

from model.judging.frechet import Moments, features_of, frechet_distance, load_inception
from model.judging.lpips import load_lpips, lpips
from model.judging.metrics import cosine, face_distance, lip_distance, psnr_db, ssim
from stages.core.records import CLIP_FPS, CROP_PX
from stages.core.weight_files import WEIGHTS
from stages.core.weights import WeightStore
from stages.face.crop import encode_jpeg
from stages.face.faces import FaceFinder
from stages.face.landmarks import LandmarkDetector
from stages.identity import IdentityChecker, IdentityConfig
from stages.lipsync.syncnet import WINDOW_FRAMES, Lse, SyncNetExpert, lip_sync_error, picture
from stages.sync import SyncConfig, SyncMeasurer

T = TypeVar("T")
JPEG_QUALITY = 95
LSE_PROTOCOL = (
    "syncnet_python's formula: 25 fps, 16 kHz MFCC of 13, windows of 5 frames, 15 frames to both sides, mean distance "
    "per clip, LSE-D its minimum, LSE-C median less minimum"
)


@dataclass(frozen=True)
class Shown:
    """A clip to be judged, at 25 fps.

    Args:
        frames: the face's crops, cut by the real clip's boxes.
        boxes: (T, 4), the crops' boxes, xyxy in pixels of the video.
        landmarks: (T, 478, 3), the real clip's landmarks in crop pixels, which align the face for ArcFace.
        pcm16: its sound, 16 kHz.
        pictures: (T, 224, 224, 3) BGR, SyncNet's pictures; None makes them from the crops.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    boxes: Float[np.ndarray, "t 4"]
    landmarks: Float[np.ndarray, "t p xyz"]
    pcm16: Int16[np.ndarray, " n"]
    pictures: UInt8[np.ndarray, "t 224 224 3"] | None = None


@dataclass(frozen=True)
class Scores:
    """Scores of one clip, or means over several. None if a score is unknown, or not defined for the real video."""

    row_id: str
    lse_c: float | None
    lse_d: float | None
    lse_offset_frames: float | None
    psnr_db: float | None
    ssim: float | None
    lpips: float | None
    csim: float | None
    lip_distance_pct: float | None
    face_distance_pct: float | None
    sync_conf: float | None
    av_offset_ms: float | None
    found_ratio: float


@dataclass(frozen=True)
class Judged:
    """A clip with the landmarks found in each frame, in crop pixels; None without a face."""

    shown: Shown
    points: list[Float[np.ndarray, "p xyz"] | None]


class Judge:
    """Loads the available networks; `absent` has the cause for each missing measure.

    Args:
        device: device of Inception and SyncNet.
    """

    def __init__(self, weights: WeightStore, device: str = "cpu") -> None:
        self._weights = weights
        self._identity = IdentityChecker(IdentityConfig(), weights)
        self._sync = SyncMeasurer(SyncConfig(), weights)
        self.sync_expert = ""
        self.absent: dict[str, str] = {}
        self._inception = self._load("fid", "inception", lambda: load_inception(weights, device))
        self._lpips = self._load("lpips", "alexnet", lambda: load_lpips(weights))
        self._syncnet = self._load("lse", "syncnet", lambda: SyncNetExpert(weights, device))
        self._real, self._made = Moments(), Moments()

    def _load(self, measure: str, name: str, load: Callable[[], T]) -> T | None:
        """Load a network if its file is here already; no download is started for a measure."""
        if self._weights.has(name):
            return load()
        file = WEIGHTS[name].file
        self.absent[measure] = (
            f"needs {file}, and nothing else may stand in for it: `python -m pipeline.weights --all` fetches it"
        )
        return None

    def look(self, shown: Shown) -> Judged:
        """Find landmarks in each crop with an extended rim, because detectors need room around a face."""
        room = CROP_PX // 2
        points: list[np.ndarray | None] = []
        with LandmarkDetector(self._weights, FaceFinder(self._weights)) as detector:
            for i, rgb in enumerate(shown.frames):
                wide = cv2.copyMakeBorder(rgb, room, room, room, room, cv2.BORDER_REPLICATE)
                face = detector(wide, i / CLIP_FPS)
                points.append(None if face is None else face.points - np.array([room, room, 0], np.float32))
        return Judged(shown, points)

    def score(self, output: Judged, truth: Judged, name: str) -> Scores:
        """Judge one clip; `output` may be the truth itself, for the real video's row."""
        real, mine = output is truth, output.points
        both = [(a, b) for a, b in zip(mine, truth.points, strict=True) if a is not None and b is not None]
        seen = [np.stack(side) for side in zip(*both, strict=True)]
        ours, theirs = (judged.shown.frames[:, CROP_PX // 2 :] for judged in (output, truth))
        compared = not real and bool(both)
        sync_conf, av_offset_ms = self._agreement(output)
        lse = self._lse(output.shown)
        return Scores(
            row_id=name,
            lse_c=lse.confidence if lse else None,
            lse_d=lse.distance if lse else None,
            lse_offset_frames=float(lse.offset_frames) if lse else None,
            psnr_db=None if real else psnr_db(ours, theirs),
            ssim=None if real else ssim(ours, theirs),
            lpips=None if real or self._lpips is None else lpips(self._lpips, ours, theirs),
            csim=None if real else cosine(self._embedding(output.shown), self._embedding(truth.shown)),
            lip_distance_pct=lip_distance(seen[0], seen[1]) if compared else None,
            face_distance_pct=face_distance(seen[0], seen[1]) if compared else None,
            sync_conf=sync_conf,
            av_offset_ms=av_offset_ms,
            found_ratio=sum(points is not None for points in mine) / len(mine),
        )

    def gather(self, output: Shown, truth: Shown) -> None:
        """Add a clip's frames to the two sets that FID compares."""
        if self._inception is not None:
            self._made.add(features_of(self._inception, output.frames))
            self._real.add(features_of(self._inception, truth.frames))

    def fid(self) -> dict[str, float | int | str | None]:
        """FID of the gathered frames and their number; or the cause why there is none."""
        if self._inception is None:
            return {"value": None, "why": self.absent["fid"]}
        return {"value": frechet_distance(self._made, self._real), "num_pictures": self._made.number}

    def _agreement(self, judged: Judged) -> tuple[float | None, float | None]:
        """Confidence and delay by our own expert; None if a frame's face is lost."""
        found = [points for points in judged.points if points is not None]
        if len(found) < len(judged.points):
            return None, None
        row = {"landmarks": np.stack(found), "crop_box_xyxy_px": judged.shown.boxes, "audio_pcm16": judged.shown.pcm16}
        measured = self._sync.measure(row)
        self.sync_expert = measured["sync_expert"]
        return measured["sync_conf"], measured["av_offset_ms"]

    def _lse(self, shown: Shown) -> Lse | None:
        if self._syncnet is None:
            return None
        pictures = shown.pictures
        if pictures is None:
            pictures = np.stack([picture(crop, box) for crop, box in zip(shown.frames, shown.boxes, strict=True)])
        seen, heard = self._syncnet.embed(pictures, shown.pcm16)
        num_windows = min(len(pictures), len(shown.pcm16) * CLIP_FPS // 16_000) - WINDOW_FRAMES
        return lip_sync_error(seen[:num_windows], heard[:num_windows])

    def _embedding(self, shown: Shown) -> Float[np.ndarray, " d"]:
        jpegs = [encode_jpeg(rgb, JPEG_QUALITY) for rgb in shown.frames]
        row = {"face_jpeg": jpegs, "landmarks": shown.landmarks, "crop_box_xyxy_px": shown.boxes}
        return self._identity(row)["face_embedding"]


def mean_scores(scores: list[Scores], name: str) -> Scores:
    """Means over the clips that have a score; delays count by their absolute value."""
    values = {}
    for key in asdict(scores[0]):
        known = [v for s in scores if key != "row_id" and (v := getattr(s, key)) is not None]
        if key in ("av_offset_ms", "lse_offset_frames"):
            known = np.abs(known)
        values[key] = float(np.mean(known)) if len(known) else None
    return Scores(**{**values, "row_id": name})
