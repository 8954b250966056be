"""Hostile media, each made for real on the spot, and what has to become of it: stage and reason.

They pass a policy that asks for almost nothing, so a file without a fault gets as far as `track`, which finds no face.
"""

from __future__ import annotations

import struct
import subprocess
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import cv2
import imageio_ffmpeg
import numpy as np

from benchmarks.known.media_files import coded_frame, tone, write_media
from tests.hostile.h264 import headers, key_frame
from tests.hostile.mkv import Audio, Packet, Video, write_mkv
from tests.hostile.mp4 import Index, box, full, jpeg_entry, write_mp4

HUGE_PX = 16_000  # FFmpeg itself refuses from 16,256 on
LENGTH_MS = 5_000
PICTURES = [headers(160, 96) + key_frame(k) for k in range(2)]
SILENCE_100_MS = bytes(3_200)
SOUND = [Packet(2, ms, SILENCE_100_MS) for ms in range(0, LENGTH_MS, 100)]
EVEN_MS = range(0, LENGTH_MS, 40)


def pictures(times_ms: Iterable[int], duration_ms: int | None = None) -> list[Packet]:
    return [Packet(1, ms, PICTURES[k % 2], duration_ms) for k, ms in enumerate(times_ms)]


def _mkv(
    path: Path,
    packets: list[Packet] | None = None,
    video: Video | None = None,
    audio: Audio | None = None,
    duration: float | None = LENGTH_MS,
    **more,
) -> Path:
    packets = packets if packets is not None else pictures(EVEN_MS) + SOUND
    return write_mkv(path, [video or Video(), audio or Audio()], packets, duration_ticks=duration, **more)


