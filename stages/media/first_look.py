"""A first look at a media file, in a process of its own that may die of it in place of a worker.

FFmpeg reads indices and decodes frames while it opens a file, in some containers before any limit can be set.
`raise_if_harmful` runs this file by its path, so that the process imports PyAV and nothing else: 0.1 s.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

MEMORY_BYTES = 768 * 1024**2
"""Above what the process starts with: the reference frames of the largest pictures take 230 MB."""
CPU_S = 10
"""An ordinary file takes 0.1 s, one of four hours 1 s."""
WALL_S = 120.0
"""For disks that keep it waiting."""
ASKS_TOO_MUCH, UNREADABLE = 3, 4


def raise_if_harmful(path: Path, options: dict[str, str]) -> None:
    """Open a file in a process with little to use up.

    Args:
        options: of FFmpeg, those the file will be opened with.
    Raises:
        Dropped: CORRUPT where the file crashes or hangs the reader, TOO_LARGE where it asks for too much memory;
            NOT_VIDEO, TRUNCATED or CORRUPT where it cannot be read.
    """
    from stages.core.reasons import Dropped, DropReason
    from stages.media.containers import explain_unreadable

    command = [sys.executable, "-I", __file__, str(path), json.dumps(options)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=WALL_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise Dropped(DropReason.CORRUPT, f"{path.name} keeps its reader waiting for {WALL_S:g} s") from error
    if done.returncode == ASKS_TOO_MUCH:
        raise Dropped(DropReason.TOO_LARGE, f"{path.name} {done.stdout.decode()}")
    if done.returncode == UNREADABLE:
        raise explain_unreadable(path, done.stdout.decode())
    if done.returncode < 0:
        detail = f"{path.name} kills its reader by signal {-done.returncode} (it may take {CPU_S} s)"
        raise Dropped(DropReason.CORRUPT, detail)
    if done.returncode:
        raise RuntimeError(f"the first look at {path} failed: {done.stderr.decode(errors='replace')[-2000:]}")


def main(path: str, options: dict[str, str]) -> int:
    import av
    import av.error

    used_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, used_bytes + MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    max_pixels = int(options.pop("max_pixels"))  # frames over it are to be measured here
    try:
        with av.open(path, metadata_errors="replace", options=options) as container:
            videos = [s.codec_context for s in container.streams.video if s.codec_context is not None]
            width_px, height_px = max(((v.width, v.height) for v in videos), key=lambda s: s[0] * s[1], default=(0, 0))
    except MemoryError:
        streams = options["max_streams"]
        print(f"asks for over {MEMORY_BYTES >> 20} MB, or {streams} streams, to be opened", end="")
        return ASKS_TOO_MUCH
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):  # of the disk: for whoever opens the file next
            return 0
        print(error.strerror, end="")
        return UNREADABLE
    if width_px * height_px > max_pixels:
        print(f"has frames of {width_px}x{height_px} px; at most {max_pixels} px are decoded", end="")
        return ASKS_TOO_MUCH
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], json.loads(sys.argv[2])))
