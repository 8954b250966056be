"""H.264 headers of any frame size, small enough to be typed: a picture of 16384x16384 in 30 bytes.

Source: ITU-T H.264, 7.3.2.1 (sequence), 7.3.2.2 (picture), 7.3.3 (slice).
"""

from __future__ import annotations

START = b"\0\0\0\1"


def _exp_golomb(value: int) -> str:
    bits = bin(value + 1)[2:]
    return "0" * (len(bits) - 1) + bits


def _unit(kind: int, *bits: str) -> bytes:
    """A NAL unit with its stop bit; a zero byte pair gets its escape."""
    joined = "".join(bits) + "1"
    joined += "0" * (-len(joined) % 8)
    body = int(joined, 2).to_bytes(len(joined) // 8, "big")
    for last in range(4):
        body = body.replace(bytes([0, 0, last]), bytes([0, 0, 3, last]))
    return START + bytes([kind]) + body


def headers(width_px: int, height_px: int) -> bytes:
    """Sequence and picture parameters: Baseline, level 6.2, one reference frame."""
    sequence = _unit(
        0x67,
        f"{66:08b}{0:08b}{62:08b}",  # profile, constraints, level
        _exp_golomb(0) + _exp_golomb(0) + _exp_golomb(2) + _exp_golomb(1) + "0",
        _exp_golomb(width_px // 16 - 1) + _exp_golomb(height_px // 16 - 1),
        "1" + "1" + "0" + "0",  # frames only, direct 8x8, no cropping, no VUI
    )
    entropy, groups, references = _exp_golomb(0) * 2 + "00", _exp_golomb(0), _exp_golomb(0) * 2
    picture = _unit(0x68, entropy, groups, references, "000", _exp_golomb(0) * 3, "000")
    return sequence + picture


def key_frame(idr_id: int = 0, num_macroblocks: int = 60) -> bytes:
    """A flat grey intra picture; of a larger one the decoder has to conceal the macroblocks that are missing."""
    header = _exp_golomb(0) + _exp_golomb(7) + _exp_golomb(0) + "0000" + _exp_golomb(idr_id) + "00" + _exp_golomb(0)
    flat = _exp_golomb(3) + _exp_golomb(0) + _exp_golomb(0) + "1"
    return _unit(0x65, header, flat * num_macroblocks)
