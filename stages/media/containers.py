"""What the bytes of a file say when no demuxer can open it: cut short, damaged, or no media at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stages.core.reasons import Dropped, DropReason

MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "MP4"),
    (4, b"moov", "MP4"),
    (4, b"mdat", "MP4"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska"),
    (0, b"RIFF", "RIFF"),
    (0, b"FLV\x01", "FLV"),
    (0, b"OggS", "Ogg"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF"),
)
"""Offset, bytes and name of the containers that video comes in."""
MAX_BOXES = 100_000
"""Top-level boxes of an MP4 file that are read: four hours in fragments of 0.3 s."""
SEGMENT_ID = b"\x18\x53\x80\x67"
"""The Matroska element that holds everything behind the header."""


def iso_boxes(path: Path) -> Iterator[tuple[str, int, int]]:
    """Type, start and declared end (bytes) of the top-level boxes of an MP4 file; the last may end behind the file.

    Source: ISO/IEC 14496-12, 4.2.
    """
    num_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = 0
        for _ in range(MAX_BOXES):
            if start + 8 > num_bytes:
                return
            file.seek(start)
            header = file.read(16)
            size, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if size == 1:
                size = int.from_bytes(header[8:16], "big")
            elif size == 0:  # to the end of the file
                size = num_bytes - start
            if size < 8 or not all(32 <= byte < 127 for byte in kind):
                return
            yield kind.decode("ascii"), start, start + size
            start += size


def _ebml_number(file: BinaryIO) -> tuple[int, bool]:
    """A variable-length number at the file's position, and whether it stands for "unknown" (all bits set)."""
    first = int.from_bytes(file.read(1), "big")
    num_more = 8 - first.bit_length()
    if num_more > 7:  # no number, or the end of the file
        return 0, True
    value = int.from_bytes(bytes([first & ((1 << (7 - num_more)) - 1)]) + file.read(num_more), "big")
    return value, value == (1 << (7 * (num_more + 1))) - 1


def declared_end(path: Path) -> int | None:
    """Bytes that a file should have by its own header; None where the header does not say.

    Source: ISO/IEC 14496-12 (MP4 boxes), RFC 8794 (EBML), RIFF.
    """
    kind, num_bytes = _container_kind(path), path.stat().st_size
    if kind == "MP4":
        return max((end for _, _, end in iso_boxes(path)), default=None)
    with path.open("rb") as file:
        if kind == "RIFF":
            file.seek(4)
            return 8 + int.from_bytes(file.read(4), "little")
        if kind == "Matroska":
            file.seek(4)
            size, unknown = _ebml_number(file)
            file.seek(min(size, num_bytes), 1)
            if not unknown and file.read(4) == SEGMENT_ID:
                size, unknown = _ebml_number(file)
                return None if unknown else file.tell() + size
    return None


def raise_if_no_file(path: Path) -> None:
    """Raises Dropped NOT_VIDEO for what has no end, or keeps whoever opens it waiting: folders, pipes, devices."""
    if path.exists() and not path.is_file():
        raise Dropped(DropReason.NOT_VIDEO, f"{path.name} is a folder, a pipe or a device")


def raise_if_cut_short(path: Path) -> None:
    """Raises Dropped TRUNCATED if the file is shorter than its header says."""
    num_bytes, end = path.stat().st_size, declared_end(path)
    if end is not None and end > num_bytes:
        raise Dropped(DropReason.TRUNCATED, f"{path.name} has {num_bytes} of {end} bytes")


def explain_unreadable(path: Path, error: str) -> Dropped:
    """Why a file that FFmpeg rejected cannot be used: NOT_VIDEO, TRUNCATED or CORRUPT."""
    num_bytes, kind = path.stat().st_size, _container_kind(path)
    if num_bytes == 0:
        return Dropped(DropReason.CORRUPT, f"{path.name} is empty")
    if kind is None:
        return Dropped(DropReason.NOT_VIDEO, f"{path.name} begins like no media file that is read here")
    end = declared_end(path)
    if end is not None and end > num_bytes:
        return Dropped(DropReason.TRUNCATED, f"{path.name} has {num_bytes} of {end} bytes")
    if kind == "MP4":
        names = {name for name, _, _ in iso_boxes(path)}
        if "mdat" in names and "moov" not in names:
            return Dropped(DropReason.TRUNCATED, f"{path.name} has media data but no index: it was never finished")
    return Dropped(DropReason.CORRUPT, f"{path.name} looks like {kind}, but cannot be read: {error}")


def _container_kind(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(16)
    return next((name for offset, magic, name in MAGIC if head[offset : offset + len(magic)] == magic), None)
