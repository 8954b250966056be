"""Cost of tracking: CPU seconds for a minute of media, beside decoding alone.

python -m benchmarks.track VIDEO [VIDEO ...]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

from stages.core.command import command, make_parser
from stages.core.records import CLIP_FPS
from stages.core.weights import WeightStore
from stages.face.mouth_look import MouthConfig
from stages.identity import IdentityChecker, IdentityConfig
from stages.media import decode_video, probe_media
from stages.mouth import measure_mouth
from stages.track import FaceTracker, TrackConfig


def cpu_s(work: Callable[[], Iterable[object]]) -> float:
    started = time.process_time()
    for _ in work():
        pass
    return time.process_time() - started


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.track", __doc__)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--max-s", type=float, default=20.0, help="seconds of each video")
    args = parser.parse_args(arguments)

    weights = WeightStore.from_environment()
    tracker = FaceTracker(TrackConfig(), MouthConfig(), weights)
    checker = IdentityChecker(IdentityConfig(), weights)
    print(f"{'video':40} {'decode':>8} {'track':>8} {'identity':>8} {'mouth':>8}   CPU-s per minute of media")
    for path in args.videos:
        length_s = min(args.max_s, probe_media(path).duration_s)
        shot = {"source_id": path.stem, "media_path": str(path), "shot_start_s": 0.0, "shot_end_s": length_s}
        clips = list(tracker(shot))
        whole = [clip for clip in clips if "face_jpeg" in clip]
        span = partial(decode_video, path, 0.0, length_s, fps=Fraction(CLIP_FPS))
        costs = [
            cpu_s(span),
            cpu_s(partial(tracker, shot)),
            cpu_s(partial(map, checker, whole)),
            cpu_s(partial(map, partial(measure_mouth, config=MouthConfig()), whole)),
        ]
        figures = " ".join(f"{cost * 60 / length_s:8.1f}" for cost in costs)
        print(f"{path.name[:40]:40} {figures}", flush=True)
    tracker.close()


if __name__ == "__main__":
    raise SystemExit(main())
