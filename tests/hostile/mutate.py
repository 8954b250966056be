"""Real media files, and how they are broken: bits, bytes, sizes, cuts, repeats and splices."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.known.media_files import steady, tone, write_media

SPECIAL = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Numbers at which counters and sizes overflow."""
KINDS = ("flip", "byte", "number", "cut", "delete", "repeat", "splice")
POSITIONS = 2**16


@dataclass(frozen=True)
class Mutation:
    """One change.

    Args:
        at: where, in 1/65536 of the file.
        size: how many bytes, 0 to 255.
        value: index of the number, of the other file, or the byte itself.
    """

    kind: str
    at: int
    size: int
    value: int

    def apply(self, content: bytes, others: Sequence[bytes]) -> bytes:
        at = len(content) * self.at // POSITIONS
        end = at + self.size
        match self.kind:
            case "flip":
                return content[:at] + bytes([content[at] ^ 1 << self.value % 8]) + content[at + 1 :] if content else b""
            case "byte":
                return content[:at] + bytes([self.value % 256]) + content[at + 1 :]
            case "number":
                number = SPECIAL[self.value % len(SPECIAL)].to_bytes(4, "big" if self.size % 2 else "little")
                return content[:at] + number + content[at + 4 :]
            case "cut":
                return content[:at]
            case "delete":
                return content[:at] + content[end:]
            case "repeat":
                return content[:end] + content[at:end] * (1 + self.value % 16) + content[end:]
            case _:
                other = others[self.value % len(others)]
                return content[:at] + other[len(other) * self.at // POSITIONS :]


def random_mutation(rng: random.Random) -> Mutation:
    """Headers are hit more often than the frames behind them."""
    at = int(POSITIONS * rng.random() ** rng.choice((1, 3)))
    return Mutation(rng.choice(KINDS), at, rng.randrange(256), rng.randrange(256))


def seeds(folder: Path) -> dict[str, bytes]:
    """A second of video with sound in every container and codec that matters, 2 to 20 kB each."""
    folder.mkdir(parents=True, exist_ok=True)
    old = {"video_codec": "mpeg4", "audio_codec": "mp3"}
    wanted: dict[str, dict] = {
        "a.mp4": {},
        "a.mkv": {"audio_codec": "libopus", "sound_rate_hz": 48_000},
        "a.avi": old,
        "a.flv": {},
        "a.ts": {},
        "a.webm": {"video_codec": "libvpx", "audio_codec": "libopus", "sound_rate_hz": 48_000},
        "a.mov": {"video_codec": "mjpeg", "audio_codec": "pcm_s16le", "pixel_format": "yuvj420p"},
        "b.mp4": {"video_codec": "libx265"},
        "a.wmv": old,
    }
    for name, options in wanted.items():
        rate_hz = options.get("sound_rate_hz", 44_100)
        write_media(folder / name, steady(25), size_px=(96, 64), sound=tone(1.0, rate_hz), **options)
    return {name: (folder / name).read_bytes() for name in wanted}
