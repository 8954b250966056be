"""The technical ways in which crawled video comes, and the true times of what each file shows.

A `Variant` says how a file is made; `write_variant` makes it from a clean clip and returns where a player shows each
frame and begins the sound. What no container keeps (a negative start, say) is not in the table.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
import soxr
from av.audio.resampler import AudioResampler
from av.container import OutputContainer
from av.video.reformatter import ColorRange

NTSC = Fraction(1001, 1000)
TICKS_HZ = 90_000
SAMPLES_PER_BLOCK = 1024
"""Samples handed to the encoder at once, and packet size of codecs that take any number."""
COUNTING = ("mpeg4", "mpeg2video")
"""Codecs that allow no clock as fine as `TICKS_HZ`: their frames are counted."""
OPTIONS = {
    "libx265": {"crf": "20", "preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx-vp9": {"crf": "24", "deadline": "realtime", "cpu-used": "8"},
    "libvpx": {"crf": "10", "deadline": "realtime", "cpu-used": "8"},
    # Left to itself it paints parts of the next frame into pictures as small as these.
    "libsvtav1": {"crf": "20", "preset": "10", "svtav1-params": "pred-struct=1"},
    "vorbis": {"strict": "experimental"},
}
CHANNELS = {"mono": 1, "stereo": 2, "5.1": 6}
CENTRE = 2
"""The channel of 5.1 that voices are in."""
BY_CODEC = ("mkv", "webm")
"""Containers that hide an encoder's samples before sample 0."""
BY_EDIT = ("mp4", "mov")
"""Containers that hide samples before 0 by an edit list."""
MUXERS = {"mkv": "matroska", "ts": "mpegts"}


@dataclass(frozen=True)
class Clip:
    """What is to be seen and heard.

    Args:
        frames: (T, H, W, 3) uint8 RGB, upright.
        times_s: (T,) when each is shown, growing; the last one stays as long as the one before it.
        sound: (N,) float32, sample 0 at 0 s.
    """

    frames: np.ndarray
    times_s: np.ndarray
    sound: np.ndarray
    sound_rate_hz: int

    @property
    def end_s(self) -> float:
        return float(2 * self.times_s[-1] - self.times_s[-2])

    def shown_at(self, time_s: float) -> int:
        """The frame on display at a time; the first one before its time."""
        return max(0, int(np.searchsorted(self.times_s, time_s + 1e-6, side="right")) - 1)


@dataclass(frozen=True)
class Truth:
    """What a player shows of a file, on its clock: the earlier of picture and sound begins at 0.

    Args:
        frame_idx: (T,) the clip's frame that each frame of the file shows.
        times_s: (T,) when it is shown. Containers round it, Matroska and FLV by up to half a millisecond.
        sound_s: when sample 0 of the clip's sound is heard, which may be before 0.
        sound_length: of a second of the clip's sound.
    """

    frame_idx: np.ndarray
    times_s: np.ndarray
    sound_s: float
    sound_length: float = 1.0

    def heard_s(self, clip_s: np.ndarray) -> np.ndarray:
        """When moments of the clip's sound are heard."""
        return self.sound_s + clip_s * self.sound_length


@dataclass(frozen=True)
class Variant:
    """How a file is made.

    Args:
        rate: frames a second; None keeps the clip's own times.
        uneven: variable frame rate: frames of 12 to 70 ms and now and then one that stands for 300 ms.
        start_s: timestamps begin here, not at 0.
        video_skip_s: there are no pictures for this long, only sound, and
        sound_skip_s: no sound, only pictures. What comes is in step.
        trim_s: an edit list hides this much of the beginning of both.
        rotation_deg: clockwise, by the player, of pictures stored the other way round.
        aspect: width of a pixel over its height; pictures are stored narrower by it.
        bars: share of the picture's height that is black, above and below together.
        scale: factor on both sides.
        drift: the sound's timestamps run fast by this share, and
        jitter_s: they are wrong by up to this much.
        lost: every n-th packet of sound is missing; none at 0.
        keep: share of the file's bytes that is there.
    """

    name: str = ""
    container: str = "mp4"
    video: str = "libx264"
    audio: str = "aac"
    rate: Fraction | None = Fraction(25)
    uneven: bool = False
    pixel_format: str = "yuv420p"
    full_range: bool = False
    interlaced: bool = False
    bit_rate: int = 0
    b_frames: int = 2
    key_frame_every: int = 12
    sound_rate_hz: int = 44_100
    layout: str = "mono"
    start_s: float = 0.0
    video_skip_s: float = 0.0
    sound_skip_s: float = 0.0
    trim_s: float = 0.0
    rotation_deg: int = 0
    aspect: Fraction = Fraction(1)
    bars: float = 0.0
    scale: Fraction = Fraction(1)
    drift: float = 0.0
    jitter_s: float = 0.0
    lost: int = 0
    fragmented: bool = False
    keep: float = 1.0

    def times_s(self, duration_s: float) -> np.ndarray:
        """When the frames of a file of this length are shown, from 0 on."""
        if self.uneven:
            random = np.random.default_rng(7)
            steps = random.choice([0.012, 0.017, 0.033, 0.040, 0.050, 0.070, 0.300], 2000, p=[0.15] * 6 + [0.1])
            times = np.concatenate([[0.0], np.cumsum(steps)])
        else:
            times = np.arange(int(duration_s * float(self.rate or 25)) + 1) / float(self.rate or 25)
        return times[times < duration_s - 1e-6]


