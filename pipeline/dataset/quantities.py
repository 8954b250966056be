"""The measured numbers whose spread the statistics count and the report shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """One measured number whose spread the report shows.

    Args:
        columns: the first that a row has is taken: a clip's own measurement, else the coarser one of its shot or file.
        per: "clip", or "source" for facts about a whole file, which are counted once.
        edges: bin edges, ascending; values beyond either end are counted in the outermost bin.
        limits: fields of PolicyConfig that cut this quantity.
    """

    name: str
    title: str
    unit: str
    columns: tuple[str, ...]
    edges: tuple[float, ...]
    per: str = "clip"
    limits: tuple[str, ...] = ()


def _steps(start: float, stop: float, step: float) -> tuple[float, ...]:
    return tuple(round(start + i * step, 6) for i in range(round((stop - start) / step) + 1))


QUANTITIES: tuple[Quantity, ...] = (
    Quantity(
        "video_length",
        "Video length",
        "s",
        ("duration_s",),
        (0, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200),
        "source",
    ),
    Quantity("clip_length", "Clip length", "s", ("clip_s",), _steps(0, 11, 1), "clip", ("min_clip_s",)),
    Quantity("face_size", "Face size", "px", ("face_px", "shot_face_px"), _steps(0, 640, 32), "clip", ("min_face_px",)),
    Quantity("detail", "Detail of the crop", "px", ("detail_px",), _steps(0, 256, 16), "clip", ("min_detail_px",)),
    Quantity(
        "flat", "Face without shading", "of it", ("flat_ratio",), _steps(0, 0.5, 0.02), "clip", ("max_flat_ratio",)
    ),
    Quantity("mouth_size", "Mouth width", "px", ("mouth_px",), _steps(0, 200, 10), "clip", ("min_mouth_px",)),
    Quantity(
        "mouth_visible",
        "Mouth seen",
        "of frames",
        ("mouth_visible_ratio",),
        _steps(0, 1, 0.05),
        "clip",
        ("min_mouth_visible_ratio",),
    ),
    Quantity(
        "mouth_light", "Light on the mouth", "L*", ("mouth_light",), _steps(0, 100, 5), "clip", ("min_mouth_light",)
    ),
    Quantity(
        "mouth_motion",
        "Lip motion",
        "face heights",
        ("mouth_motion",),
        _steps(0, 0.06, 0.002),
        "clip",
        ("min_mouth_motion",),
    ),
    Quantity("teeth", "Teeth seen", "of frames", ("teeth_ratio",), _steps(0, 1, 0.05)),
    Quantity("age", "Apparent age", "years", ("age_years",), _steps(0, 80, 5)),
    Quantity("yaw", "Yaw", "deg", ("yaw_deg",), _steps(0, 60, 5), "clip", ("max_yaw_deg",)),
    Quantity("pitch", "Pitch", "deg", ("pitch_deg",), _steps(0, 60, 5), "clip", ("max_pitch_deg",)),
    Quantity("roll", "Roll", "deg", ("roll_deg",), _steps(0, 60, 5), "clip", ("max_roll_deg",)),
    Quantity(
        "dnsmos_bak",
        "Background quality (DNSMOS)",
        "1-5",
        ("dnsmos_bak", "source_dnsmos_bak"),
        _steps(1, 5, 0.2),
        "clip",
        ("min_dnsmos_bak",),
    ),
    Quantity(
        "dnsmos_sig",
        "Speech quality (DNSMOS)",
        "1-5",
        ("dnsmos_sig", "source_dnsmos_sig"),
        _steps(1, 5, 0.2),
        "clip",
        ("min_dnsmos_sig",),
    ),
    Quantity(
        "dnsmos_ovr", "Overall quality (DNSMOS)", "1-5", ("dnsmos_ovr", "source_dnsmos_ovr"), _steps(1, 5, 0.2), "clip"
    ),
    Quantity("snr", "Speech over pauses", "dB", ("snr_db",), _steps(-5, 60, 5), "clip", ("min_snr_db",)),
    Quantity("crest", "Peaks over speech", "dB", ("crest_db",), _steps(0, 24, 1), "clip", ("min_crest_db",)),
    Quantity("av_offset", "Sound against lips, before correction", "ms", ("av_offset_ms",), _steps(-600, 600, 40)),
    Quantity("sync_conf", "Lips and sound agree", "sd", ("sync_conf",), _steps(0, 12, 0.5), "clip", ("min_sync_conf",)),
    Quantity(
        "fit_error", "Landmark fit error", "px", ("fit_error_px",), _steps(0, 8, 0.5), "clip", ("max_fit_error_px",)
    ),
)
