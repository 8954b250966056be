"""Flash and beep: how far picture, sound and clock of a file are from the truth after decoding.

python -m benchmarks.wild.timing [VARIANT ...]
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.known.media_files import NUM_BITS, clicks, coded_frame
from benchmarks.wild.films.variants import VARIANTS, Clip, Truth, Variant, write_variant
from stages.core.command import command, make_parser
from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS
from stages.media import VideoFrame, decode_audio, decode_video

EVENTS_S = (0.71, 1.33, 1.87, 2.61, 3.17)
FLASH_S = 0.12
LENGTH_S = 3.6
SOUND_HZ = 48_000
MARGIN_S = 0.1
"""Margin at the ends of a span, where a flash may have begun before it."""
CODE_SHARE = 0.75
"""Share of the picture's width that holds the number; the rest flashes."""


@dataclass(frozen=True)
class Flashes:
    """A clip whose frames carry their numbers, and when its flashes and beeps begin."""

    clip: Clip
    onsets_s: np.ndarray
    bright: np.ndarray


def flash_clip(times_s: np.ndarray, events_s: Sequence[float] = EVENTS_S) -> Flashes:
    """Frames at these times. With the first one at or behind each of `events_s` a flash begins, and a beep."""
    first = np.searchsorted(times_s, np.array(events_s) - 1e-6)
    onsets_s = times_s[first]
    since_s = times_s[:, None] - onsets_s[None]
    bright = np.any((since_s > -1e-6) & (since_s < FLASH_S), axis=1)
    frames = np.stack([_picture(number, lit) for number, lit in enumerate(bright)])
    return Flashes(Clip(frames, times_s, clicks(list(onsets_s), LENGTH_S, SOUND_HZ), SOUND_HZ), onsets_s, bright)


def _picture(number: int, lit: bool) -> np.ndarray:
    lamp = np.full((96, 40, 3), 235 if lit else 20, np.uint8)
    return np.concatenate([coded_frame(number, 120, 96), lamp], axis=1)


@dataclass(frozen=True)
class Errors:
    """Largest errors of a file, in seconds.

    Args:
        pts_s: error of a frame's time.
        beep_s: error of a beep's onset.
        flash_s: error of the first tick that shows a flash.
        apart_s: distance between that tick and the beep.
        outside_s: distance of a tick's middle from the time for which its frame is shown.
    """

    pts_s: float
    beep_s: float
    flash_s: float
    apart_s: float
    outside_s: float


def measure(path: Path, flashes: Flashes, truth: Truth, start_s: float = 0.0, end_s: float | None = None) -> Errors:
    """Decode a span as `track` does, and compare.

    Raises:
        ValueError: flashes, beeps and truth differ in number.
    """
    frames = list(decode_video(path, start_s, end_s, fps=Fraction(CLIP_FPS)))
    sound = decode_audio(path, start_s, start_s + len(frames) / CLIP_FPS)
    ticks_s, pts_s = (np.array([getattr(frame, name) for frame in frames]) for name in ("time_s", "pts_s"))
    shown = np.searchsorted(truth.frame_idx, [read_number(frame) for frame in frames])
    true_s, until_s = truth.times_s[shown], np.append(truth.times_s[1:], np.inf)[shown]
    lit = np.array([is_bright(frame) for frame in frames])
    flash_s = ticks_s[_rises(lit)]
    beep_s = start_s + beeps_s(sound)
    true_flash_s = truth.times_s[_rises(flashes.bright[truth.frame_idx])]
    true_beep_s = truth.heard_s(flashes.onsets_s)
    found = [
        onsets_s[(onsets_s > max(start_s, truth.times_s[0]) + MARGIN_S) & (onsets_s < ticks_s[-1] - MARGIN_S)]
        for onsets_s in (flash_s, beep_s, true_flash_s, true_beep_s)
    ]
    if len({len(onsets_s) for onsets_s in found}) > 1 or len(found[0]) == 0:
        raise ValueError("flashes at {}, beeps at {}; in truth {} and {}".format(*found))
    flash_s, beep_s, true_flash_s, true_beep_s = found
    middle_s = ticks_s + 0.5 / CLIP_FPS
    early_s = np.where(shown == 0, -1.0, true_s - middle_s)  # the first stands in for what is before it
    late_s = np.where(shown == shown.max(), -1.0, middle_s - until_s)  # what follows the last may be cut off
    return Errors(
        pts_s=np.abs(pts_s - true_s).max(),
        beep_s=np.abs(beep_s - true_beep_s).max(),
        flash_s=np.abs(flash_s - true_flash_s).max(),
        apart_s=np.abs((flash_s - beep_s) - (true_flash_s - true_beep_s)).max(),
        outside_s=float(np.maximum(early_s, late_s).max()),
    )


def _rises(lit: np.ndarray) -> np.ndarray:
    return np.flatnonzero(lit[1:] & ~lit[:-1]) + 1


def read_number(frame: VideoFrame) -> int:
    """The number painted into a frame of any size."""
    height, width = frame.rgb.shape[:2]
    centres = ((np.arange(NUM_BITS) + 0.5) / NUM_BITS * CODE_SHARE * width).astype(int)
    bits = frame.rgb[height // 2, centres].mean(axis=1) > 128
    return int("".join("1" if bit else "0" for bit in bits), 2)


def is_bright(frame: VideoFrame) -> bool:
    height, width = frame.rgb.shape[:2]
    return frame.rgb[height // 2, round(0.8 * width) : round(0.95 * width)].mean() > 128


def beeps_s(sound: np.ndarray) -> np.ndarray:
    """Times at which sound becomes loud after 60 ms of less."""
    loud = np.flatnonzero(np.abs(sound) > 0.25 * np.abs(sound).max())
    return loud[np.diff(loud, prepend=-9_999) > 0.06 * AUDIO_RATE_HZ] / AUDIO_RATE_HZ


def make(folder: Path, variant: Variant, events_s: Sequence[float] = EVENTS_S) -> tuple[Path, Flashes, Truth]:
    """A flash-and-beep file of this variant, what is in it, and when."""
    flashes = flash_clip(variant.times_s(LENGTH_S), events_s)
    path = folder / f"a.{variant.container}"
    return path, flashes, write_variant(path, flashes.clip, variant)


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.wild.timing", __doc__)
    parser.add_argument("variants", nargs="*", help="names, or parts of names; all without any")
    wanted = parser.parse_args(arguments).variants
    chosen = [v for v in VARIANTS if not wanted or any(part in v.name for part in wanted)]
    print(f"{'worst error, ms':32} {'clock':>7} {'beep':>7} {'flash':>7} {'apart':>7} {'outside':>7}")
    for variant in chosen:
        with tempfile.TemporaryDirectory() as folder:
            path, flashes, truth = make(Path(folder), variant)
            worst = measure(path, flashes, truth)
        figures = (worst.pts_s, worst.beep_s, worst.flash_s, worst.apart_s, worst.outside_s)
        print(f"{variant.name:32} " + " ".join(f"{1000 * figure:7.2f}" for figure in figures), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
