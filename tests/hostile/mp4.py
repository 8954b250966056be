"""An MP4 writer that obeys: counts, durations and edits stand in the file as asked, whatever is behind them.

Source of the boxes: ISO/IEC 14496-12.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
TICKS_HZ = 1000


def box(kind: str, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind.encode("latin-1") + body


def full(kind: str, version: int, flags: int, *content: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *content)


@dataclass(frozen=True)
class Index:
    """The sample table of a track: what it claims, not what is there.

    Args:
        sizes: bytes of each sample; empty for `num_samples` samples of `size` bytes.
        times: (count, ticks) runs of sample lengths.
        edits: (ticks, start in the media, rate) of the edit list.
        reference: entry of the data reference box; empty for "in this file".
    """

    sizes: Sequence[int] = ()
    num_samples: int = 0
    size: int = 0
    times: Sequence[tuple[int, int]] = ()
    edits: Sequence[tuple[int, int, int]] = ()
    length_ticks: int = 4000
    reference: bytes = b""
    matrix: bytes = MATRIX


def track(number: int, entry: bytes, handler: str, index: Index, at: int) -> bytes:
    """A `trak` box whose samples lie in one chunk at byte `at`."""
    header = struct.pack(">QQIIQ", 0, 0, number, 0, index.length_ticks) + bytes(16) + index.matrix
    edits = b"".join(struct.pack(">Qqi", *edit) for edit in index.edits)
    edit_list = box("edts", full("elst", 1, 0, struct.pack(">I", len(index.edits)), edits)) if edits else b""
    media_header = full("mdhd", 1, 0, struct.pack(">QQIQI", 0, 0, TICKS_HZ, index.length_ticks, 0))
    kind = full("hdlr", 0, 0, struct.pack(">I4s", 0, handler.encode()), bytes(13))
    num_samples = len(index.sizes) or index.num_samples
    sizes = b"".join(struct.pack(">I", size) for size in index.sizes)
    times = index.times or [(num_samples, 40)]
    reference = index.reference or full("url ", 0, 1)
    table = box(
        "stbl",
        full("stsd", 0, 0, struct.pack(">I", 1), entry),
        full("stts", 0, 0, struct.pack(">I", len(times)), *(struct.pack(">II", *run) for run in times)),
        full("stsc", 0, 0, struct.pack(">4I", 1, 1, num_samples, 1)),
        full("stsz", 0, 0, struct.pack(">II", 0 if sizes else index.size, num_samples), sizes),
        full("stco", 0, 0, struct.pack(">II", 1, at)),
    )
    about = full("vmhd", 0, 1, bytes(8)) if handler == "vide" else full("smhd", 0, 0, bytes(4))
    data = box("dinf", full("dref", 0, 0, struct.pack(">I", 1), reference))
    media = box("mdia", media_header, kind, box("minf", about, data, table))
    return box("trak", full("tkhd", 1, 7, header, struct.pack(">II", 0, 0)), edit_list, media)


def jpeg_entry(width_px: int = 160, height_px: int = 96) -> bytes:
    return box("jpeg", bytes(6), struct.pack(">H", 1), bytes(16), struct.pack(">HH", width_px, height_px), bytes(50))


def write_mp4(
    path: Path,
    pictures: Sequence[bytes],
    *tracks: tuple[bytes, str, Index],
    length_ticks: int = 4000,
    more: bytes = b"",
) -> Path:
    """A QuickTime file: its media data first, then an index of these tracks; `more` follows behind."""
    start = box("ftyp", b"qt  ", bytes(4), b"qt  ")
    data = box("mdat", *pictures)
    header = full("mvhd", 1, 0, struct.pack(">QQIQ", 0, 0, TICKS_HZ, length_ticks), bytes(16), MATRIX, bytes(28))
    traks = (track(k, *about, at=len(start) + 8) for k, about in enumerate(tracks, start=1))
    path.write_bytes(start + data + box("moov", header, *traks) + more)
    return path
