"""An open media file: its streams, its clock, its packets and frames."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
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

from stages.core.reasons import Dropped, DropReason
from stages.media.containers import explain_unreadable

EPSILON_S = 1e-6
"""Two times closer than this are one: timestamps are ticks of at most 1/90000 s, floats are not."""
MAX_BAD_PACKETS = 16
"""Packets in a row that may fail to decode: half a second; more is not a glitch."""
MAX_IDLE_PACKETS = 1_000
"""Packets in a row that may give no frame; where pictures refresh bit by bit, some 250 do behind a seek."""
MAX_PIXELS = 4_096 * 2_304
"""Of a frame: the most of H.264 up to level 5.2, 4K. Without a limit 600 bytes of H.264 fill 1.2 GB for 5 s."""
MAX_STREAMS = 100
"""Of a file; discs have some 40 languages of sound and text."""
READABLE = (
    "mov,matroska,webm,avi,flv,mpegts,mpeg,mpegvideo,asf,ogg,rm,h264,hevc,av1,ivf,mxf,gxf,nut,dv,wtv,"
    "wav,w64,mp3,aac,flac,amr,ac3,eac3,aiff,au,caf"
)
"""Demuxers that may open a file. FFmpeg would also render texts, take pictures for videos, and follow playlists."""
MAX_LENGTH_S = 86_400.0
"""No timestamp lies behind it; its sound is 5.5 GB when decoded at once."""
OPTIONS = {
    "format_whitelist": READABLE,
    "protocol_whitelist": "file",
    "max_streams": str(MAX_STREAMS),
    "max_pixels": str(MAX_PIXELS),
}
MAX_FRAME_S = 1
"""A frame within which an edit begins lasts no longer; behind that a file's times are not understood."""
LAST_TICK = 2**63 - 1
PIECE_BYTES = 1 << 20


def can_be_read(path: Path) -> bool:
    """Whether the disk gives a file out, to its end."""
    try:
        with path.open("rb") as file:
            while file.read(PIECE_BYTES):
                pass
    except OSError:
        return False
    return True


