"""An open media file: its streams, its clock, its packets and frames."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from pipeline.records import Dropped, DropReason
from stages.media._containers import explain_unreadable

EPSILON_S = 1e-6
"""Two times closer than this are one: timestamps are ticks of at most 1/90000 s, floats are not."""
MAX_BAD_PACKETS = 16
"""Packets in a row that may fail to decode: half a second; more is not a glitch."""
READABLE = (
    "mov,matroska,webm,avi,flv,mpegts,mpeg,mpegvideo,asf,ogg,rm,h264,hevc,av1,ivf,mxf,gxf,nut,dv,wtv,"
    "wav,w64,mp3,aac,flac,amr,ac3,eac3,aiff,au,caf"
)
"""Demuxers that may open a file. FFmpeg would also render texts, take pictures for videos, and follow playlists."""
UNREADABLE = (av.error.InvalidDataError, av.error.EOFError, av.error.ArgumentError, av.error.PatchWelcomeError)
"""What FFmpeg says of a file's content; errors of the disk are not among them."""


class MediaFile:
    """An open file, its first real video and audio stream, and its clock.

    Args:
        threads: of the video decoder.
        coarse: decode without the deblocking filter: a quarter cheaper, and good enough to look for cuts and faces.
    """

    def __init__(self, path: Path, threads: int = 1, *, coarse: bool = False) -> None:
        self.path = path
        try:
            self.container: InputContainer = av.open(
                str(path), "r", metadata_errors="replace", options={"format_whitelist": READABLE}
            )
        except UNREADABLE as error:
            raise explain_unreadable(path, error) from error
        if not self.container.streams:
            self.container.close()
            raise Dropped(DropReason.CORRUPT, f"the header of {path.name} lists no stream")
        pictures = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
        videos = [s for s in self.container.streams.video if not s.disposition & pictures]
        audios = [s for s in self.container.streams.audio if s.codec_context is not None]
        self.video: VideoStream | None = videos[0] if videos else None
        self.audio: AudioStream | None = audios[0] if audios else None
        starts = [s.start_time * s.time_base for s in [*videos, *audios] if s.start_time is not None and s.time_base]
        self.origin = min(starts, default=Fraction(0))
        if self.video is not None and self.video.codec_context is not None:
            self.video.codec_context.thread_count = threads
            self.video.thread_type = "AUTO" if threads != 1 else "NONE"
            if coarse:
                self.video.codec_context.options = {"skip_loop_filter": "all"}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.container.close()

    def time_s(self, ticks: int, stream: VideoStream | AudioStream) -> float:
        return float(ticks * (stream.time_base or Fraction(0)) - self.origin)

    def start_s(self, stream: VideoStream | AudioStream) -> float:
        return self.time_s(stream.start_time, stream) if stream.start_time is not None else 0.0

    def seek(self, time_s: float, stream: VideoStream | AudioStream) -> None:
        """To a key frame at or before this time, as far as the container knows; to the beginning below 0."""
        ticks = int((Fraction(time_s) + self.origin) / (stream.time_base or Fraction(1)))
        self.container.seek(ticks, stream=stream, backward=True)

    def packets(self, *streams: VideoStream | AudioStream) -> Iterator[Packet]:
        try:
            yield from self.container.demux(*streams)
        except (av.error.InvalidDataError, av.error.EOFError) as error:
            raise Dropped(DropReason.CORRUPT, f"{self.path.name} cannot be read on: {error.strerror}") from error

    def decode(self, stream: VideoStream | AudioStream) -> Iterator[av.VideoFrame | av.AudioFrame]:
        """Frames of one stream from where the container stands; isolated broken packets are left out."""
        num_bad = 0
        for packet in self.packets(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError as error:
                num_bad += 1
                if num_bad > MAX_BAD_PACKETS:
                    where = f" at {self.time_s(packet.pts, stream):.2f} s" if packet.pts is not None else ""
                    detail = f"{stream.type} of {self.path.name} cannot be decoded{where}: {error.strerror}"
                    raise Dropped(DropReason.CORRUPT, detail) from error
                continue
            num_bad = 0
            yield from (frame for frame in frames if not frame.is_corrupt)


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Width of a pixel over its height; 1 where it is not told or absurd."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return aspect if Fraction(1, 4) <= aspect <= 4 else Fraction(1)


def frame_rate(stream: VideoStream) -> Fraction:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return rate if rate else Fraction(25)


def video_of(media: MediaFile) -> VideoStream:
    if media.video is None:
        raise Dropped(DropReason.NO_VIDEO, f"{media.path.name} has no video stream")
    if media.video.codec_context is None:
        raise Dropped(DropReason.CORRUPT, f"the video of {media.path.name} is in no known codec")
    return media.video
