"""What the settings of a run may be: ranges, choices and order, by key.

Ranges follow the names, which carry the unit; the first pattern that fits a key counts. A new setting needs a line here
only where "not negative" is not enough.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from stages.face3d.load import EMBEDDED

ABOVE_ZERO = math.ulp(0.0)
_AT_LEAST_ONE = """
    *.num_* *.max_looks *every_frames *.block_frames *.chunk_frames scan.cuts.*_frames *.max_actors *_bytes
    *.clips_per_row_group crawl.host_concurrency crawl.max_entries crawl.max_height_px scan.*_px track.look_side_px
    geometry.max_* run.wave_sources run.max_tries
"""
_ABOVE_ZERO = """
    crawl.max_duration_s crawl.timeout_s crawl.lease_s hear.piece_s hear.look_s scan.look_fps mouth.dark mouth.red
    speech.quality_hop_s speech.diarize.*_s depth.precision_mm geometry.*_px geometry.*sigma*
    geometry.identity_frames geometry.guessed_trust features.window_s features.max_abs run.record_limit_s track.jumps.*
"""
"""What is divided by, stepped by, or holds nothing at zero."""
RANGES: tuple[tuple[str, float, float], ...] = (
    ("mouth.teeth_red", -128, 127),  # CIELAB
    ("scan.cuts.ratio", 1, math.inf),
    ("scan.cuts.min_change", 0, 255),
    ("scan.cuts.*_light_*", -1, 1),
    ("scan.cuts.max_dissolve_step", -1, 1),
    ("scan.cuts.max_dissolve_rest", 0, 1),
    ("scan.look_scale", ABOVE_ZERO, 1),
    ("speech.quietest_share", ABOVE_ZERO, 1),
    ("sync.min_correct_conf", 0, math.inf),
    ("sync.max_offset_ms", 40, 800),  # a frame, and what leaves 200 ms of the curve to tell chance by
    ("track.max_clip_s", 0.04, 30),  # a frame, and what Whisper hears at once
    ("*.jpeg_quality", 1, 100),
    ("*.webrtc_aggressiveness", 0, 3),
    ("policy.min_dnsmos_*", 0, 5),
    ("policy.max_*_deg", 0, 180),
    ("track.max_*_deg", 0, 180),
    ("policy.min_sync_conf", 0, math.inf),
    ("*_sim", -1, 1),
    ("*_conf", 0, 1),
    ("*_margin", 0, 1),
    ("*_prob", 0, 1),
    ("run.record_limit_ratio", 0, math.inf),
    ("*_ratio", 0, 1),
    ("finalize.duplicate_bit_error", 0, 1),
    ("finalize.duplicate_min_overlap", 0, 1),
    *((pattern, 1, math.inf) for pattern in _AT_LEAST_ONE.split()),
    *((pattern, ABOVE_ZERO, math.inf) for pattern in _ABOVE_ZERO.split()),
    ("*", 0, math.inf),
)
CHOICES: dict[str, tuple[str, ...]] = {
    "hear.device": ("auto", "cpu", "cuda"),
    "sync.device": ("auto", "cpu", "cuda"),
    "sync.expert": ("lips", "syncnet", "latentsync"),
    "speech.device": ("auto", "cpu", "cuda"),
    "features.device": ("auto", "cpu", "cuda"),
    "depth.device": ("cpu", "cuda"),
    "geometry.device": ("auto", "cpu", "cuda"),
    "geometry.method": ("landmarks", "deep3d"),
    "identity.provider": ("CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"),
    "features.model": ("base", "tiny"),
    "run.mode": ("full", "metadata"),
}
ORDERED: tuple[tuple[str, str], ...] = (
    ("hear.vad.leave_prob", "hear.vad.enter_prob"),
    ("speech.vad.leave_prob", "speech.vad.enter_prob"),
    ("scan.min_look_side_px", "scan.max_look_side_px"),
    ("sync.min_correct_ms", "sync.max_correct_ms"),
    ("sync.max_correct_ms", "sync.max_offset_ms"),
    ("features.overlap_s", "features.window_s"),
    ("policy.min_clip_s", "track.max_clip_s"),
    ("track.min_clip_s", "track.max_clip_s"),
)
"""The first of two settings may not be above the second."""


def find_faults(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with a configuration.

    Args:
        values: of all settings, by `stage.key`.
    """
    faults = [f"{key}={value} {want}" for key, value in values.items() if (want := _want(key, value))]
    faults += [
        f"{low}={values[low]} is above {high}={values[high]}" for low, high in ORDERED if values[low] > values[high]
    ]
    if values["depth.model"] != values["geometry.model"]:
        faults.append("depth.model must be the model of geometry.model, which clips are fitted with")
    if values["finalize.val_ratio"] + values["finalize.test_ratio"] > 1:
        faults.append("finalize.val_ratio and finalize.test_ratio together are above 1")
    model = values["geometry.model"]
    if model not in EMBEDDED and not model.endswith((".npz", ".mat")):
        faults.append(
            f"geometry.model={model} must be one of {', '.join(EMBEDDED)}, or the path of an .npz file or of "
            "BFM_model_front.mat"
        )
    languages = values["policy.languages"]
    if not languages or not all(re.fullmatch("[a-z]{2,3}", language) for language in languages):
        faults.append(f"policy.languages={list(languages)} must be ISO 639 codes, such as zh, and one at least")
    return faults


def _want(key: str, value: Any) -> str | None:
    if key in CHOICES:
        return None if value in CHOICES[key] else f"must be one of {', '.join(CHOICES[key])}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    low, high = next((low, high) for pattern, low, high in RANGES if fnmatchcase(key, pattern))
    if math.isfinite(value) and low <= value <= high:
        return None
    if math.isinf(high):
        return "must be above 0" if low == ABOVE_ZERO else f"must be at least {low:g}, and finite"
    return f"must be {'above 0' if low == ABOVE_ZERO else f'at least {low:g}'} and at most {high:g}"
