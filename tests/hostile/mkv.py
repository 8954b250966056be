"""A Matroska writer that obeys: any number, size, rate and timestamp stands in the file as asked.

FFmpeg's own muxers refuse what a hostile file holds. Source of the element names: RFC 9559.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

EBML, SEGMENT, INFO, TRACKS, TRACK = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0xAE
CLUSTER, CLUSTER_TIME, SIMPLE_BLOCK, BLOCK_GROUP, BLOCK, BLOCK_DURATION = 0x1F43B675, 0xE7, 0xA3, 0xA0, 0xA1, 0x9B
TIMESTAMP_SCALE, DURATION = 0x2AD7B1, 0x4489


def element(name: int, *content: bytes) -> bytes:
    body = b"".join(content)
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + (len(body) | 1 << 56).to_bytes(8, "big") + body


def number(name: int, value: int) -> bytes:
    return element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def real(name: int, value: float) -> bytes:
    return element(name, struct.pack(">d", value))


def text(name: int, value: str) -> bytes:
    return element(name, value.encode())


@dataclass(frozen=True)
class Video:
    """A video track as its header describes it; `frame_ns` is the declared length of a frame, 0 for none."""

    codec: str = "V_MPEG4/ISO/AVC"
    size_px: tuple[int, int] = (160, 96)
    private: bytes = b""
    frame_ns: int = 40_000_000

    def entry(self, number_: int) -> bytes:
        picture = element(0xE0, number(0xB0, self.size_px[0]), number(0xBA, self.size_px[1]))
        rate = number(0x23E383, self.frame_ns) if self.frame_ns else b""
        return _track(number_, 1, self.codec, self.private, rate + picture)


@dataclass(frozen=True)
class Audio:
    """A sound track as its header describes it."""

    codec: str = "A_PCM/INT/LIT"
    rate_hz: float = 16_000.0
    num_channels: int = 1
    bits: int = 16
    private: bytes = b""

    def entry(self, number_: int) -> bytes:
        sound = element(0xE1, real(0xB5, self.rate_hz), number(0x9F, self.num_channels), number(0x6264, self.bits))
        return _track(number_, 2, self.codec, self.private, sound)


def _track(number_: int, kind: int, codec: str, private: bytes, more: bytes) -> bytes:
    named = number(0xD7, number_) + number(0x73C5, number_) + number(0x83, kind) + text(0x86, codec)
    return element(TRACK, named, element(0x63A2, private) if private else b"", more)


@dataclass(frozen=True)
class Packet:
    """One frame of a track (counted from 1) at a time in ticks, and how many ticks it lasts, if that is told."""

    track: int
    ticks: int
    content: bytes
    duration_ticks: int | None = None


def write_mkv(
    path: Path,
    tracks: Sequence[Video | Audio],
    packets: Iterable[Packet],
    *,
    duration_ticks: float | None = None,
    tick_ns: int = 1_000_000,
    more: bytes = b"",
) -> Path:
    """Every packet in a cluster of its own, so that its time may be any 64-bit number.

    Args:
        more: elements behind the tracks.
    """
    duration = real(DURATION, duration_ticks) if duration_ticks is not None else b""
    info = element(INFO, number(TIMESTAMP_SCALE, tick_ns), duration, text(0x4D80, "x"), text(0x5741, "x"))
    listed = element(TRACKS, *(track.entry(k) for k, track in enumerate(tracks, start=1)))
    header = element(EBML, number(0x4286, 1), text(0x4282, "matroska"), number(0x4287, 4), number(0x4285, 2))
    path.write_bytes(header + element(SEGMENT, info, listed, more, *(_cluster(packet) for packet in packets)))
    return path


def _cluster(packet: Packet) -> bytes:
    head = (0x80 | packet.track) if packet.track < 127 else (0x4000 | packet.track)
    block = head.to_bytes(1 if packet.track < 127 else 2, "big") + struct.pack(">hB", 0, 0x80) + packet.content
    if packet.duration_ticks is None:
        inside = element(SIMPLE_BLOCK, block)
    else:
        inside = element(BLOCK_GROUP, element(BLOCK, block), number(BLOCK_DURATION, packet.duration_ticks))
    return element(CLUSTER, number(CLUSTER_TIME, packet.ticks & (1 << 64) - 1), inside)
