"""Facts about a source's media file, and whether it is complete."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from stages.core.reasons import Dropped, DropReason
from stages.core.records import Row
from stages.core.spans import spans_within
from stages.media import probe_media


@dataclass(frozen=True)
class ProbeConfig:
    """Tolerance of the declared length."""

    max_missing_s: float = 1.0  # Length that may be missing between a file's last packet and its declared end
    # Share of its length that may be missing. A file is truncated if it exceeds both limits, because headers are
    # rounded and estimated
    max_missing_ratio: float = 0.02


def probe(row: Row, config: ProbeConfig) -> Row:
    """Read the container's facts from `media_path`.

    Raises:
        Dropped: NOT_VIDEO (no media file), NO_VIDEO, NO_AUDIO, CORRUPT, TRUNCATED, NO_SPAN (all spans after its end).
    """
    path = Path(row["media_path"])
    facts = probe_media(path, max_missing_s=config.max_missing_s, max_missing_ratio=config.max_missing_ratio)
    if facts.audio_codec is None:
        detail = f"{facts.width_px}x{facts.height_px} {facts.video_codec}, {facts.duration_s:.2f} s, no audio stream"
        measured = {name: value for name, value in asdict(facts).items() if value is not None}
        raise Dropped(DropReason.NO_AUDIO, detail, measured)
    if not spans_within(row, facts.duration_s):
        detail = f"the first span starts at {row['spans'][0][0]:g} s, the file ends at {facts.duration_s:.2f}"
        raise Dropped(DropReason.NO_SPAN, detail, asdict(facts))
    return row | asdict(facts)
