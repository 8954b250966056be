"""The sound of a file by its presentation time, 16 kHz mono."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import av.error
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

from stages.core.reasons import Dropped, DropReason
from stages.core.records import AUDIO_RATE_HZ
from stages.media.file import MAX_LENGTH_S, MediaFile

AUDIO_GAP_S = 0.015
"""Distance of timestamps from the count of samples that is a hole or a jump: a packet has 20 ms or more.

Less is rounding (1 ms in Matroska) or the jitter of a recorder's clock.
"""
AUDIO_DRIFT_S = 0.005
"""Largest mean of that distance over `DRIFT_PACKETS`: clocks drift, and Opus has packets of 2.5 ms, too."""
DRIFT_PACKETS = 16
AUDIO_PREROLL_S = 0.5
"""Length of sound decoded before the requested start: AAC and Opus need some frames (at most 80 ms) to settle."""
RATES_HZ = (4_000, 768_000)
"""Range of accepted rates. Telephones have 8000. A second at 1 Hz would become 16,000 s at 16 kHz."""
MAX_PACKET_S = 30.0
"""Longest sound in one packet; codecs have less than 1 s, uncompressed sound comes in blocks."""
MAX_OVERLAP_S = 2.0
"""Longest overlapping sound, beside 5 % for clocks that drift; more means timestamps that stand still or go back."""


def decode_audio(path: Path, start_s: float = 0.0, end_s: float | None = None) -> np.ndarray:
    """Decode the sound of a span, mono.

    Args:
        end_s: None for the end of the audio stream.
    Returns:
        float32 (N,) in [-1, 1] at 16 kHz, sample 0 at `start_s`; N = round((end_s - start_s) * 16000) where `end_s` is
        given. Where the stream has nothing there is silence, and where its samples are not finite.
    Raises:
        Dropped: NO_AUDIO, CORRUPT, TRUNCATED, NOT_VIDEO, TOO_LONG (over a day at once).
    """
    pieces: list[tuple[int, np.ndarray]] = []
    with MediaFile(path) as media:
        if media.audio is None:
            raise Dropped(DropReason.NO_AUDIO, f"{path.name} has no audio stream")
        # Files of sound alone often have no index, so a seek is approximate.
        if media.video is not None and start_s > AUDIO_PREROLL_S:
            media.seek(start_s - AUDIO_PREROLL_S, media.audio)
            pieces.extend(_resampled(media, media.audio, start_s, end_s))
            if not pieces or pieces[0][0] > 0:  # a hole, or a seek that overshot
                pieces.clear()
                media.seek(0.0, media.audio)
        if not pieces:
            pieces.extend(_resampled(media, media.audio, start_s, end_s))
    if end_s is not None:
        num_samples = round((end_s - start_s) * AUDIO_RATE_HZ)
    else:
        num_samples = max((at + len(piece) for at, piece in pieces), default=0)
    if num_samples > MAX_LENGTH_S * AUDIO_RATE_HZ:
        raise Dropped(DropReason.TOO_LONG, f"sound of {path.name} ends at {num_samples / AUDIO_RATE_HZ:.0f} s")
    sound = np.zeros(max(0, num_samples), np.float32)
    for at, piece in pieces:
        first, last = max(at, 0), min(at + len(piece), len(sound))
        if first < last:
            heard = piece[first - at : last - at]
            np.clip(np.where(np.isfinite(heard), heard, 0.0), -1.0, 1.0, out=sound[first:last])
    return sound


def _resampled(
    media: MediaFile, stream: AudioStream, start_s: float, end_s: float | None
) -> Iterator[tuple[int, np.ndarray]]:
    """16 kHz pieces with their place; resampling restarts at every hole and change of format."""
    resampler, shape, due_s, at = None, None, 0.0, 0
    first_s, heard_s, drift_s = None, 0.0, 0.0
    for frame in media.decode(stream):
        if not isinstance(frame, av.AudioFrame):
            continue
        pts_s = media.time_s(frame.pts, stream) if frame.pts is not None else due_s
        if end_s is not None and pts_s > end_s + AUDIO_PREROLL_S:
            break
        first_s = first_s if first_s is not None else pts_s
        _raise_if_absurd(media, frame, pts_s, heard_s, pts_s - first_s)
        heard_s += frame.samples / frame.sample_rate
        found = (frame.format.name, frame.layout.name, frame.sample_rate)
        drift_s += (pts_s - due_s - drift_s) / DRIFT_PACKETS
        jumps = found != shape or abs(pts_s - due_s) > AUDIO_GAP_S
        if resampler is None or jumps or abs(drift_s) > AUDIO_DRIFT_S:
            if resampler is not None:
                yield from _placed(resampler.resample(None), at)
            # Without a limit the two channels of a stereo voice add up to 3 dB more than either.
            resampler = AudioResampler("flt", "mono", AUDIO_RATE_HZ, options={"rematrix_maxval": "1.0"})
            shape, due_s, drift_s = found, pts_s if jumps else due_s + drift_s, 0.0
            at = round((due_s - start_s) * AUDIO_RATE_HZ)
        due_s += frame.samples / frame.sample_rate
        frame.pts = None
        try:
            resampled = resampler.resample(frame)
        except av.error.ArgumentError as error:
            detail = f"sound of {media.path.name} ({' '.join(map(str, found))} Hz) cannot be mixed down"
            raise Dropped(DropReason.CORRUPT, detail) from error
        for place, piece in _placed(resampled, at):
            at = place + len(piece)
            yield place, piece
    if resampler is not None:
        yield from _placed(resampler.resample(None), at)


def _raise_if_absurd(media: MediaFile, frame: av.AudioFrame, pts_s: float, heard_s: float, elapsed_s: float) -> None:
    """Raises Dropped CORRUPT for sound that would grow without bounds at 16 kHz, or in one place."""
    lowest_hz, highest_hz = RATES_HZ
    if not lowest_hz <= frame.sample_rate <= highest_hz:
        problem = f"{frame.sample_rate} samples a second are no sound"
    elif frame.samples > MAX_PACKET_S * frame.sample_rate:
        problem = f"one packet holds {frame.samples / frame.sample_rate:.0f} s"
    elif heard_s > MAX_OVERLAP_S + 1.05 * max(0.0, elapsed_s):
        problem = "the timestamps stand still or run backwards"
    else:
        return
    raise Dropped(DropReason.CORRUPT, f"sound of {media.path.name} at {pts_s:.2f} s: {problem}")


def _placed(frames: list[av.AudioFrame], at: int) -> Iterator[tuple[int, np.ndarray]]:
    for frame in frames:
        if frame is None:  # a resampler with nothing to do returns its flush
            continue
        piece = frame.to_ndarray().reshape(-1).copy()
        yield at, piece
        at += len(piece)
