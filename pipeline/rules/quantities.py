"""The numbers that are measured: what each is made of, the threshold it is held against, and its bins.

The policy's checks, the statistics and the report's cards all read this one table.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.core.records import Row

MAY_BE_NULL = frozenset(
    {
        *("source_language_prob", "source_dnsmos_bak", "source_dnsmos_sig"),  # a file without speech
        *("shot_face_ratio", "shot_multi_face_ratio", "shot_face_px"),  # a shot without a look, or without a face
        *("snr_db", "crest_db", "shot_alone_s", "detail_px", "flat_ratio", "mouth_light", "language_margin"),  # new
    }
)
"""Columns that may be null after their stage: where there is nothing to measure, or in parts of an older version."""
SIGNS = {operator.lt: "<", operator.gt: ">", operator.ge: ">="}


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Number:
    """One number of a row.

    Args:
        columns: what it is made of.
        name: what it is called where a row fails by it; the column's name where there is one.
        of: the number from the columns, for numbers and arrays alike.
    """

    columns: tuple[str, ...]
    name: str
    of: Callable[..., Any] = _as_it_is

    def value(self, row: Row) -> float | None:
        """The number of a row; None where one of its columns is missing."""
        parts = [row.get(column) for column in self.columns]
        return None if any(part is None for part in parts) else float(self.of(*parts))

    @property
    def may_be_null(self) -> bool:
        return any(column in MAY_BE_NULL for column in self.columns)


@dataclass(frozen=True)
class Limit:
    """A number against a threshold. A number that is null or not finite fails nobody here; see `gap`.

    Args:
        key: field of PolicyConfig.
        fails: `operator.lt` where the threshold is the least that will do, `gt` or `ge` where it is the most.
    """

    key: str
    number: Number
    fails: Callable[[Any, Any], Any]

    @property
    def columns(self) -> tuple[str, ...]:
        return self.number.columns

    @property
    def at_least(self) -> bool:
        return self.fails is operator.lt

    def gap(self, row: Row) -> str | None:
        """What its stage should have measured and did not, or None."""
        value = self.number.value(row)
        if value is None:
            return None if self.number.may_be_null else f"{self.number.name} was not measured"
        return None if math.isfinite(value) else f"{self.number.name} is {value:g}"

    def fault(self, row: Row, policy: Any) -> str | None:
        """What is wrong, or None."""
        value, threshold = self.number.value(row), getattr(policy, self.key)
        if value is None or not self.fails(value, threshold):
            return None
        return f"{self.number.name} {value:.4g} {SIGNS[self.fails]} {threshold:g}"


@dataclass(frozen=True)
class Quantity:
    """What is measured of a clip, or of the shot or file that it comes from.

    Args:
        name: in `stats.json`.
        title: on charts and cards.
        numbers: the finest first. Of a row the first that it has is taken: a clip's own, else its shot's or file's.
        edges: of the histogram's bins, ascending; values beyond either end are counted in the outermost bin.
        key: field of PolicyConfig that it is held against: `min_...`, the least that will do, or `max_...`, the most.
        per: "clip", or "source" for facts about a whole file, which are counted once.
    """

    name: str
    title: str
    unit: str
    numbers: tuple[Number, ...]
    edges: tuple[float, ...]
    key: str | None = None
    per: str = "clip"

    def limits(self) -> tuple[Limit, ...]:
        """Its numbers against its threshold, the finest first; none where it has no threshold."""
        if self.key is None:
            return ()
        fails = operator.lt if self.key.startswith("min_") else operator.gt
        return tuple(Limit(self.key, number, fails) for number in self.numbers)


def _columns(names: str) -> tuple[Number, ...]:
    return tuple(Number((name,), name) for name in names.split())


def _length(start_s: Any, end_s: Any) -> Any:
    return end_s - start_s


def _left_ms(offset_ms: Any, shift_ms: Any) -> Any:
    return abs(offset_ms - shift_ms)


def _steps(start: float, stop: float, step: float) -> tuple[float, ...]:
    return tuple(round(start + i * step, 6) for i in range(round((stop - start) / step) + 1))


_SHARES, _ANGLES, _MOS = _steps(0, 1, 0.05), _steps(0, 60, 5), _steps(1, 5, 0.2)
_FILE_LENGTHS = (0, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
_CLIP_LENGTH = Number(("start_s", "end_s"), "clip_length_s", _length)
_SHOT_LENGTH = Number(("shot_start_s", "shot_end_s"), "shot_length_s", _length)
_SHORTER_SIDE = Number(("width_px", "height_px"), "shorter_side_px", np.minimum)
_FPS = Number(("fps_num", "fps_den"), "fps", operator.truediv)
_OFFSET_LEFT = Number(("av_offset_ms", "av_shift_ms"), "|av_offset_ms| left", _left_ms)

QUANTITIES: tuple[Quantity, ...] = (  # the most telling first: a card has room for a few
    Quantity("face_size", "Face size", "px", _columns("face_px shot_face_px"), _steps(0, 640, 32), "min_face_px"),
    Quantity("yaw", "Yaw", "deg", _columns("yaw_deg"), _ANGLES, "max_yaw_deg"),
    Quantity(
        "mouth_visible", "Mouth seen", "of frames", _columns("mouth_visible_ratio"), _SHARES, "min_mouth_visible_ratio"
    ),
    Quantity(
        "dnsmos_bak",
        "Background (DNSMOS)",
        "1-5",
        _columns("dnsmos_bak source_dnsmos_bak"),
        _MOS,
        "min_dnsmos_bak",
    ),
    Quantity("sync_conf", "Lips and sound agree", "sd", _columns("sync_conf"), _steps(0, 12, 0.5), "min_sync_conf"),
    Quantity("identity", "Same face", "cosine", _columns("identity_min_sim"), _SHARES, "min_identity_sim"),
    Quantity(
        "mouth_motion",
        "Lip motion",
        "face heights",
        _columns("mouth_motion"),
        _steps(0, 0.06, 0.002),
        "min_mouth_motion",
    ),
    Quantity("fit_error", "Landmark fit error", "px", _columns("fit_error_px"), _steps(0, 8, 0.5), "max_fit_error_px"),
    Quantity("fps", "Frame rate", "1/s", (_FPS,), _steps(0, 60, 5), "min_fps", "source"),
    Quantity("side", "Shorter side", "px", (_SHORTER_SIDE,), _steps(0, 2160, 120), "min_height_px", "source"),
    Quantity("clip_length", "Clip length", "s", (_CLIP_LENGTH,), _steps(0, 11, 1), "min_clip_s"),
    Quantity(
        "source_speech", "Speech in the file", "s", _columns("source_speech_s"), _FILE_LENGTHS, "min_speech_s", "source"
    ),
    Quantity("speech", "Speech in the clip", "of it", _columns("speech_ratio"), _SHARES, "min_speech_ratio"),
    Quantity("dnsmos_sig", "Voice (DNSMOS)", "1-5", _columns("dnsmos_sig source_dnsmos_sig"), _MOS, "min_dnsmos_sig"),
    Quantity("snr", "Speech over pauses", "dB", _columns("snr_db"), _steps(-5, 60, 5), "min_snr_db"),
    Quantity("crest", "Peaks over speech", "dB", _columns("crest_db"), _steps(0, 24, 1), "min_crest_db"),
    Quantity("face_seen", "Face in view", "of looks", _columns("shot_face_ratio"), _SHARES, "min_shot_face_ratio"),
    Quantity(
        "second_face",
        "Second face in view",
        "of looks",
        _columns("track_multi_face_ratio shot_multi_face_ratio"),
        _SHARES,
        "max_multi_face_ratio",
    ),
    Quantity("tracked", "Face tracked", "of frames", _columns("track_ratio"), _SHARES, "min_track_ratio"),
    Quantity("pitch", "Pitch", "deg", _columns("pitch_deg"), _ANGLES, "max_pitch_deg"),
    Quantity("roll", "Roll", "deg", _columns("roll_deg"), _ANGLES, "max_roll_deg"),
    Quantity(
        "jitter", "Landmark jitter", "face widths a frame²", _columns("jitter"), _steps(0, 0.1, 0.005), "max_jitter"
    ),
    Quantity("mouth_size", "Mouth width", "px", _columns("mouth_px"), _steps(0, 200, 10), "min_mouth_px"),
    Quantity(
        "second_voice",
        "Second voice",
        "of speech",
        _columns("second_speaker_ratio"),
        _SHARES,
        "max_second_speaker_ratio",
    ),
    Quantity("detail", "Detail of the crop", "px", _columns("detail_px"), _steps(0, 256, 16), "min_detail_px"),
    Quantity("flat", "Face without shading", "of it", _columns("flat_ratio"), _steps(0, 0.5, 0.02), "max_flat_ratio"),
    Quantity("mouth_light", "Light on the mouth", "L*", _columns("mouth_light"), _steps(0, 100, 5), "min_mouth_light"),
    Quantity("language_prob", "Language", "0-1", _columns("language_prob"), _SHARES, "min_language_prob"),
    Quantity("language_margin", "Language, lead", "0-1", _columns("language_margin"), _SHARES, "min_language_margin"),
    Quantity(
        "av_offset_left", "Sound against lips, corrected", "ms", (_OFFSET_LEFT,), _steps(0, 600, 20), "max_av_offset_ms"
    ),
    Quantity(
        "av_offset", "Sound against lips, before correction", "ms", _columns("av_offset_ms"), _steps(-600, 600, 40)
    ),
    Quantity("dnsmos_ovr", "Overall (DNSMOS)", "1-5", _columns("dnsmos_ovr source_dnsmos_ovr"), _MOS),
    Quantity("teeth", "Teeth seen", "of frames", _columns("teeth_ratio"), _SHARES),
    Quantity("age", "Apparent age", "years", _columns("age_years"), _steps(0, 80, 5)),
    Quantity("shot_length", "Shot length", "s", (_SHOT_LENGTH,), _FILE_LENGTHS, "min_clip_s", "shot"),
    Quantity("video_length", "Video length", "s", _columns("duration_s"), _FILE_LENGTHS, "min_clip_s", "source"),
)

LIMITS = {limit.number.name: limit for quantity in QUANTITIES for limit in quantity.limits()}
"""Every number that is held against a threshold, by its name."""