def _png(width_px: int, height_px: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    press = zlib.compressobj(9)
    rows = b"".join(press.compress(bytes(1 + width_px)) for _ in range(height_px)) + press.flush()
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _png_track(width_px: int, height_px: int) -> Video:
    header = struct.pack("<IIIHH4s5I", 40, width_px, height_px, 1, 24, b"MPNG", 0, 0, 0, 0, 0)
    return Video("V_MS/VFW/FOURCC", (width_px, height_px), header)


def huge_h264(path: Path) -> Path:
    """Frames of 16000x16000 px in 20 kB."""
    frame = headers(HUGE_PX, HUGE_PX) + key_frame()
    return _mkv(path, [Packet(1, ms, frame) for ms in EVEN_MS] + SOUND, Video(size_px=(HUGE_PX, HUGE_PX)))


def huge_h264_ts(path: Path) -> Path:
    """The same in a container whose streams show themselves only by being read."""
    source = huge_h264(path.with_suffix(".mkv"))
    with av.open(str(source), options={"max_pixels": "1000"}) as read, av.open(str(path), "w") as written:
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        for packet in read.demux(stream):
            if packet.size:
                packet.stream = copy
                written.mux(packet)
    return path


def huge_png(path: Path) -> Path:
    packed = _png(HUGE_PX, HUGE_PX)
    return _mkv(path, [Packet(1, ms, packed) for ms in (0, 40)] + SOUND, _png_track(HUGE_PX, HUGE_PX))


def large_pngs(path: Path) -> Path:
    """Two seconds of the largest frames that are decoded, 9 kB each."""
    packed = _png(4096, 2304)
    return _mkv(path, [Packet(1, ms, packed) for ms in range(0, 2000, 40)] + SOUND, _png_track(4096, 2304))


def grows(path: Path) -> Path:
    """Small frames for two seconds, then huge ones."""
    frames = [*[headers(160, 96) + key_frame()] * 50, *[headers(HUGE_PX, HUGE_PX) + key_frame()] * 75]
    return _mkv(path, [Packet(1, 40 * k, frame) for k, frame in enumerate(frames)] + SOUND)


def changes_size(path: Path) -> Path:
    frames = [*[headers(160, 96) + key_frame()] * 50, *[headers(320, 192) + key_frame(0, 240)] * 75]
    return _mkv(path, [Packet(1, 40 * k, frame) for k, frame in enumerate(frames)] + SOUND)


def empty(path: Path) -> Path:
    path.touch()
    return path


def many_boxes(path: Path) -> Path:
    path.write_bytes(box("ftyp", b"qt  ", bytes(4)) + box("free") * 10**6)
    return path


def ten_hours_still(path: Path) -> Path:
    return _mkv(path, pictures(range(0, 36_000_000, 10_000)) + SOUND, duration=36_000_000)


def one_frame_of_ten_hours(path: Path) -> Path:
    return _mkv(path, [*pictures([0], 36_000_000), *SOUND], duration=36_000_000)


def still(path: Path) -> Path:
    """Three hours, and says so."""
    return _mkv(path, pictures(range(0, 10_800_000, 10_000)) + SOUND, Video(frame_ns=10**10), duration=10_800_000)


def still_that_lies(path: Path) -> Path:
    """A frame every ten seconds that calls itself 25 a second: nobody sees it before `track` has looked at it."""
    return _mkv(path, pictures(range(0, 60_000, 10_000)) + SOUND, duration=51_000)


def ten_hours_of_silence(path: Path) -> Path:
    """In 40 kB: one sample a second."""
    sound = [Packet(2, 1000 * k, bytes(100)) for k in range(0, 36_000, 100)]
    return _mkv(path, pictures(EVEN_MS) + sound, audio=Audio(rate_hz=1, bits=8), duration=36_000_000)


def many_tracks_mkv(path: Path) -> Path:
    """900 tracks; FFmpeg stops at 100, and those are read."""
    return write_mkv(path, [Video(), *[Audio()] * 899], pictures(EVEN_MS) + SOUND, duration_ticks=LENGTH_MS)


def _jpegs() -> list[bytes]:
    return [cv2.imencode(".jpg", coded_frame(k))[1].tobytes() for k in range(100)]


def _mov(path: Path, index: Callable[[list[int]], Index], **more) -> Path:
    """Four seconds of pictures with a hostile index, and no sound."""
    packed = _jpegs()
    sizes = [len(jpeg) for jpeg in packed]
    return write_mp4(path, packed, (jpeg_entry(), "vide", index(sizes)), **more)


def many_tracks_mov(path: Path) -> Path:
    packed = _jpegs()
    return write_mp4(path, packed, *[(jpeg_entry(), "vide", Index(sizes=[len(jpeg) for jpeg in packed]))] * 2000)


def index_of_a_billion(path: Path) -> Path:
    return _mov(path, lambda sizes: Index(num_samples=10**9, size=1))


def fragment_of_100_million(path: Path) -> Path:
    """Twenty bytes that announce a hundred million samples."""
    defaults = box("mvex", full("trex", 0, 0, struct.pack(">5I", 1, 1, 40, 1, 0)))
    run = full("trun", 0, 0, struct.pack(">I", 10**8))
    fragment = box(
        "moof",
        full("mfhd", 0, 0, struct.pack(">I", 1)),
        box("traf", full("tfhd", 0, 0x20000, struct.pack(">I", 1)), run),
    )
    _mov(path, lambda sizes: Index(sizes=sizes))
    content = path.read_bytes()
    at = content.index(b"moov") - 4
    moov = content[at + 8 :]
    path.write_bytes(content[:at] + box("moov", moov, defaults) + fragment)
    return path


def edits_of_hours(path: Path) -> Path:
    """The same four seconds, 3,700 times over, by an edit list of 70 kB."""
    return _mov(path, lambda sizes: Index(sizes=sizes, edits=[(4000, 0, 1 << 16)] * 3_700))


def edit_of_ages(path: Path) -> Path:
    return _mov(path, lambda sizes: Index(sizes=sizes, edits=[(2**62, -1, 1 << 16), (4000, 0, 1 << 16)]))


def negative_lengths(path: Path) -> Path:
    negative = 2**32 - 40  # as FFmpeg reads it
    return _mov(path, lambda sizes: Index(sizes=sizes, times=[(50, 40), (50, negative)]))


def no_matrix(path: Path) -> Path:
    return _mov(path, lambda sizes: Index(sizes=sizes, matrix=bytes(36)))


def deep_boxes(path: Path) -> Path:
    nested = b""
    for _ in range(2_000):
        nested = box("moov", nested)
    return _mov(path, lambda sizes: Index(sizes=sizes), more=nested)


def cover_only(path: Path) -> Path:
    """Sound with a picture of itself, no video."""
    sound, cover = path.with_suffix(".wav"), path.with_suffix(".png")
    write_media(sound, sound=tone(1.0), audio_codec="pcm_s16le")
    cv2.imwrite(str(cover), np.zeros((64, 64, 3), np.uint8))
    tool = imageio_ffmpeg.get_ffmpeg_exe()
    inputs = ["-i", str(sound), "-i", str(cover), "-map", "0", "-map", "1"]
    subprocess.run(
        [tool, "-v", "error", *inputs, "-c:v", "copy", "-disposition:v", "attached_pic", str(path)], check=True
    )
    return path


def annex_b(path: Path) -> Path:
    """A bare H.264 stream: no timestamp anywhere."""
    path.write_bytes(b"".join(PICTURES) * 60)
    return path


def crowded(path: Path) -> Path:
    """Ten thousand frames within 10 ms, under a header that says 25 a second."""
    packets = [Packet(1, 1000 * k, PICTURES[k % 2]) for k in range(10_000)]
    sound = [Packet(2, packet.ticks * 1_000_000, packet.content) for packet in SOUND]
    return write_mkv(path, [Video(), Audio()], packets + sound, duration_ticks=5e9, tick_ns=1)


Make = Callable[[Path], Path]

HOSTILE: dict[str, tuple[Make, str, str]] = {
    # Frames.
    "huge_h264.mkv": (huge_h264, "probe", "too_large"),
    "huge_h264.ts": (huge_h264_ts, "probe", "too_large"),
    "huge_png.mkv": (huge_png, "probe", "too_large"),
    "large_pngs.mkv": (large_pngs, "track", "no_face"),
    "grows.mkv": (grows, "scan", "too_large"),
    "changes_size.mkv": (changes_size, "scan", "corrupt"),
    "crowded.mkv": (crowded, "scan", "corrupt"),
    # Lengths.
    "empty.mp4": (empty, "probe", "corrupt"),
    "ten_hours_still.mkv": (ten_hours_still, "crawl", "too_long"),
    "one_frame_of_ten_hours.mkv": (one_frame_of_ten_hours, "crawl", "too_long"),
    "still.mkv": (still, "probe", "low_fps"),
    "still_that_lies.mkv": (still_that_lies, "track", "no_face"),
    "ten_hours_of_silence.mkv": (ten_hours_of_silence, "crawl", "too_long"),
    "declares_30_years.mkv": (lambda p: _mkv(p, duration=1e12), "probe", "truncated"),
    "length_nan.mkv": (lambda p: _mkv(p, duration=float("nan")), "track", "no_face"),
    "length_infinite.mkv": (lambda p: _mkv(p, duration=float("inf")), "track", "no_face"),
    "length_zero.mkv": (lambda p: _mkv(p, duration=0.0), "track", "no_face"),
    "length_negative.mkv": (lambda p: _mkv(p, duration=-5e3), "track", "no_face"),
    "frame_of_30_years.mkv": (
        lambda p: _mkv(p, [*pictures(EVEN_MS[:-1]), *pictures([4960], 10**12), *SOUND]),
        "crawl",
        "too_long",
    ),
    # Timestamps.
    "backwards.mkv": (lambda p: _mkv(p, pictures(reversed(EVEN_MS)) + SOUND), "probe", "corrupt"),
    "jump_of_days.mkv": (lambda p: _mkv(p, pictures([*EVEN_MS, 3 * 86_400_000]) + SOUND), "crawl", "too_long"),
    "near_2_63.mkv": (
        lambda p: _mkv(p, pictures(2**63 - 10**6 + ms for ms in EVEN_MS) + SOUND),
        "probe",
        "too_long",
    ),
    "negative.mkv": (lambda p: _mkv(p, pictures(ms - 10**12 for ms in EVEN_MS) + SOUND), "probe", "corrupt"),
    "all_equal.mkv": (lambda p: _mkv(p, pictures([0] * 200) + SOUND), "probe", "corrupt"),
    "none.h264": (annex_b, "probe", "corrupt"),
    "negative_lengths.mov": (negative_lengths, "probe", "no_audio"),
    # Rates.
    "fps_100000.mkv": (
        lambda p: _mkv(p, pictures(range(100)) + SOUND, Video(frame_ns=10_000)),
        "probe",
        "corrupt",
    ),
    "fps_1_in_1000.mkv": (lambda p: _mkv(p, pictures([0, 10**6]) + SOUND, Video(frame_ns=10**12)), "probe", "low_fps"),
    # Sound.
    "sound_of_1_hz.mkv": (
        lambda p: _mkv(p, [*pictures(EVEN_MS), Packet(2, 0, bytes(5_000))], audio=Audio(rate_hz=1, bits=8)),
        "hear",
        "corrupt",
    ),
    "sound_of_0_hz.mkv": (lambda p: _mkv(p, audio=Audio(rate_hz=0)), "hear", "corrupt"),
    "sound_of_768_khz.mkv": (lambda p: _mkv(p, audio=Audio(rate_hz=768_000)), "track", "no_face"),
    "sound_of_64_channels.mkv": (
        lambda p: _mkv(
            p, [*pictures(EVEN_MS), *(Packet(2, s.ticks, bytes(204_800)) for s in SOUND)], audio=Audio(num_channels=64)
        ),
        "hear",
        "corrupt",
    ),
    "sound_in_one_packet.mkv": (
        lambda p: _mkv(p, [*pictures(EVEN_MS), Packet(2, 0, bytes(10**6))], audio=Audio(rate_hz=4_000, bits=8)),
        "hear",
        "corrupt",
    ),
    "sound_all_at_once.mkv": (
        lambda p: _mkv(p, pictures(EVEN_MS) + [Packet(2, 0, SILENCE_100_MS)] * 500),
        "hear",
        "corrupt",
    ),
    "sound_backwards.mkv": (lambda p: _mkv(p, pictures(EVEN_MS) + SOUND[::-1]), "hear", "corrupt"),
    "sound_of_30_years.mkv": (
        lambda p: _mkv(p, [*pictures(EVEN_MS), *SOUND, Packet(2, 10**12, SILENCE_100_MS)]),
        "crawl",
        "too_long",
    ),
    # Tracks and indices.
    "many_tracks.mkv": (many_tracks_mkv, "track", "no_face"),
    "many_tracks.mov": (many_tracks_mov, "probe", "too_large"),
    "index_of_a_billion.mov": (index_of_a_billion, "probe", "corrupt"),
    "fragment_of_100_million.mov": (fragment_of_100_million, "probe", "too_large"),
    "edits_of_hours.mov": (edits_of_hours, "crawl", "too_long"),
    "edit_of_ages.mov": (edit_of_ages, "probe", "no_audio"),
    "no_matrix.mov": (no_matrix, "probe", "no_audio"),
    "deep_boxes.mov": (deep_boxes, "probe", "no_audio"),
    "many_boxes.mp4": (many_boxes, "probe", "corrupt"),
    "cover_only.mp3": (cover_only, "probe", "no_video"),
}