class MediaFile:
    """An open file, its first real video and audio stream, and its clock.

    Args:
        threads: of the video decoder.
        coarse: decode without the deblocking filter: a quarter cheaper, and good enough to look for cuts and faces.
    """

    def __init__(self, path: Path, threads: int = 1, *, coarse: bool = False) -> None:
        self.path = path
        try:
            self.container: InputContainer = av.open(str(path), "r", metadata_errors="replace", options=OPTIONS)
        except av.error.FFmpegError as error:
            if isinstance(error, OSError) and not can_be_read(path):
                raise
            raise explain_unreadable(path, error.strerror or str(error)) from error
        if not self.container.streams:
            self.container.close()
            raise Dropped(DropReason.CORRUPT, f"the header of {path.name} lists no stream")
        pictures = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
        videos = [s for s in self.container.streams.video if not s.disposition & pictures]
        audios = [s for s in self.container.streams.audio if s.codec_context is not None]
        self.video: VideoStream | None = videos[0] if videos else None
        self.audio: AudioStream | None = audios[0] if audios else None
        self._moved = _moved_to_edit(path, self.video) if self.video is not None else Fraction(0)
        starts = [self._since_zero(s.start_time, s) for s in [*videos, *audios] if s.start_time is not None]
        self.origin = min(starts, default=Fraction(0))
        if self.video is not None and self.video.codec_context is not None:
            self.video.codec_context.thread_count = threads
            self.video.thread_type = "AUTO" if threads != 1 else "NONE"
            coarsely = {"skip_loop_filter": "all"} if coarse else {}
            self.video.codec_context.options = {"max_pixels": str(MAX_PIXELS), **coarsely}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.container.close()

    def time_s(self, ticks: int, stream: VideoStream | AudioStream) -> float:
        return float(self._since_zero(ticks, stream) - self.origin)

    def _since_zero(self, ticks: int, stream: VideoStream | AudioStream) -> Fraction:
        return ticks * (stream.time_base or Fraction(0)) + (self._moved if stream is self.video else 0)

    def start_s(self, stream: VideoStream | AudioStream) -> float:
        return self.time_s(stream.start_time, stream) if stream.start_time is not None else 0.0

    @property
    def declared_s(self) -> float | None:
        """The end of the first video and audio as the header tells it; None where it tells none that can be."""
        streams = [s for s in (self.video, self.audio) if s is not None]
        ends = [self.start_s(s) + float(s.duration * s.time_base) for s in streams if s.duration and s.time_base]
        whole = self.container.duration
        end_s = max(ends) if ends else whole / av.time_base if whole else 0.0
        return end_s if end_s > 0 else None

    def seek(self, time_s: float, stream: VideoStream | AudioStream) -> None:
        """To a key frame at or before this time, as far as the container knows; to the beginning below 0.

        Raises:
            Dropped: CORRUPT where neither this time nor the beginning is found.
        """
        moved = self._moved if stream is self.video else 0
        ticks = int((Fraction(time_s) + self.origin - moved) / (stream.time_base or Fraction(1)))
        ticks = max(-LAST_TICK, min(ticks, LAST_TICK))
        first = stream.start_time or 0  # FLV finds nothing before it
        for target in (ticks, min(ticks, first), first, -LAST_TICK):
            try:
                return self.container.seek(target, stream=stream, backward=True)
            except av.error.FFmpegError as error:
                problem = error
        raise self._corrupt("cannot be searched", problem)

    def packets(self, *streams: VideoStream | AudioStream) -> Iterator[Packet]:
        try:
            yield from self.container.demux(*streams)
        except av.error.FFmpegError as error:
            raise self._corrupt("cannot be read on", error) from error
        except IndexError:  # PyAV, at the end of a file with more streams than its header announced
            return

    def is_about_content(self, error: av.error.FFmpegError) -> bool:
        """Whether FFmpeg complains of what is in the file, not of the disk it lies on.

        Of broken content, too, some demuxers and decoders say that it is not permitted, or cannot be read.
        """
        return not isinstance(error, OSError) or self._disk_reads

    @cached_property
    def _disk_reads(self) -> bool:
        return can_be_read(self.path)

    def _corrupt(self, what: str, error: av.error.FFmpegError) -> Exception:
        if not self.is_about_content(error):
            return error
        return Dropped(DropReason.CORRUPT, f"{self.path.name} {what}: {error.strerror}")

    def decode(self, stream: VideoStream | AudioStream) -> Iterator[av.VideoFrame | av.AudioFrame]:
        """Frames of one stream from where the container stands; isolated broken packets are left out.

        Raises:
            Dropped: CORRUPT where too many packets in a row give nothing, TOO_LARGE where frames do not fit MAX_PIXELS.
        """
        num_bad = num_idle = 0
        for packet in self.packets(stream):
            problem = "no frame for long"
            try:
                frames, num_bad = [frame for frame in packet.decode() if not frame.is_corrupt], 0
            except av.error.FFmpegError as error:
                if not self.is_about_content(error):
                    raise
                frames, num_bad, problem = [], num_bad + 1, error.strerror
            num_idle = 0 if frames else num_idle + 1
            if num_bad > MAX_BAD_PACKETS or num_idle > MAX_IDLE_PACKETS:
                where = f" at {self.time_s(packet.pts, stream):.2f} s" if packet.pts is not None else ""
                raise self._undecodable(stream, f"{where}: {problem}")
            yield from frames

    def _undecodable(self, stream: VideoStream | AudioStream, what: str) -> Dropped:
        if isinstance(stream, VideoStream):
            width_px, height_px = stream.codec_context.coded_width, stream.codec_context.coded_height
            if width_px * height_px > MAX_PIXELS:
                detail = (
                    f"{self.path.name} has frames of {width_px}x{height_px} px; at most {MAX_PIXELS} px are decoded"
                )
                return Dropped(DropReason.TOO_LARGE, detail)
        return Dropped(DropReason.CORRUPT, f"{stream.type} of {self.path.name} cannot be decoded{what}")


def _moved_to_edit(path: Path, stream: VideoStream) -> Fraction:
    """How much too early, in seconds, FFmpeg shows the pictures of an MP4 whose edit list begins within a frame.

    It leaves that frame out and shows the next one from the edit's start on; the sound it cuts exactly. Videos that
    were trimmed without coding them anew begin like this. Read without its edits, a file has the true times.
    """
    entries = stream.index_entries
    if "mov" not in stream.container.format.name or not len(entries) or not entries[0].is_discard:
        return Fraction(0)
    first = None
    try:
        with av.open(str(path), "r", metadata_errors="replace", options=OPTIONS | {"advanced_editlist": "0"}) as whole:
            video = whole.streams[stream.index]
            whole.seek(0, stream=video)
            for num_read, packet in enumerate(whole.demux(video)):
                if packet.pts is None or packet.dts is None or num_read > MAX_IDLE_PACKETS:
                    break
                if first is not None and packet.dts >= first:
                    break
                if packet.pts >= 0 and (first is None or packet.pts < first):
                    first = packet.pts
    except av.error.FFmpegError:
        return Fraction(0)  # whether it can be read is found elsewhere
    moved = ((first or 0) - (stream.start_time or 0)) * (stream.time_base or Fraction(0))
    return moved if 0 < moved <= MAX_FRAME_S else Fraction(0)


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
