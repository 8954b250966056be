"""What a container says of itself, and whether that is so."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.video.stream import VideoStream

from stages.core.reasons import Dropped, DropReason
from stages.media.containers import raise_if_cut_short, raise_if_no_file
from stages.media.file import MAX_LENGTH_S, OPTIONS, MediaFile, frame_rate, video_of
from stages.media.first_look import raise_if_harmful
from stages.media.video import MAX_FPS, frames_from

TAIL_S = 3.0
"""Read at the end of a file to see whether it is all there."""


@dataclass(frozen=True)
class MediaFacts:
    """What a container says of itself, checked by decoding one frame and reading its end. Audio is None without any."""

    container: str
    video_codec: str
    audio_codec: str | None
    width_px: int
    height_px: int
    rotation_deg: int
    fps_num: int
    fps_den: int
    duration_s: float
    video_start_s: float
    audio_start_s: float | None
    audio_rate_hz: int | None
    num_audio_channels: int | None


def probe_media(path: Path, *, max_missing_s: float = 1.0, max_missing_ratio: float = 0.02) -> MediaFacts:
    """Read the header, decode one frame and look whether the end is there.

    Args:
        max_missing_s: the file is truncated if its packets end this much before the declared end, and
        max_missing_ratio: this share of its length.

    Raises:
        Dropped: NOT_VIDEO (no media file), NO_VIDEO (sound only), CORRUPT, TRUNCATED, TOO_LARGE.
    """
    raise_if_no_file(path)
    raise_if_harmful(path, OPTIONS)
    return read_facts(path, max_missing_s, max_missing_ratio)


def read_facts(path: Path, max_missing_s: float = 1.0, max_missing_ratio: float = 0.02) -> MediaFacts:
    """`probe_media` for a file that is known to be harmless."""
    with MediaFile(path) as media:
        stream, audio = video_of(media), media.audio
        raise_if_cut_short(path)
        rate = _checked_rate(media, stream)
        first = next(frames_from(media, stream, 0.0))
        duration_s = _checked_duration_s(media, max_missing_s, max_missing_ratio)
        if not -max_missing_s <= first.pts_s <= duration_s:
            raise Dropped(DropReason.CORRUPT, f"the first frame is at {first.pts_s:.2f} s of {duration_s:.2f}")
        width_px, height_px = first.size_px
        return MediaFacts(
            container=media.container.format.name,
            video_codec=stream.codec_context.codec.canonical_name,
            audio_codec=audio.codec_context.codec.canonical_name if audio is not None else None,
            width_px=width_px,
            height_px=height_px,
            rotation_deg=first.rotation_deg,
            fps_num=rate.numerator,
            fps_den=rate.denominator,
            duration_s=duration_s,
            video_start_s=first.pts_s,
            audio_start_s=media.start_s(audio) if audio is not None else None,
            audio_rate_hz=audio.codec_context.sample_rate if audio is not None else None,
            num_audio_channels=audio.codec_context.channels if audio is not None else None,
        )


def _checked_rate(media: MediaFile, stream: VideoStream) -> Fraction:
    rate = frame_rate(stream)
    if not 0 < rate <= MAX_FPS:
        detail = f"{media.path.name} declares {float(rate):g} frames a second; at most {MAX_FPS} can be"
        raise Dropped(DropReason.CORRUPT, detail)
    return rate.limit_denominator(100_000)


def _checked_duration_s(media: MediaFile, max_missing_s: float, max_missing_ratio: float) -> float:
    """The declared length if the packets reach it, the found one where none is declared or they go on behind it.

    Raises:
        Dropped: TRUNCATED.
    """
    streams, declared_s = [s for s in (media.video, media.audio) if s is not None], media.declared_s
    media.seek(max(0.0, declared_s - TAIL_S) if declared_s else 0.0, streams[0])
    found_s = 0.0
    for packet in media.packets(*streams):
        if packet.pts is not None and packet.size:
            found_s = max(found_s, media.time_s(packet.pts + max(0, packet.duration or 0), packet.stream))
        if found_s > MAX_LENGTH_S:
            break
    if declared_s is None or found_s - declared_s > max_missing_s:
        return found_s
    if declared_s - found_s > max(max_missing_s, max_missing_ratio * declared_s):
        detail = f"{media.path.name} ends at {found_s:.2f} s of {declared_s:.2f}"
        raise Dropped(DropReason.TRUNCATED, detail)
    return declared_s
