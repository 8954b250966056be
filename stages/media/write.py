"""Pictures and sound into a file."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from stages.core.records import AUDIO_RATE_HZ
from stages.core.storage import staging_name


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: Fraction,
    audio: np.ndarray | None = None,
    audio_rate_hz: int = AUDIO_RATE_HZ,
    *,
    crf: int = 18,
    comment: str | None = None,
) -> None:
    """Write an MP4 that every player reads: H.264 (yuv420p, BT.709) and AAC. It appears under its name when complete.

    Args:
        frames: uint8 (H, W, 3) RGB, all of one size; an odd side is made even by repeating its last row or column.
        audio: float32 (N,) in [-1, 1], sample 0 at the first frame.
        crf: x264's quality, lower is better; 18 is visually lossless.
        comment: for the container's own tag of that name, which players show.
    Raises:
        ValueError: there is no frame, or frames differ in size or type.
    """
    part = staging_name(path)
    try:
        with av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as container:
            if comment is not None:
                container.metadata["comment"] = comment
            _encode(container, frames, fps, audio, audio_rate_hz, crf)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _encode(
    container: OutputContainer,
    frames: Iterable[np.ndarray],
    fps: Fraction,
    audio: np.ndarray | None,
    rate_hz: int,
    crf: int,
) -> None:
    video = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": "veryfast"})
    sound = container.add_stream("aac", rate=rate_hz, layout="mono") if audio is not None else None
    samples = audio if audio is not None else np.zeros(0, np.float32)
    reformatter, shape, num_written = VideoReformatter(), None, 0
    for k, rgb in enumerate(frames):
        if shape is None:
            shape = rgb.shape
            video.height, video.width, video.pix_fmt = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2, "yuv420p"
            context = video.codec_context
            context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
            context.color_primaries = context.color_trc = 1  # BT.709
        if rgb.shape != shape or rgb.dtype != np.uint8:
            raise ValueError(f"frame {k} is {rgb.dtype} {rgb.shape}, the first was uint8 {shape}")
        even = np.pad(rgb, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
        image = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        image = reformatter.reformat(image, format="yuv420p", dst_colorspace=Colorspace.ITU709, threads=1)
        image.pts, image.time_base = k, 1 / fps
        container.mux(video.encode(image))
        if sound is not None:  # side by side, so that the muxer need not hold the whole video back
            due = min(len(samples), round((k + 1) / fps * rate_hz))
            _encode_samples(container, sound, samples[num_written:due], num_written, rate_hz)
            num_written = due
    if shape is None:
        raise ValueError("a video of no frames cannot be written")
    container.mux(video.encode(None))
    if sound is not None:
        _encode_samples(container, sound, samples[num_written:], num_written, rate_hz)
        container.mux(sound.encode(None))


def _encode_samples(
    container: OutputContainer, sound: AudioStream, samples: np.ndarray, start: int, rate_hz: int
) -> None:
    if not len(samples):
        return
    block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], dtype=np.float32), "fltp", "mono")
    block.sample_rate, block.pts, block.time_base = rate_hz, start, Fraction(1, rate_hz)
    container.mux(sound.encode(block))
