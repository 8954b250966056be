"""Measurements to verdict: a pure function, applied by the stream to skip work and by finalize to decide again.

Every check belongs to the stage that measured. A row is judged in the plan's order: the first check that fails, or the
first fact a stage found, is its reason. A number that its stage left null or not finite is an error of the row,
unless the row has a fact already: what was forgotten has no numbers. A row that passes everything measured so far but
has stages missing is pending.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline.rules.quantities import LIMITS, Limit, Number
from stages.core.ranges import ranged
from stages.core.reasons import DropReason, Verdict
from stages.core.records import Row


@dataclass(frozen=True)
class PolicyConfig:
    """Thresholds. Changing one re-decides a data set without touching video (`python -m pipeline.finalize`)."""

    require_licence: bool = False  # Drop sources without a licence. "unknown" and the like count as none
    require_consent: bool = False  # Drop sources without the consent of the person shown
    # Allowed licences, as shell patterns in any case, such as CC-BY*; none allows any licence
    licences: tuple[str, ...] = ()
    # Allowed consents, as shell patterns in any case, such as written*; none allows any consent
    consents: tuple[str, ...] = ()
    require_same_bytes: bool = False  # Drop sources whose hash is not the manifest's expect_sha256
    languages: tuple[str, ...] = ("zh",)  # Languages kept, by ISO 639-1 code. The paper's set is Chinese
    # Least shorter side of the picture. Below 240 no face reaches min_face_px in a half-body shot
    min_height_px: int = 240
    min_fps: float = 15.0  # Least frame rate, in Hz. Lips move at up to 7 Hz (syllables), so Nyquist asks for 14
    min_clip_s: float = 3.0  # Least length of a clip. 3 s is the JoyGen set's shortest useful span
    min_speech_s: float = 2.0  # Least speech in the file. A clip cannot have more
    min_speech_ratio: float = 0.5  # Least share of speech in a clip. Read speech pauses 20-30 % of the time
    max_source_language_conf: float = 0.8  # Probability from which another language drops a whole file
    # Least probability of a clip's language. From 0.5 on it is more probable than all others together
    min_language_prob: float = 0.5
    min_language_margin: float = 0.2  # Least lead of a clip's language over the second, in probability
    # Least DNSMOS quality of the background, 1-5. Real Mandarin at 2.4-2.7 is clean to the ear, at 1.5 not
    min_dnsmos_bak: float = ranged(2.2, high=5)
    min_dnsmos_sig: float = ranged(2.0, high=5)  # Least DNSMOS quality of the speech, 1-5
    # Least level of speech over pauses. Music, babble or cars 20 dB below the speech read 17 and more, 10 dB below it 7
    # to 15
    min_snr_db: float = 14.0
    # Least crest factor of speech. Speech has 10 to 20, clipped by 24 dB 2.9 to 6.4; a sine has 3, noise 12
    min_crest_db: float = 7.0
    min_shot_face_ratio: float = 0.5  # Least share of a shot's looks with a face. Looks come at scan.look_fps
    # Largest share of looks with a second face. 0.1 allows one false detection in an 8 s clip
    max_multi_face_ratio: float = 0.1
    min_face_px: float = 90.0  # Least shorter side of the face box in the source. 90 px are a third of the crop's 256
    # Least real resolution across the crop. 80 is three quarters of the pixels that a face of min_face_px has there
    min_detail_px: float = 80.0
    # Largest share of the face without shading. Cameras leave .08 at most, visible blocks .11
    max_flat_ratio: float = 0.1
    min_track_ratio: float = 0.95  # Least share of frames with landmarks
    max_yaw_deg: float = 35.0  # Largest yaw of the head. Beyond 35 degrees the far lip corner is hidden
    max_pitch_deg: float = 30.0  # Largest pitch of the head
    max_roll_deg: float = 30.0  # Largest roll of the head
    max_jitter: float = 0.05  # Largest jitter of the landmarks, in face widths a frame^2
    # Least ArcFace cosine of a sampled frame to its clip. Other people had .195 at most, the same person .70 and more
    min_identity_sim: float = 0.35
    min_mouth_px: float = 24.0  # Least width of the mouth in the source
    min_mouth_visible_ratio: float = 0.9  # Least share of looks in which the mouth is visible
    # Least CIELAB L* of the skin around the mouth. 10 is 1.1 % of white, where lips cannot be distinguished
    min_mouth_light: float = 10.0
    # Least standard deviation of the lip opening, in face heights. A photo has under .002
    min_mouth_motion: float = 0.004
    max_second_speaker_ratio: float = 0.1  # Largest share of the speech that a second speaker has
    # Least confidence of the sync expert, in standard deviations. With max_av_offset_ms, 3 % of 3 s clips with wrong
    # sound pass and 6 % of those in sync are dropped
    min_sync_conf: float = ranged(2.2, low=0)
    # Largest offset between sound and lips that is left after correction. Viewers accept sound that is 90 ms early, or
    # 185 ms late (ITU-R BT.1359)
    max_av_offset_ms: float = 90.0
    # Largest median error of the fitted landmarks. The mean shape with only a pose has 4.0 on real photos
    max_fit_error_px: float = 4.0


@dataclass(frozen=True)
class Fact:
    """A condition other than a number against a threshold.

    Args:
        keys: fields of PolicyConfig that it depends on.
        columns: all that `fault` reads.
        fault: returns the detail of a failure, or None.
    """

    keys: tuple[str, ...]
    columns: tuple[str, ...]
    fault: Callable[[Row, PolicyConfig], str | None]


@dataclass(frozen=True)
class Check:
    """One rule of the policy.

    Args:
        stage: stage whose measurement it judges.
        where: a second rule; the check fails only rows that fail both.
    """

    stage: str
    reason: DropReason
    rule: Limit | Fact
    where: Limit | Fact | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return self.rule.columns + (self.where.columns if self.where else ())

    @property
    def limits(self) -> tuple[Limit, ...]:
        return tuple(rule for rule in (self.rule, self.where) if isinstance(rule, Limit))

    def gap(self, row: Row) -> str | None:
        """A number that its stage should have measured and did not, or None."""
        return next((gap for limit in self.limits if (gap := limit.gap(row)) is not None), None)

    def test(self, row: Row, policy: PolicyConfig) -> str | None:
        """The detail of a failure, or None."""
        fault = self.rule.fault(row, policy)
        if fault is None or self.where is None:
            return fault
        where = self.where.fault(row, policy)
        return None if where is None else f"{fault}, where {where}"


NOT_GIVEN = frozenset(
    {"", "-", "?", "denied", "n/a", "no", "none", "not given", "refused", "unknown", "withdrawn", "无", "未知"}
)
"""Words of a manifest that stand for no licence or no consent."""


def _granted(column: str, required: str, allowed: str) -> Fact:
    def fault(row: Row, policy: PolicyConfig) -> str | None:
        value, patterns = (row.get(column) or "").strip(), getattr(policy, allowed)
        text = value.lower()
        if text in NOT_GIVEN and (patterns or getattr(policy, required)):
            return f"{column}: {value or 'none named'}"
        if patterns and not any(fnmatchcase(text, pattern.lower()) for pattern in patterns):
            return f"{column} {value!r} is none of {', '.join(patterns)}"
        return None

    return Fact((required, allowed), (column,), fault)


def _changed(row: Row, policy: PolicyConfig) -> str | None:
    if not policy.require_same_bytes or not row.get("bytes_changed"):
        return None
    return f"sha256 {row['sha256'][:12]}, expected {row['expect_sha256'][:12]}"


def _other_than(column: str) -> Fact:
    def fault(row: Row, policy: PolicyConfig) -> str | None:
        language = row.get(column)
        if language is None or language in policy.languages:
            return None
        return f"{column} {language}, want {'/'.join(policy.languages)}"

    return Fact(("languages",), (column,), fault)


CUTTING = (
    DropReason.FACE_LOST,
    DropReason.MULTI_FACE,
    DropReason.IDENTITY_CHANGE,
    DropReason.POSE,
    DropReason.MOUTH_HIDDEN,
    DropReason.MOUTH_STATIC,
)
"""Reasons that cut a stretch out of a shot.