def _table() -> Iterator[Variant]:  # noqa: PLR0915 - a table, one statement a line
    for name, rate in {
        "23.976": 24 / NTSC, "24": Fraction(24), "25": Fraction(25), "29.97": 30 / NTSC, "30": Fraction(30),
        "50": Fraction(50), "59.94": 60 / NTSC, "60": Fraction(60), "15": Fraction(15),
    }.items():  # fmt: skip
        yield Variant(f"{name} fps", rate=rate)
    yield Variant("variable rate, mp4", uneven=True)
    yield Variant("variable rate, mkv", "mkv", uneven=True)
    yield Variant("29.97 fps, mkv", "mkv", rate=30 / NTSC)
    yield Variant("59.94 fps, flv", "flv", rate=60 / NTSC)
    for container in ("mp4", "mkv", "mov", "flv", "ts"):
        yield Variant(f"video late, {container}", container, video_skip_s=0.43)
        yield Variant(f"sound late, {container}", container, sound_skip_s=0.37)
    for container in ("mp4", "mkv", "ts"):
        yield Variant(f"both late, {container}", container, start_s=5.0)
    for container, video in (("webm", "libvpx-vp9"), ("mkv", "libx264"), ("mp4", "libx264")):
        yield Variant(f"Opus late, {container}", container, video, "libopus", sound_rate_hz=48_000, sound_skip_s=0.37)
    yield Variant("trimmed by edit list", trim_s=1.0)
    yield Variant("trimmed within a frame", trim_s=1.013, rate=30 / NTSC)
    yield Variant("trimmed within a frame, 24 fps", trim_s=1.003, rate=Fraction(24), key_frame_every=50)
    yield Variant("trimmed, B frames, 60 fps", trim_s=0.75, rate=Fraction(60), b_frames=3, key_frame_every=50)
    yield Variant("fragmented mp4", fragmented=True)
    yield Variant("fragmented mp4, sound late", fragmented=True, sound_skip_s=0.37)
    for degrees in (90, 180, 270):
        yield Variant(f"rotated by {degrees}", rotation_deg=degrees)
    yield Variant("HEVC", video="libx265")
    yield Variant("HEVC, 10 bits", "mkv", "libx265", pixel_format="yuv420p10le")
    yield Variant("H.264, 10 bits", pixel_format="yuv420p10le")
    yield Variant("VP9 and Opus", "webm", "libvpx-vp9", "libopus", sound_rate_hz=48_000)
    yield Variant("VP8 and Vorbis", "webm", "libvpx", "vorbis", layout="stereo")
    yield Variant("VP9, odd size", "webm", "libvpx-vp9", "libopus", sound_rate_hz=48_000, scale=Fraction(97, 96))
    yield Variant("AV1", "mp4", "libsvtav1", rate=Fraction(30))
    yield Variant("AV1 in Matroska", "mkv", "libsvtav1", "libopus", sound_rate_hz=48_000)
    yield Variant("MPEG-4 in AVI", "avi", "mpeg4", "ac3", sound_rate_hz=48_000, b_frames=0)
    yield Variant("MPEG-4 in AVI, PCM", "avi", "mpeg4", "pcm_s16le", rate=Fraction(30), b_frames=0)
    yield Variant("MPEG-2", "ts", "mpeg2video", "mp2", sound_rate_hz=48_000)
    yield Variant("MPEG-4", "mp4", "mpeg4", rate=30 / NTSC)
    yield Variant("H.264, many B frames", b_frames=8, key_frame_every=100)
    yield Variant("no B frames", b_frames=0)
    yield Variant("interlaced", "ts", interlaced=True)
    yield Variant("low bit rate", bit_rate=20_000)
    yield Variant("letterboxed", bars=0.25)
    yield Variant("anamorphic", aspect=Fraction(4, 3))
    yield Variant("full range", full_range=True)
    yield Variant("4:4:4, odd size", "mkv", pixel_format="yuv444p", scale=Fraction(97, 96))
    yield Variant("stereo", layout="stereo")
    yield Variant("5.1 AAC", layout="5.1", sound_rate_hz=48_000)
    yield Variant("5.1 AC-3", "mkv", audio="ac3", layout="5.1", sound_rate_hz=48_000)
    yield Variant("AC-3 in MPEG-TS", "ts", audio="ac3", sound_rate_hz=48_000)
    yield Variant("MP3", audio="libmp3lame")
    yield Variant("MP3 in FLV", "flv", audio="libmp3lame")
    yield Variant("MP3 in Matroska", "mkv", audio="libmp3lame")
    yield Variant("FLAC", "mkv", audio="flac")
    yield Variant("Vorbis in Matroska", "mkv", audio="vorbis", layout="stereo")
    yield Variant("PCM in QuickTime", "mov", audio="pcm_s16le")
    yield Variant("PCM in Matroska", "mkv", audio="pcm_s16le", sound_rate_hz=16_000)
    for rate_hz in (16_000, 22_050, 48_000):
        yield Variant(f"AAC, {rate_hz} Hz", sound_rate_hz=rate_hz)
    yield Variant("AAC, 16000 Hz, mkv", "mkv", sound_rate_hz=16_000)
    yield Variant("sound clock fast by 0.1 %", "mkv", drift=0.001)
    yield Variant("sound clock slow by 0.2 %", "mkv", audio="libopus", sound_rate_hz=48_000, drift=-0.002)
    yield Variant("sound clock unsteady by 8 ms", "mkv", sound_rate_hz=48_000, jitter_s=0.008)
    yield Variant("packets lost", "mkv", audio="libopus", sound_rate_hz=48_000, lost=40)
    yield Variant("cut short", "ts", keep=0.6)
    yield Variant("cut short, flv", "flv", keep=0.6, b_frames=0)


