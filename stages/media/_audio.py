"""The sound of a file by its presentation time, 16 kHz mono."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

from pipeline.records import AUDIO_RATE_HZ, Dropped, DropReason
from stages.media._file import MediaFile

AUDIO_GAP_S = 0.02
"""Timestamps this far from the count of samples are a hole or a jump; below it they are rounding (1 ms in Matroska)."""
AUDIO_PREROLL_S = 0.5
"""Decoded before the asked start: AAC and Opus need some frames (at most 80 ms) to settle."""


def decode_audio(path: Path, start_s: float = 0.0, end_s: float | None = None) -> np.ndarray:
    """Sound of a span, mono.

    Args:
        end_s: None for the end of the audio stream.
    Returns:
        float32 (N,) in [-1, 1] at 16 kHz, sample 0 at `start_s`; N = round((end_s - start_s) * 16000) where `end_s` is
        given. Where the stream has nothing there is silence.
    Raises:
        Dropped: NO_AUDIO, CORRUPT, TRUNCATED, NOT_VIDEO.
    """
    pieces: list[tuple[int, np.ndarray]] = []
    with MediaFile(path) as media:
        if media.audio is None:
            raise Dropped(DropReason.NO_AUDIO, f"{path.name} has no audio stream")
        # Files of sound alone often carry no index, and guess where a seek goes.
        if media.video is not None and start_s > AUDIO_PREROLL_S:
            media.seek(start_s - AUDIO_PREROLL_S, media.audio)
            pieces.extend(_resampled(media, media.audio, start_s, end_s))
            if not pieces or pieces[0][0] > 0:  # a hole, or a seek that went too far
                pieces.clear()
                media.seek(0.0, media.audio)
        if not pieces:
            pieces.extend(_resampled(media, media.audio, start_s, end_s))
    if end_s is not None:
        num_samples = round((end_s - start_s) * AUDIO_RATE_HZ)
    else:
        num_samples = max((at + len(piece) for at, piece in pieces), default=0)
    sound = np.zeros(max(0, num_samples), np.float32)
    for at, piece in pieces:
        first, last = max(at, 0), min(at + len(piece), len(sound))
        if first < last:
            np.clip(piece[first - at : last - at], -1.0, 1.0, out=sound[first:last])
    return sound


def _resampled(
    media: MediaFile, stream: AudioStream, start_s: float, end_s: float | None
) -> Iterator[tuple[int, np.ndarray]]:
    """16 kHz pieces with their place; a new run begins at every hole and change of format."""
    resampler, shape, due_s, at = None, None, 0.0, 0
    for frame in media.decode(stream):
        if not isinstance(frame, av.AudioFrame):
            continue
        pts_s = media.time_s(frame.pts, stream) if frame.pts is not None else due_s
        if end_s is not None and pts_s > end_s + AUDIO_PREROLL_S:
            break
        found = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or found != shape or abs(pts_s - due_s) > AUDIO_GAP_S:
            if resampler is not None:
                yield from _placed(resampler.resample(None), at)
            # Without a limit the two channels of a stereo voice add up to 3 dB more than either.
            resampler = AudioResampler("flt", "mono", AUDIO_RATE_HZ, options={"rematrix_maxval": "1.0"})
            shape, due_s, at = found, pts_s, round((pts_s - start_s) * AUDIO_RATE_HZ)
        due_s += frame.samples / frame.sample_rate
        frame.pts = None
        for place, piece in _placed(resampler.resample(frame), at):
            at = place + len(piece)
            yield place, piece
    if resampler is not None:
        yield from _placed(resampler.resample(None), at)


def _placed(frames: list[av.AudioFrame], at: int) -> Iterator[tuple[int, np.ndarray]]:
    for frame in frames:
        if frame is None:  # a resampler that has nothing to do gives its flush back
            continue
        piece = frame.to_ndarray().reshape(-1).copy()
        yield at, piece
        at += len(piece)
