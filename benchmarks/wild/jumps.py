"""Recall and false positives of jumps within a scene, on clean footage with pieces taken out.

    python -m benchmarks.wild.jumps --clips FOLDER --out DIR [--names TEXT ...] [--per-clip 60]

Each video's faces are followed once and kept in DIR; then frames are left out, in memory: 0.3 to 3 s, which is a jump,
or one, or three that the frame before stands for, which are none. Jumps reported in the unchanged video
count as false positives; some of them are true on inspection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.wild.films.clips import VIDEO_SUFFIXES
from stages.core.command import command, make_parser
from stages.core.records import CLIP_FPS
from stages.core.weights import WeightStore
from stages.face.landmarks import RIGID, LandmarkDetector
from stages.media import decode_video
from stages.shots.jumps import JumpConfig, JumpFinder

MAX_SIDE_PX = 480
MISSING_S = (0.3, 0.5, 0.8, 1.2, 2.0, 3.0)
AROUND = 20
"""Number of frames on both sides of the missing piece."""
PLAIN_MOVE = 0.04
"""Largest move of the skull over a cut that counts as plain, in face widths: half a centimetre."""
THRESHOLDS = (1.3, 1.4, 1.5, 1.6, 1.8, 2.2)


@dataclass(frozen=True)
class Take:
    """A video at 25 fps, as a jump finder sees it.

    Args:
        points: (T, 478, 2); NaN without a face.
    """

    name: str
    pts_s: np.ndarray
    rgb: np.ndarray
    points: np.ndarray

    def of(self, frames: np.ndarray, pts_s: np.ndarray | None = None) -> Take:
        at_s = self.pts_s[frames] if pts_s is None else pts_s
        return replace(self, pts_s=at_s, rgb=self.rgb[frames], points=self.points[frames])

    def jumps(self, config: JumpConfig) -> list[int]:
        finder, jumps = JumpFinder(config), list[bool]()
        for pts_s, rgb, points in zip(self.pts_s, self.rgb, self.points, strict=True):
            jumps += finder.push(float(pts_s), rgb, None if np.isnan(points).any() else points)
        return np.flatnonzero(jumps + finder.finish()).tolist()

    def without(self, first: int, missing: int) -> Take:
        """The take without some frames, on a continuous clock."""
        ahead, behind = np.arange(first - AROUND, first), np.arange(first + missing, first + missing + AROUND)
        later_s = self.pts_s[behind] - self.pts_s[behind[0]] + self.pts_s[first - 1] + 1 / CLIP_FPS
        return self.of(np.concatenate([ahead, behind]), np.concatenate([self.pts_s[ahead], later_s]))

    def uneven(self, first: int, lost: int, held: int) -> Take:
        """The take with some lost frames, replaced by repeats of the frame before, on an even clock."""
        around = [np.arange(first - AROUND, first), np.full(held, first - 1), np.arange(first, first + AROUND) + lost]
        frames = np.concatenate(around)
        return self.of(frames, np.arange(len(frames)) / CLIP_FPS)

    def move(self, first: int, missing: int) -> float:
        """Move of the skull over the missing piece, in face widths."""
        before, after = self.points[first - 1], self.points[first + missing]
        return float(np.median(np.linalg.norm(after[list(RIGID)] - before[list(RIGID)], axis=1)) / np.ptp(before[:, 0]))


def load_takes(folder: Path, cache: Path, names: list[str]) -> Iterator[Take]:
    cache.mkdir(parents=True, exist_ok=True)
    detector = LandmarkDetector(WeightStore.from_environment())
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in VIDEO_SUFFIXES or not any(name in path.name for name in names):
            continue
        known = cache / f"{path.stem}.npz"
        if not known.is_file():
            detector.reset()
            seen = [(frame, detector(frame.rgb, frame.time_s)) for frame in _frames(path)]
            blank = np.full((478, 2), np.nan, np.float32)
            points = np.stack([blank if face is None else face.points[:, :2] for _, face in seen])
            rgb, pts_s = np.stack([frame.rgb for frame, _ in seen]), np.array([frame.pts_s for frame, _ in seen])
            np.savez(known, pts_s=pts_s, rgb=rgb, points=points)
        with np.load(known, allow_pickle=False) as stored:
            yield Take(path.stem, stored["pts_s"], stored["rgb"], stored["points"])
    detector.close()


def _frames(path: Path):
    return decode_video(path, fps=Fraction(CLIP_FPS), max_side_px=MAX_SIDE_PX)


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.wild.jumps", __doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--names", nargs="+", default=[""], help="parts of the names of the videos that are used")
    parser.add_argument("--per-clip", type=int, default=60, help="jumps made in each video (default: 60)")
    args = parser.parse_args(arguments)
    rng, configs = np.random.default_rng(0), [JumpConfig(min_picture_step=least) for least in THRESHOLDS]
    minutes, false = 0.0, np.zeros(len(configs), int)
    found, plain, uneven = ([] for _ in range(3))
    for take in load_takes(args.clips, args.out, args.names):
        unchanged = [take.jumps(config) for config in configs]
        minutes, false = minutes + len(take.pts_s) / CLIP_FPS / 60, false + [len(jumps) for jumps in unchanged]
        hits = []
        for _ in range(args.per_clip):
            missing = round(rng.choice(MISSING_S) * CLIP_FPS)
            if len(take.pts_s) <= missing + 2 * AROUND + 3:
                continue
            first = int(rng.integers(AROUND, len(take.pts_s) - missing - AROUND - 3))
            cut = take.without(first, missing)
            hits.append([AROUND in cut.jumps(config) for config in configs])
            plain += [hits[-1]] if take.move(first, missing) > PLAIN_MOVE else []
            for film in (take.uneven(first, 1, 0), take.uneven(first, 3, 3)):
                at = {AROUND, AROUND + 3}
                uneven.append([bool(at & set(film.jumps(config))) for config in configs])
        found += hits
        usual = THRESHOLDS.index(JumpConfig().min_picture_step)
        share = float(np.mean([hit[usual] for hit in hits])) if hits else 0.0
        print(
            f"{take.name[:40]:40} {len(take.pts_s) / 25:5.1f} s, found {share:.2f}, as it is: {unchanged[usual]}",
            flush=True,
        )
    print(f"{minutes:.1f} min; {len(found)} jumps, {len(plain)} plain; {len(uneven)} times frames lost\n")
    print("| min_picture_step | false a minute | found | found, plain | lost frames taken for one |")
    print("| --- | --- | --- | --- | --- |")
    for k, least in enumerate(THRESHOLDS):
        shares = " | ".join(f"{np.mean([hit[k] for hit in hits]):.3f}" for hits in (found, plain, uneven))
        print(f"| {least} | {false[k] / minutes:.2f} | {shares} |")


if __name__ == "__main__":
    raise SystemExit(main())
