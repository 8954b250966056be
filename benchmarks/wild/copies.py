"""Recall and false positives of copies: real clips, copied in the ways of re-uploads, against similar stretches.

    python -m benchmarks.wild.copies --clips FOLDER --out DIR [--seconds 20]

Each video of FOLDER that shows one speaker is copied: coded again, shrunk, cut at the borders, mirrored, at another
rate and phase, all of it at once. `track` follows the face in each copy, and fingerprints are made of what it finds, of
stretches cut to length at chosen places. Other stretches of the same video are the hardest of what is no copy: one
person, one place, one microphone. DIR keeps what was tracked: a second run only compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations_with_replacement, product
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.wild.films.clips import VIDEO_SUFFIXES
from pipeline.dataset.dedup import Overlap, choose_copies, find_overlaps
from pipeline.rules.config import FinalizeConfig
from stages.audio.fingerprint import fingerprint
from stages.audio.pcm16 import from_pcm16
from stages.core.command import command, make_parser
from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS, Row
from stages.core.weights import WeightStore
from stages.face.motion_print import motion_fingerprint
from stages.face.mouth_look import MouthConfig
from stages.identity import IdentityChecker, IdentityConfig
from stages.media import decode_audio, decode_video, probe_media, write_video
from stages.track import FaceTracker, TrackConfig

MAX_SIDE_PX = 720
PHASE_S = 0.35
"""Time by which a copy at another rate begins later."""


@dataclass(frozen=True)
class Way:
    """One way to copy a video.

    Args:
        crf: quality of x264, lower is better.
        draw: change of each picture.
        fps: frame rate; None for the video's own.
        start_s: start in the video.
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
    """One copy as it was tracked: the columns of its row that fingerprints need, from `start_s` of the video on."""

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
        for name, way in WAYS.items():
            known = cache / f"{path.stem}-{name.replace(' ', '_')}.npz"
            if not known.is_file():
                row = _track(path, way, seconds, known.with_suffix(".mp4"), tracker, identity)
                np.savez(known, **row)
                print(f"{path.stem}, {name}: {len(row.get('landmarks', ())) / 25:.1f} s", flush=True)
            with np.load(known, allow_pickle=False) as stored:
                row = dict(stored)
            if not row:
                break
            yield Take(path.stem, name, way.start_s + float(row["start_s"]), row)


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


WHOLE_S, EXTRACT_S, COMMON_S = 8.0, 4.0, 3.0
"""Largest lengths of a clip, of a piece of its middle, and of the overlap of two consecutive cuts."""
PLACE_S = 0.2
"""Tolerance of the place of the common piece."""
STEP_S = 1.5
"""Step between the stretches that are compared for false positives."""


def layouts(length_s: float) -> dict[str, tuple[tuple[float, float], tuple[float, float]]]:
    """Stretches of the original and of the copy, [start_s, end_s) of the video; none if too short for a clip."""
    if length_s < COMMON_S:
        return {}
    whole = min(WHOLE_S, length_s)
    found = {"whole": ((0.0, whole), (0.0, whole))}
    if length_s > EXTRACT_S + 1:
        cut = (whole - EXTRACT_S) / 2
        found[f"{EXTRACT_S:g} s of it"] = ((0.0, whole), (cut, cut + EXTRACT_S))
    both = min(2 * WHOLE_S - COMMON_S, length_s)
    if both >= COMMON_S + 2:
        middle = both / 2
        found[f"{COMMON_S:g} s in common"] = ((0.0, middle + COMMON_S / 2), (middle - COMMON_S / 2, both))
    return found