VARIANTS: tuple[Variant, ...] = tuple(_table())


def write_variant(path: Path, clip: Clip, variant: Variant) -> Truth:
    """Write `path`, whatever its suffix, in the variant's container.

    Raises:
        av.error.FFmpegError: the container cannot carry these codecs.
    """
    steady = clip.times_s if variant.rate is None and not variant.uneven else variant.times_s(clip.end_s)
    times_s = steady[steady >= variant.video_skip_s - 1e-6]
    shown = np.array([clip.shown_at(time_s) for time_s in times_s])
    muxer = MUXERS.get(variant.container, variant.container)
    options = {"movflags": "frag_keyframe+delay_moov"} if variant.fragmented else {}
    with _scheduled_as_before(), av.open(str(path), "w", format=muxer, options=options) as container:
        packets = _pictures(container, clip, variant, times_s) + _sound(container, clip, variant)
        first_s = [min(_pts_s(p) for p in packets if p.stream.type == kind) for kind in ("video", "audio")]
        for packet in sorted(packets, key=lambda packet: cast(int, packet.dts) * packet.time_base):
            container.mux(packet)
    sound_s = variant.start_s
    if variant.container in BY_CODEC:
        first_s[1] = variant.start_s + variant.sound_skip_s
    elif variant.container in BY_EDIT:
        first_s[1] = max(0.0, first_s[1])
    elif variant.container == "avi":  # counts frames and samples, and what precedes sample 0 is heard as silence
        sound_s, first_s = -first_s[1], [0.0, 0.0]
    origin_s = min(first_s)
    times_s = times_s + variant.start_s
    if variant.video in COUNTING:
        times_s = np.rint(times_s * float(variant.rate or 25)) / float(variant.rate or 25)
    times_s = times_s - origin_s
    if variant.trim_s:
        _trim(path, variant.trim_s)
        left = times_s >= variant.trim_s - 1e-6
        shown, times_s, origin_s = shown[left], times_s[left] - variant.trim_s, origin_s + variant.trim_s
    if variant.keep < 1:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * variant.keep)])
    return Truth(shown, times_s, sound_s - origin_s, 1 + variant.drift)


