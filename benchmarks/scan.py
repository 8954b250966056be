"""Cost of the coarse scan of a file beside decoding it: `python -m benchmarks.scan FILE`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2

from stages.core.command import command, make_parser
from stages.core.weights import WeightStore
from stages.media import decode_frames, probe_media
from stages.scan import ScanConfig, ShotScanner


def cpu_s(work: Callable[[], Iterable[object]], repeats: int) -> float:
    """CPU seconds of the fastest of some runs to the end."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        for _ in work():
            pass
        best = min(best, time.process_time() - start)
    return best


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.scan", __doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    minutes = probe_media(args.file).duration_s / 60
    scanner = ShotScanner(ScanConfig(), WeightStore.from_environment())
    row = {"media_path": str(args.file)}
    plain = cpu_s(lambda: decode_frames(args.file), args.repeats)
    costs = {
        "decode": plain,
        "decode, coarse": cpu_s(lambda: decode_frames(args.file, coarse=True), args.repeats),
        "scan": cpu_s(lambda: scanner(row), args.repeats),
    }
    for name, cost in costs.items():
        print(f"{name:16} {cost / minutes:7.2f} CPU s a minute of media   {cost / plain:5.2f} x decode")


if __name__ == "__main__":
    raise SystemExit(main())
