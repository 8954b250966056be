"""A process that reads media files by every entry of `stages.media`, and says what it found.

    python -m tests.hostile.reader < paths > findings

It dies of a crash in a decoder, of a hang and of too much memory; whoever started it sees that.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from stages.core.reasons import Dropped
from stages.media import decode_audio, decode_frames, decode_video
from stages.media.facts import read_facts

MEMORY_BYTES = 3_000_000_000
SECONDS_READ = 20.0
"""Of sound and pictures at 25 a second: a second file may say that it is hours long."""


def _pictures(path: Path) -> int:
    return sum(frame.sampled(4).size > 0 and frame.rgb(64).size > 0 for frame in decode_frames(path, coarse=True))


ENTRIES: dict[str, Callable[[Path], object]] = {
    "facts": read_facts,
    "sound": lambda path: len(decode_audio(path, 0.0, SECONDS_READ)),
    "late sound": lambda path: float(np.abs(decode_audio(path, 0.7, SECONDS_READ)).max(initial=0.0)),
    "pictures": _pictures,
    "ticks": lambda path: sum(1 for _ in decode_video(path, 0.3, SECONDS_READ, fps=Fraction(25))),
}


def findings(path: Path) -> dict[str, str]:
    """Of each entry `ok` or the reason; anything but `Dropped` is raised."""
    found = {}
    for name, read in ENTRIES.items():
        try:
            read(path)
            found[name] = "ok"
        except Dropped as dropped:
            found[name] = str(dropped.reason)
    return found


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        began_s = time.process_time()
        found = findings(Path(json.loads(line)))
        print(json.dumps({"found": found, "cpu_s": time.process_time() - began_s}), flush=True)


if __name__ == "__main__":
    main()
