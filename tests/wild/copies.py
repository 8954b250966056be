"""How well are copies found? Real clips, copied in the ways in which they come back, against all that only looks alike.

    python -m tests.wild.copies --clips FOLDER --out DIR [--seconds 20]

Each video of FOLDER that shows one speaker is copied: coded again, shrunk, cut at the borders, mirrored, at another rate
and phase, all of it at once. `track` follows the face in each copy, and fingerprints are made of what it finds, of stretches
cut to length at chosen places. Other stretches of the same video are the hardest of what is no copy: one person, one
place, one microphone. DIR keeps what was tracked: a second run only compares.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.records import Row
from pipeline.weights import WeightStore
from stages.identity import IdentityChecker, IdentityConfig
from stages.media import decode_audio, decode_video, probe_media, write_video
from stages.mouth import MouthConfig
from stages.track import FaceTracker, TrackConfig
from tests.wild.clips import VIDEO_SUFFIXES

MAX_SIDE_PX = 720
PHASE_S = 0.35
"""By which a copy at another rate begins later."""


@dataclass(frozen=True)
class Way:
    """One way to copy a video.

    Args:
        crf: x264's quality, lower is better.
        draw: what is done to each picture.
        fps: None: the video's own.
        start_s: where in the video it begins.
    """

    crf: int
    draw: Callable[[np.ndarray], np.ndarray] = lambda rgb: rgb
    fps: Fraction | None = None
    start_s: float = 0.0


def _half(rgb: np.ndarray) -> np.ndarray:
    height, width = rgb.shape[:2]
    return cv2.resize(rgb, (width // 4 * 2, height // 4 * 2), interpolation=cv2.INTER_AREA)


def _cropped(rgb: np.ndarray) -> np.ndarray:
    """Unequal borders gone: 4 % on the left, 10 on the right, 2 above, 8 below."""
    height, width = rgb.shape[:2]
    return rgb[round(0.02 * height) : round(0.92 * height), round(0.04 * width) : round(0.9 * width)]


def _mirrored(rgb: np.ndarray) -> np.ndarray:
    return rgb[:, ::-1]


WAYS: dict[str, Way] = {
    "itself": Way(12),
    "crf 28": Way(28),
    "crf 40": Way(40),
    "half size": Way(24, _half),
    "cropped": Way(26, _cropped),
    "mirrored": Way(26, _mirrored),
    "30 fps, 0.35 s later": Way(24, fps=Fraction(30), start_s=PHASE_S),
    "all of it": Way(30, lambda rgb: _half(_cropped(_mirrored(rgb))), Fraction(30), PHASE_S),
}


@dataclass(frozen=True)
class Take:
    """One copy as it was tracked: the columns of its row that fingerprints are made of, from `start_s` of the video on."""

    video: str
    way: str
    start_s: float
    row: Row


def take_all(folder: Path, cache: Path, seconds: float) -> Iterator[Take]:
    """Every copy of every video that can be followed for `MIN_S`; made once."""
    weights = WeightStore.from_environment()
    cache.mkdir(parents=True, exist_ok=True)
    tracker = FaceTracker(TrackConfig(max_clip_s=120.0), MouthConfig(), weights)
    identity = IdentityChecker(IdentityConfig(), weights)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            continue
        for way in WAYS:
            known = cache / f"{path.stem}-{way.replace(' ', '_')}.npz"
            if not known.is_file():
                row = _track(path, WAYS[way], seconds, known.with_suffix(".mp4"), tracker, identity)
                np.savez(known, **row)
                print(f"{path.stem}, {way}: {len(row.get('landmarks', ())) / 25:.1f} s", flush=True)
            with np.load(known) as stored:
                row = dict(stored)
            if not row:
                break
            yield Take(path.stem, way, WAYS[way].start_s + float(row["start_s"]), row)


def _track(path: Path, way: Way, seconds: float, copy: Path, tracker: FaceTracker, identity: IdentityChecker) -> Row:
    facts = probe_media(path)
    fps = way.fps or Fraction(facts.fps_num, facts.fps_den)
    end_s = min(seconds, facts.duration_s)
    if facts.audio_codec is None:
        return {}
    pictures = decode_video(path, way.start_s, end_s, fps=fps, max_side_px=MAX_SIDE_PX)
    frames = (np.ascontiguousarray(way.draw(frame.rgb)) for frame in pictures)
    write_video(copy, frames, fps, decode_audio(path, way.start_s, end_s), crf=way.crf)
    shot = {"media_path": str(copy), "shot_start_s": 0.0, "shot_end_s": end_s - way.start_s}
    clips = [clip for clip in tracker(shot) if "landmarks" in clip and "unusable" not in clip]
    copy.unlink()
    if not clips:
        return {}
    clip = identity(max(clips, key=lambda clip: clip["num_frames"]))
    sizes = np.array([len(jpeg) for jpeg in clip["face_jpeg"]])
    names = ("landmarks", "blendshapes", "crop_box_xyxy_px", "audio_pcm16", "face_embedding", "start_s", "face_px")
    return {name: np.asarray(clip[name]) for name in names} | {"jpeg_bytes": sizes}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.wild.copies", description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of videos of people who speak")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a video that are used (default: 20)")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    takes = list(take_all(args.clips, args.out, args.seconds))
    print(len(takes))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
