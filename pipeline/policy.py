"""Measurements to verdict: a pure function, applied by the stream to skip work and by finalize to decide again.

Every check belongs to the stage that measured. A row is judged in the plan's order: the first check that fails, or the
first fact a stage found, is its reason. A row that passes everything measured so far but has stages missing is pending.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from pipeline.records import DropReason, Row


class Verdict(StrEnum):
    KEEP = "keep"
    DROP = "drop"
    PENDING = "pending"


@dataclass(frozen=True)
class PolicyConfig:
    """Thresholds. Changing one re-decides a data set without touching video (`python -m pipeline.finalize`)."""

    require_licence: bool = False  # of the source; "unknown" and the like are none
    require_consent: bool = False  # of the person shown
    licences: tuple[str, ...] = ()  # allowed, as shell patterns in any case: CC-BY*; none means any
    consents: tuple[str, ...] = ()  # likewise: written*
    require_same_bytes: bool = False  # drop sources whose hash is not the manifest's expect_sha256
    languages: tuple[str, ...] = ("zh",)  # ISO 639-1; the paper's set is Chinese
    min_height_px: int = 240  # shorter side; below it no face reaches min_face_px in a half-body shot
    min_fps: float = 15.0  # lips move at up to 7 Hz (syllables); Nyquist
    min_clip_s: float = 3.0  # the JoyGen set's shortest useful span
    min_speech_s: float = 2.0  # speech in the file; a clip cannot have more
    min_speech_ratio: float = 0.5  # of a clip; read speech pauses 20-30 % of the time
    max_source_language_conf: float = 0.8  # a file is dropped for its language only when this sure it is another
    min_language_prob: float = 0.5  # of a clip; more probable than all others together
    min_language_margin: float = 0.2  # lead over the second language
    min_dnsmos_bak: float = 2.2  # background, 1-5; real Mandarin at 2.4-2.7 is clean to the ear, 1.5 is not
    min_dnsmos_sig: float = 2.0  # speech, 1-5
    min_snr_db: float = 5.0  # speech over pauses
    min_shot_face_ratio: float = 0.5  # of looks at 2 fps
    max_multi_face_ratio: float = 0.1  # of looks; one false detection in an 8 s clip
    min_face_px: float = 90.0  # shorter side of the face box in the source: a third of the crop's 256
    min_track_ratio: float = 0.95  # of frames with landmarks
    max_yaw_deg: float = 35.0  # beyond it the far lip corner is hidden
    max_pitch_deg: float = 30.0
    max_roll_deg: float = 30.0
    max_jitter: float = 0.05  # face widths a frame^2
    min_identity_sim: float = 0.35  # ArcFace cosine; others were at most .195, the same person .70 and more
    min_mouth_px: float = 24.0  # mouth width in the source
    min_mouth_visible_ratio: float = 0.9
    min_mouth_motion: float = 0.004  # lip opening over the face's height; a photo has under .002
    max_second_speaker_ratio: float = 0.1  # of speech
    max_av_offset_ms: float = 200.0  # five frames; loudness follows the lips by up to 120 ms on real speakers
    min_sync_conf: float = 4.0  # an offset is believed, and drops a clip, only above it
    max_fit_error_px: float = 4.0  # mean shape with pose has 4.0 on real photos


@dataclass(frozen=True)
class Check:
    """One rule: `test` gives the detail of a failure, or None."""

    stage: str
    reason: DropReason
    test: Callable[[Row, PolicyConfig], str | None]


def _below(column: str, threshold: str) -> Callable[[Row, PolicyConfig], str | None]:
    def test(row: Row, policy: PolicyConfig) -> str | None:
        value, limit = row.get(column), getattr(policy, threshold)
        return f"{column} {value:.3g} < {limit:g}" if value is not None and value < limit else None

    return test


def _above(column: str, threshold: str) -> Callable[[Row, PolicyConfig], str | None]:
    def test(row: Row, policy: PolicyConfig) -> str | None:
        value, limit = row.get(column), getattr(policy, threshold)
        return f"{column} {value:.3g} > {limit:g}" if value is not None and value > limit else None

    return test


NOT_GIVEN = frozenset(
    {"", "-", "?", "denied", "n/a", "no", "none", "not given", "refused", "unknown", "withdrawn", "无", "未知"}
)
"""What a manifest writes where there is no licence or no consent."""


def _granted(column: str, required: str, allowed: str) -> Callable[[Row, PolicyConfig], str | None]:
    def test(row: Row, policy: PolicyConfig) -> str | None:
        value, patterns = (row.get(column) or "").strip(), getattr(policy, allowed)
        text = value.lower()
        if text in NOT_GIVEN and (patterns or getattr(policy, required)):
            return f"{column}: {value or 'none named'}"
        if patterns and not any(fnmatchcase(text, pattern.lower()) for pattern in patterns):
            return f"{column} {value!r} is none of {', '.join(patterns)}"
        return None

    return test


def _changed(row: Row, policy: PolicyConfig) -> str | None:
    if not policy.require_same_bytes or not row.get("bytes_changed"):
        return None
    return f"sha256 {row['sha256'][:12]}, expected {row['expect_sha256'][:12]}"


def _resolution(row: Row, policy: PolicyConfig) -> str | None:
    side = min(row["width_px"], row["height_px"])
    return f"shorter side {side} px < {policy.min_height_px}" if side < policy.min_height_px else None


def _fps(row: Row, policy: PolicyConfig) -> str | None:
    fps = row["fps_num"] / row["fps_den"]
    return f"{fps:.3g} fps < {policy.min_fps:g}" if fps < policy.min_fps else None


def _source_length(row: Row, policy: PolicyConfig) -> str | None:
    length_s = row["duration_s"]
    return f"{length_s:.2f} s < {policy.min_clip_s:g}" if length_s < policy.min_clip_s else None


def _shot_length(row: Row, policy: PolicyConfig) -> str | None:
    length_s = row["shot_end_s"] - row["shot_start_s"]
    return f"shot of {length_s:.2f} s < {policy.min_clip_s:g}" if length_s < policy.min_clip_s else None


CUTTING = (
    DropReason.FACE_LOST,
    DropReason.MULTI_FACE,
    DropReason.IDENTITY_CHANGE,
    DropReason.POSE,
    DropReason.MOUTH_HIDDEN,
)
"""What cuts a stretch out of a shot. One that is long enough for a clip is judged by its measurements all the same."""


def _cut_out(reason: DropReason) -> Callable[[Row, PolicyConfig], str | None]:
    def test(row: Row, policy: PolicyConfig) -> str | None:
        length_s = row["end_s"] - row["start_s"]
        if row.get("unusable") != reason or length_s >= policy.min_clip_s:
            return None
        return f"{length_s:.2f} s, cut out of the shot"

    return test


def _crowded(row: Row, policy: PolicyConfig) -> str | None:
    ratio, alone_s = row.get("shot_multi_face_ratio"), row.get("shot_alone_s") or 0.0
    if ratio is None or ratio <= policy.max_multi_face_ratio or alone_s >= policy.min_clip_s:
        return None
    return f"a second face in {ratio:.2f} of the looks, and never {policy.min_clip_s:g} s without"


def _clip_length(row: Row, policy: PolicyConfig) -> str | None:
    length_s = row["end_s"] - row["start_s"]
    return f"clip of {length_s:.2f} s < {policy.min_clip_s:g}" if length_s < policy.min_clip_s else None


def _source_language(row: Row, policy: PolicyConfig) -> str | None:
    language, prob = row.get("source_language"), row.get("source_language_prob")
    if language is None or prob is None or language in policy.languages or prob < policy.max_source_language_conf:
        return None
    return f"{language} ({prob:.2f}), want {'/'.join(policy.languages)}"


def _language(row: Row, policy: PolicyConfig) -> str | None:
    language, prob, margin = row["language"], row["language_prob"], row["language_margin"]
    if language not in policy.languages:
        return f"{language} ({prob:.2f}), want {'/'.join(policy.languages)}"
    if prob < policy.min_language_prob or margin < policy.min_language_margin:
        return f"{language}, but unsure: probability {prob:.2f}, margin {margin:.2f}"
    return None


def _out_of_sync(row: Row, policy: PolicyConfig) -> str | None:
    offset_ms, conf = row["av_offset_ms"], row["sync_conf"]
    if conf < policy.min_sync_conf or abs(offset_ms) <= policy.max_av_offset_ms:
        return None
    return f"sound {offset_ms:+.0f} ms against the lips (confidence {conf:.1f}), limit {policy.max_av_offset_ms:g}"


CHECKS: tuple[Check, ...] = (
    # What the manifest says: judged before anything is fetched.
    Check("crawl", DropReason.LICENCE, _granted("licence", "require_licence", "licences")),
    Check("crawl", DropReason.CONSENT, _granted("consent", "require_consent", "consents")),
    Check("crawl", DropReason.CHANGED, _changed),
    Check("probe", DropReason.LOW_RESOLUTION, _resolution),
    Check("probe", DropReason.LOW_FPS, _fps),
    Check("probe", DropReason.TOO_SHORT, _source_length),
    Check("hear", DropReason.SPEECH, _below("source_speech_s", "min_speech_s")),
    Check("hear", DropReason.LANGUAGE, _source_language),
    Check("hear", DropReason.NOISE, _below("source_dnsmos_bak", "min_dnsmos_bak")),
    Check("hear", DropReason.NOISE, _below("source_dnsmos_sig", "min_dnsmos_sig")),
    Check("scan", DropReason.TOO_SHORT, _shot_length),
    Check("scan", DropReason.NO_FACE, _below("shot_face_ratio", "min_shot_face_ratio")),
    Check("scan", DropReason.MULTI_FACE, _crowded),
    Check("scan", DropReason.FACE_TOO_SMALL, _below("shot_face_px", "min_face_px")),
    *(Check("track", reason, _cut_out(reason)) for reason in CUTTING),
    Check("track", DropReason.TOO_SHORT, _clip_length),
    Check("track", DropReason.MULTI_FACE, _above("track_multi_face_ratio", "max_multi_face_ratio")),
    Check("track", DropReason.FACE_LOST, _below("track_ratio", "min_track_ratio")),
    Check("track", DropReason.FACE_TOO_SMALL, _below("face_px", "min_face_px")),
    Check("track", DropReason.POSE, _above("yaw_deg", "max_yaw_deg")),
    Check("track", DropReason.POSE, _above("pitch_deg", "max_pitch_deg")),
    Check("track", DropReason.POSE, _above("roll_deg", "max_roll_deg")),
    Check("track", DropReason.JITTER, _above("jitter", "max_jitter")),
    Check("identity", DropReason.IDENTITY_CHANGE, _below("identity_min_sim", "min_identity_sim")),
    Check("mouth", DropReason.MOUTH_HIDDEN, _below("mouth_px", "min_mouth_px")),
    Check("mouth", DropReason.MOUTH_HIDDEN, _below("mouth_visible_ratio", "min_mouth_visible_ratio")),
    Check("mouth", DropReason.MOUTH_STATIC, _below("mouth_motion", "min_mouth_motion")),
    Check("speech", DropReason.SPEECH, _below("speech_ratio", "min_speech_ratio")),
    Check("speech", DropReason.NOISE, _below("dnsmos_bak", "min_dnsmos_bak")),
    Check("speech", DropReason.NOISE, _below("dnsmos_sig", "min_dnsmos_sig")),
    Check("speech", DropReason.NOISE, _below("snr_db", "min_snr_db")),
    Check("speech", DropReason.MULTI_SPEAKER, _above("second_speaker_ratio", "max_second_speaker_ratio")),
    Check("speech", DropReason.LANGUAGE, _language),
    Check("sync", DropReason.OUT_OF_SYNC, _out_of_sync),
    Check("geometry", DropReason.FIT_ERROR, _above("fit_error_px", "max_fit_error_px")),
)


def decide(row: Row, policy: PolicyConfig, stages: tuple[str, ...]) -> Row:
    """The verdict columns of a row.

    Args:
        row: measurements, with `last_stage`, the last of `stages` that ran on it, and its fault if it has one.
        stages: names of all stages in the plan's order.
    Returns:
        `verdict`, `drop_stage`, `drop_reason`, `drop_detail`; the last three None unless dropped.
    """
    last = stages.index(row["last_stage"]) if row.get("last_stage") else -1
    measured = stages[: last + 1]
    faulted = row.get("fault_reason") is not None
    for stage in measured:
        if faulted and stage == measured[-1]:
            return _drop(stage, row["fault_reason"], row["fault_detail"])
        for check in CHECKS:
            if check.stage == stage and (detail := check.test(row, policy)) is not None:
                return _drop(stage, check.reason, detail)
    verdict = Verdict.KEEP if last == len(stages) - 1 else Verdict.PENDING
    return {"verdict": str(verdict), "drop_stage": None, "drop_reason": None, "drop_detail": None}


def _drop(stage: str, reason: str, detail: str) -> Row:
    return {"verdict": str(Verdict.DROP), "drop_stage": stage, "drop_reason": str(reason), "drop_detail": detail}