A stretch too short for a clip is dropped for its reason; a longer one is judged by its measurements.
"""


def _cut_out(reason: DropReason) -> Check:
    def fault(row: Row, _: PolicyConfig) -> str | None:
        return "cut out of the shot" if row.get("unusable") == reason else None

    return Check("track", reason, Fact((), ("unusable",), fault), where=LIMITS["clip_length_s"])


_ALONE = Limit("min_clip_s", Number(("shot_alone_s",), "shot_alone_s"), operator.lt)
_SURELY_OTHER = Limit(
    "max_source_language_conf", Number(("source_language_prob",), "source_language_prob"), operator.ge
)

CHECKS: tuple[Check, ...] = (
    # What the manifest says: judged before anything is fetched.
    Check("crawl", DropReason.LICENCE, _granted("licence", "require_licence", "licences")),
    Check("crawl", DropReason.CONSENT, _granted("consent", "require_consent", "consents")),
    Check(
        "crawl",
        DropReason.CHANGED,
        Fact(("require_same_bytes",), ("bytes_changed", "sha256", "expect_sha256"), _changed),
    ),
    Check(
        "probe",
        DropReason.LOW_RESOLUTION,
        LIMITS["shorter_side_px"],
    ),
    Check("probe", DropReason.LOW_FPS, LIMITS["fps"]),
    Check("probe", DropReason.TOO_SHORT, LIMITS["duration_s"]),
    Check("hear", DropReason.SPEECH, LIMITS["source_speech_s"]),
    Check(
        "hear",
        DropReason.LANGUAGE,
        _other_than("source_language"),
        where=_SURELY_OTHER,
    ),
    Check("hear", DropReason.NOISE, LIMITS["source_dnsmos_bak"]),
    Check("hear", DropReason.NOISE, LIMITS["source_dnsmos_sig"]),
    Check("scan", DropReason.TOO_SHORT, LIMITS["shot_length_s"]),
    Check("scan", DropReason.NO_FACE, LIMITS["shot_face_ratio"]),
    Check(
        "scan",
        DropReason.MULTI_FACE,
        LIMITS["shot_multi_face_ratio"],
        where=_ALONE,
    ),
    Check("scan", DropReason.FACE_TOO_SMALL, LIMITS["shot_face_px"]),
    *map(_cut_out, CUTTING),
    Check("track", DropReason.TOO_SHORT, LIMITS["clip_length_s"]),
    Check("track", DropReason.MULTI_FACE, LIMITS["track_multi_face_ratio"]),
    Check("track", DropReason.FACE_LOST, LIMITS["track_ratio"]),
    Check("track", DropReason.FACE_TOO_SMALL, LIMITS["face_px"]),
    Check("track", DropReason.FACE_TOO_SMALL, LIMITS["detail_px"]),
    Check("track", DropReason.COARSE, LIMITS["flat_ratio"]),
    Check("track", DropReason.POSE, LIMITS["yaw_deg"]),
    Check("track", DropReason.POSE, LIMITS["pitch_deg"]),
    Check("track", DropReason.POSE, LIMITS["roll_deg"]),
    Check("track", DropReason.JITTER, LIMITS["jitter"]),
    Check("identity", DropReason.IDENTITY_CHANGE, LIMITS["identity_min_sim"]),
    Check("mouth", DropReason.MOUTH_HIDDEN, LIMITS["mouth_px"]),
    Check("mouth", DropReason.MOUTH_HIDDEN, LIMITS["mouth_light"]),
    Check("mouth", DropReason.MOUTH_HIDDEN, LIMITS["mouth_visible_ratio"]),
    Check("mouth", DropReason.MOUTH_STATIC, LIMITS["mouth_motion"]),
    Check("speech", DropReason.SPEECH, LIMITS["speech_ratio"]),
    Check("speech", DropReason.NOISE, LIMITS["dnsmos_bak"]),
    Check("speech", DropReason.NOISE, LIMITS["dnsmos_sig"]),
    Check("speech", DropReason.NOISE, LIMITS["snr_db"]),
    Check("speech", DropReason.NOISE, LIMITS["crest_db"]),
    Check("speech", DropReason.MULTI_SPEAKER, LIMITS["second_speaker_ratio"]),
    Check("speech", DropReason.LANGUAGE, _other_than("language")),
    Check("speech", DropReason.LANGUAGE, LIMITS["language_prob"]),
    Check("speech", DropReason.LANGUAGE, LIMITS["language_margin"]),
    Check("sync", DropReason.OUT_OF_SYNC, LIMITS["sync_conf"]),
    Check(
        "sync",
        DropReason.OUT_OF_SYNC,
        LIMITS["|av_offset_ms| left"],
    ),
    Check("geometry", DropReason.FIT_ERROR, LIMITS["fit_error_px"]),
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
    fault = row.get("fault_reason") if last >= 0 else None
    measured = stages[: last + 1 if fault is None else last]
    for check in CHECKS:
        if check.stage not in measured:
            continue
        if fault is None and (gap := check.gap(row)) is not None:
            return _drop(check.stage, DropReason.ERROR, gap)
        if (detail := check.test(row, policy)) is not None:
            return _drop(check.stage, check.reason, detail)
    if fault is not None:
        return _drop(stages[last], fault, row["fault_detail"])
    verdict = Verdict.KEEP if last == len(stages) - 1 else Verdict.PENDING
    return {"verdict": str(verdict), "drop_stage": None, "drop_reason": None, "drop_detail": None}


def _drop(stage: str, reason: str, detail: str) -> Row:
    return {"verdict": str(Verdict.DROP), "drop_stage": stage, "drop_reason": str(reason), "drop_detail": detail}
