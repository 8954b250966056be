"""Time and memory of dubbing, for results of several lengths.

    python -m benchmarks.infer --run RUN [--a2m RUN2] --video V --audio A [--seconds 10 60 600]

The sound is repeated, and the video runs to and fro. Each length is a process of its own, start included.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from stages.core.command import UserError, command, make_parser
from stages.core.records import AUDIO_RATE_HZ
from stages.media import decode_audio


def measure(command: list[str]) -> tuple[float, float]:
    """CPU seconds and peak memory of a process, in MB."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(f"{' '.join(command)} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.infer", __doc__)
    parser.add_argument("--run", required=True)
    parser.add_argument("--a2m")
    parser.add_argument("--video", required=True)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60, 600])
    given = parser.parse_args(arguments)
    sound = decode_audio(given.audio)
    print("length_s  cpu_s  cpu_s_per_s  memory_mb", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for seconds in given.seconds:
            audio = Path(folder) / "sound.wav"
            soundfile.write(audio, np.resize(sound, seconds * AUDIO_RATE_HZ), AUDIO_RATE_HZ)
            command = [sys.executable, "-m", "model.infer", "--run", given.run, "--video", given.video]
            command += ["--audio", str(audio), "--out", str(Path(folder) / "dubbed.mp4"), "--device", "cpu"]
            cpu_s, memory_mb = measure(command + (["--a2m", given.a2m] if given.a2m else []))
            print(f"{seconds:8}  {cpu_s:5.0f}  {cpu_s / seconds:11.2f}  {memory_mb:9.0f}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