def cut_row(take: Take, start_s: float, end_s: float) -> Row:
    """A clip as `finalize` sees it."""
    first, last = (max(0, round((at_s - take.start_s) * CLIP_FPS)) for at_s in (start_s, end_s))
    row = {name: take.row[name][first:last] for name in ("landmarks", "crop_box_xyxy_px", "jpeg_bytes")}
    samples = slice(*(at * AUDIO_RATE_HZ // CLIP_FPS for at in (first, last)))
    return {
        "row_id": f"{take.video} {take.way} {start_s:.1f}-{end_s:.1f}",
        "audio_fingerprint": fingerprint(from_pcm16(take.row["audio_pcm16"][samples])),
        "motion_fingerprint": motion_fingerprint(row["landmarks"], row["crop_box_xyxy_px"]),
        "face_embedding": take.row["face_embedding"],
        "num_frames": len(row["landmarks"]),
        "face_px": float(take.row["face_px"]),
        "crop_bytes": float(row["jpeg_bytes"].mean()),
    }


def _is_right(overlap: Overlap, shift_s: float) -> bool:
    return abs(overlap.start_a_s - overlap.start_b_s - shift_s) <= PLACE_S


def recall_table(takes: Sequence[Take], config: FinalizeConfig) -> str:
    """Recall of copies at the right place, by sound and by pictures, and how often the copy is the one dropped."""
    lines, names = [], list(layouts(2 * WHOLE_S))
    originals = {take.video: take for take in takes if take.way == "itself"}
    for way in WAYS:
        cells = {name: [0, 0, 0, 0] for name in names}  # copies, by sound, by pictures, dropped
        for copy in (take for take in takes if take.way == way and take.video in originals):
            original = originals[copy.video]
            start_s = max(original.start_s, copy.start_s)
            length_s = min(take.start_s + len(take.row["landmarks"]) / CLIP_FPS for take in (original, copy)) - start_s
            for name, (one, other) in layouts(length_s).items():
                rows = [cut_row(original, *(start_s + np.array(one))), cut_row(copy, *(start_s + np.array(other)))]
                right = [o for o in find_overlaps(rows, config) if _is_right(o, other[0] - one[0])]
                cells[name][0] += 1
                for place, what in ((1, "sound"), (2, "pictures")):
                    cells[name][place] += any(overlap.what == what for overlap in right)
                cells[name][3] += 1 in choose_copies(rows, right, config)
        parts = [f"{c[0]} | {c[1]} | {c[2]}" for c in cells.values()] + [f"{cells['whole'][3]}"]
        lines.append(f"| {way} | {' | '.join(parts)} |")
    head = " | ".join(f"{name} | by sound | by pictures" for name in names)
    return "\n".join([f"| copy | {head} | the copy goes |", "| --- " * (3 * len(names) + 2) + "|", *lines])


def false_alarms(takes: Sequence[Take], config: FinalizeConfig) -> str:
    """False positives: pairs with nothing in common that count as copies."""
    parts = []
    for kind in ("of one video", "of others"):
        num_pairs = num_false = 0
        for one, other in combinations_with_replacement(takes, 2):
            if (one.video == other.video) != (kind == "of one video"):
                continue
            spans = [_stretches(take) for take in (one, other)]
            rows = [[(span, cut_row(take, *span)) for span in spans[k]] for k, take in enumerate((one, other))]
            for (a, row_a), (b, row_b) in product(*rows):
                if one.video == other.video and a[0] < b[1] and b[0] < a[1]:
                    continue
                num_pairs += 1
                num_false += bool(find_overlaps([row_a, row_b], config))
        parts.append(f"{num_false} of {num_pairs} pairs of stretches {kind}")
    return "; ".join(parts)


def _stretches(take: Take) -> list[tuple[float, float]]:
    end_s = take.start_s + len(take.row["landmarks"]) / CLIP_FPS
    starts_s = np.arange(take.start_s, end_s - EXTRACT_S, STEP_S)
    return [(float(start_s), float(start_s) + EXTRACT_S) for start_s in starts_s]


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.wild.copies", __doc__)
    parser.add_argument("--clips", type=Path, required=True, help="folder of videos of people who speak")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a video that are used (default: 20)")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    takes, config = list(take_all(args.clips, args.out, args.seconds)), FinalizeConfig()
    print(recall_table(takes, config))
    compared = [take for take in takes if take.way in ("itself", "all of it")]
    print("held for copies, whatever the face:", false_alarms(compared, replace(config, identity_sim=-1.0)))


if __name__ == "__main__":
    raise SystemExit(main())