@contextmanager
def _scheduled_as_before() -> Iterator[None]:
    """SVT-AV1 makes root's thread that opens it a real-time one, which all others wait for, and leaves it so."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _pts_s(packet: av.Packet) -> float:
    return float(cast(int, packet.pts) * packet.time_base)


def _pictures(container: OutputContainer, clip: Clip, variant: Variant, times_s: np.ndarray) -> list[av.Packet]:
    options = {"preset": "ultrafast", "bf": str(variant.b_frames)} if variant.video == "libx264" else {}
    options |= OPTIONS.get(variant.video, {})
    if variant.video == "libx264" and not variant.bit_rate:
        options["crf"] = "18"
    if variant.interlaced:
        options["x264-params"] = "tff=1"
    rate = variant.rate or Fraction(25)
    stream: Any = container.add_stream(variant.video, rate=rate, options=options)
    first = _picture(clip, variant, times_s[0])
    stream.height, stream.width, stream.pix_fmt = *first.shape[:2], variant.pixel_format
    context = stream.codec_context
    context.gop_size, context.max_b_frames = variant.key_frame_every, variant.b_frames
    context.time_base = 1 / rate if variant.video in COUNTING else Fraction(1, TICKS_HZ)
    context.sample_aspect_ratio = variant.aspect
    context.color_range = ColorRange.JPEG if variant.full_range else ColorRange.MPEG
    if variant.bit_rate:
        context.bit_rate = variant.bit_rate
    if variant.rotation_deg:
        stream.set_display_rotation(-variant.rotation_deg)
    packets = []
    ends_s = np.append(times_s[1:], clip.end_s)
    for time_s, end_s in zip(times_s, ends_s, strict=True):
        frame = av.VideoFrame.from_ndarray(_picture(clip, variant, time_s), format="rgb24")
        frame = frame.reformat(format=variant.pixel_format, dst_color_range=context.color_range)
        frame.time_base = context.time_base
        frame.pts = round((time_s + variant.start_s) / context.time_base)
        frame.duration = round((end_s - time_s) / context.time_base)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _picture(clip: Clip, variant: Variant, time_s: float) -> np.ndarray:
    """What is stored for the moment: squeezed, framed in black and turned as the variant wants it."""
    rgb = clip.frames[clip.shown_at(time_s)]
    if variant.interlaced:  # the lower field is half a frame later
        rgb = rgb.copy()
        rgb[1::2] = clip.frames[clip.shown_at(time_s + 0.5 / float(variant.rate or 25))][1::2]
    height, width = rgb.shape[:2]
    size = round(width * variant.scale / variant.aspect), round(height * variant.scale)
    if size != (width, height):
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    if variant.bars:
        band = round(rgb.shape[0] * variant.bars / (1 - variant.bars) / 4) * 2
        rgb = np.pad(rgb, ((band, band), (0, 0), (0, 0)))
    return np.ascontiguousarray(np.rot90(rgb, variant.rotation_deg // 90))


def _sound(container: OutputContainer, clip: Clip, variant: Variant) -> list[av.Packet]:
    rate_hz, layout = variant.sound_rate_hz, variant.layout
    stream: Any = container.add_stream(
        variant.audio, rate=rate_hz, layout=layout, options=OPTIONS.get(variant.audio, {})
    )
    sound = clip.sound
    if rate_hz != clip.sound_rate_hz:
        sound = soxr.resample(sound, clip.sound_rate_hz, rate_hz)
    skipped = round(variant.sound_skip_s * rate_hz)
    channels = np.zeros((CHANNELS[layout], len(sound) - skipped), np.float32)
    channels[CENTRE if layout == "5.1" else slice(None)] = sound[skipped:]
    resampler = AudioResampler(stream.format.name, layout, rate_hz)
    packets, start = [], round(variant.start_s * rate_hz) + skipped
    for at in range(0, channels.shape[1], SAMPLES_PER_BLOCK):
        piece = np.ascontiguousarray(channels[:, at : at + SAMPLES_PER_BLOCK])
        block = av.AudioFrame.from_ndarray(piece, "fltp", layout)
        block.sample_rate, block.time_base, block.pts = rate_hz, Fraction(1, rate_hz), start + at
        for frame in resampler.resample(block):
            packets += stream.encode(frame)
    packets += stream.encode(None)
    if variant.lost:
        packets = [packet for number, packet in enumerate(packets, start=1) if number % variant.lost]
    random = np.random.default_rng(5)
    for packet in packets if variant.drift or variant.jitter_s else []:
        wrong = random.uniform(-variant.jitter_s, variant.jitter_s) / packet.time_base
        packet.pts = packet.dts = max(0, round(packet.pts * (1 + variant.drift) + wrong))
    return packets


def _trim(path: Path, trim_s: float) -> None:
    """Make the edit lists of an MP4 begin later. Source of the boxes: ISO/IEC 14496-12, 8.6.6."""
    content = bytearray(path.read_bytes())
    movie_hz = struct.unpack_from(">I", content, content.index(b"mvhd") + 16)[0]
    at = content.index(b"moov")
    while (at := content.find(b"elst", at + 4)) > 0:
        media_hz = struct.unpack_from(">I", content, content.index(b"mdhd", at) + 16)[0]
        version, _, number, duration, media_time = struct.unpack_from(">B3sIIi", content, at + 4)
        if version or number != 1:
            raise ValueError("an edit list of one entry is wanted")
        edit = duration - round(trim_s * movie_hz), media_time + round(trim_s * media_hz)
        struct.pack_into(">Ii", content, at + 12, *edit)
    path.write_bytes(content)
