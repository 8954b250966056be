"""Tiny real media with known content: every frame carries its number, every sound its clicks.

The number is written as ten vertical bars, black or white, so that it survives lossy coding, scaling and cropping to
even sizes; `read_code` gets it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

NUM_BITS = 10
TICKS_HZ = 90_000


def coded_frame(number: int, width: int = 160, height: int = 96) -> np.ndarray:
    """(height, width, 3) uint8: `number` as bars, most significant bit on the left."""
    bits = [(number >> (NUM_BITS - 1 - bit)) & 1 for bit in range(NUM_BITS)]
    columns = np.repeat(np.array(bits), -(-width // NUM_BITS))[:width]
    return np.broadcast_to((40 + 180 * columns).astype(np.uint8)[None, :, None], (height, width, 3)).copy()


def read_code(rgb: np.ndarray) -> int:
    """The number that `coded_frame` wrote into an upright frame of any size."""
    bar = -(-rgb.shape[1] // NUM_BITS)
    centres = np.minimum(np.arange(NUM_BITS) * bar + bar // 2, rgb.shape[1] - 1)
    bits = rgb[rgb.shape[0] // 2, centres].mean(axis=1) > 128
    return int("".join("1" if bit else "0" for bit in bits), 2)


def clicks(times_s: Sequence[float], duration_s: float, rate_hz: int = 44_100) -> np.ndarray:
    """float32 (N,): silence with a 4 ms burst of 1 kHz that begins at each time."""
    sound = np.zeros(round(duration_s * rate_hz), np.float32)
    burst = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(round(0.004 * rate_hz)) / rate_hz)
    for time_s in times_s:
        at = round(time_s * rate_hz)
        sound[at : at + len(burst)] = burst[: len(sound) - at]
    return sound


def tone(duration_s: float, rate_hz: int = 44_100, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(duration_s * rate_hz)) / rate_hz)).astype(np.float32)


def write_media(
    path: Path,
    times_s: Sequence[float] = (),
    *,
    picture: Callable[[int, int, int], np.ndarray] = coded_frame,
    size_px: tuple[int, int] = (160, 96),
    video_codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rotation_deg: int = 0,
    key_frame_every: int = 12,
    sound: np.ndarray | None = None,
    sound_rate_hz: int = 44_100,
    sound_start_s: float = 0.0,
    sound_holes_s: Sequence[tuple[float, float]] = (),
    audio_codec: str = "aac",
    faststart: bool = False,
) -> Path:
    """Write a media file, frame by frame at the times given.

    Args:
        times_s: presentation time of each frame; frame k shows `picture(k, width, height)`.
        rotation_deg: clockwise rotation asked of the player by the display matrix.
        sound: mono or (channels, N), float32.
        sound_holes_s: spans of the sound whose packets are left out.
    """
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        packets = []
        if len(times_s):
            video: Any = container.add_stream(video_codec, rate=25)
            video.width, video.height, video.pix_fmt = *size_px, pixel_format
            video.codec_context.time_base = Fraction(1, TICKS_HZ) if video_codec != "mpeg4" else Fraction(1, 25)
            video.codec_context.gop_size = key_frame_every
            video.time_base = video.codec_context.time_base
            if rotation_deg:
                video.set_display_rotation(-rotation_deg)
            for k, time_s in enumerate(times_s):
                frame = av.VideoFrame.from_ndarray(picture(k, *size_px), format="rgb24")
                frame.time_base = video.codec_context.time_base
                frame.pts = round(time_s / video.codec_context.time_base)
                packets += video.encode(frame)
            packets += video.encode(None)
        if sound is not None:
            packets += _sound_packets(container, sound, sound_rate_hz, sound_start_s, sound_holes_s, audio_codec)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def _sound_packets(container, sound, rate_hz, start_s, holes_s, codec) -> list[av.Packet]:
    channels = np.atleast_2d(sound).astype(np.float32)
    layout = {1: "mono", 2: "stereo"}[len(channels)]
    stream = container.add_stream(codec, rate=rate_hz, layout=layout)
    block = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), "fltp", layout)
    block.sample_rate, block.time_base, block.pts = rate_hz, Fraction(1, rate_hz), round(start_s * rate_hz)
    packets = stream.encode(block) + stream.encode(None)
    return [packet for packet in packets if not any(a <= float(packet.pts * packet.time_base) < b for a, b in holes_s)]


def steady(num_frames: int, fps: float = 25.0, start_s: float = 0.0) -> list[float]:
    return [start_s + k / fps for k in range(num_frames)]


def cut_bytes(path: Path, share: float) -> Path:
    """A copy of a file that ends after this share of its bytes."""
    content = path.read_bytes()
    short = path.with_name(f"{path.stem}-cut{path.suffix}")
    short.write_bytes(content[: int(len(content) * share)])
    return short
