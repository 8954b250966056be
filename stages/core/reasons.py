"""Why records are not kept, and what each reason says to a person, in one line."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.core.records import Row


class Verdict(StrEnum):
    KEEP = "keep"
    DROP = "drop"
    PENDING = "pending"


class DropReason(StrEnum):
    """Why a record was not kept. A closed set: the report, the tests and the policy know every member."""

    UNAVAILABLE = "unavailable"
    RATE_LIMITED = "rate_limited"
    FORBIDDEN = "forbidden"
    LOGIN_REQUIRED = "login_required"
    GEO_BLOCKED = "geo_blocked"
    DELETED = "deleted"
    OPTED_OUT = "opted_out"
    FORBIDDEN_ADDRESS = "forbidden_address"
    LISTING = "listing"
    CHANGED = "changed"
    TOO_LONG = "too_long"
    TOO_LARGE = "too_large"
    NOT_VIDEO = "not_video"
    DUPLICATE_SOURCE = "duplicate_source"
    LICENCE = "licence"
    CONSENT = "consent"
    FORGOTTEN = "forgotten"
    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    NO_VIDEO = "no_video"
    NO_AUDIO = "no_audio"
    NO_SPAN = "no_span"
    LOW_RESOLUTION = "low_resolution"
    LOW_FPS = "low_fps"
    SPEECH = "speech"
    LANGUAGE = "language"
    NOISE = "noise"
    NO_FACE = "no_face"
    MULTI_FACE = "multi_face"
    FACE_TOO_SMALL = "face_too_small"
    COARSE = "coarse"
    TOO_SHORT = "too_short"
    FACE_LOST = "face_lost"
    POSE = "pose"
    JITTER = "jitter"
    IDENTITY_CHANGE = "identity_change"
    MOUTH_HIDDEN = "mouth_hidden"
    MOUTH_STATIC = "mouth_static"
    MULTI_SPEAKER = "multi_speaker"
    OUT_OF_SYNC = "out_of_sync"
    FIT_ERROR = "fit_error"
    OTHER_VOICE = "other_voice"
    DUPLICATE_CLIP = "duplicate_clip"
    CRASHED = "crashed"
    TIME_LIMIT = "time_limit"
    ERROR = "error"


TRANSIENT_REASONS = frozenset({DropReason.UNAVAILABLE, DropReason.RATE_LIMITED, DropReason.FORBIDDEN})
"""Faults that another run may not meet. LOGIN_REQUIRED is one more where cookies are given: they may be new."""
UNKNOWN_FAULTS = (DropReason.ERROR, DropReason.CRASHED, DropReason.TIME_LIMIT)
"""Not facts about a record: each may be gone in another run."""

REASON_TEXT: dict[DropReason, str] = {
    DropReason.UNAVAILABLE: "the source could not be fetched",
    DropReason.RATE_LIMITED: "the site asked us to slow down, and still did after all tries",
    DropReason.FORBIDDEN: "the site refused access (HTTP 403)",
    DropReason.LOGIN_REQUIRED: "the site asks for an account or fresh cookies",
    DropReason.GEO_BLOCKED: "the site refuses this region",
    DropReason.DELETED: "the site says that the source is gone",
    DropReason.OPTED_OUT: "the site's X-Robots-Tag forbids use for data sets",
    DropReason.FORBIDDEN_ADDRESS: "an address of a private network, or not http(s)",
    DropReason.LISTING: "a playlist, page or search; the videos it lists are sources of their own",
    DropReason.CHANGED: "not the bytes that the manifest expects",
    DropReason.TOO_LONG: "the source is longer than the crawl allows",
    DropReason.TOO_LARGE: "more bytes than the crawl allows, or frames or tables too large to open safely",
    DropReason.NOT_VIDEO: "the file is not a media container",
    DropReason.DUPLICATE_SOURCE: "the same file came from another source already",
    DropReason.LICENCE: "its licence is not named, or not one that the policy takes",
    DropReason.CONSENT: "consent is not named, or not one that the policy takes",
    DropReason.FORGOTTEN: "removed on request, and kept out since",
    DropReason.CORRUPT: "the file cannot be decoded",
    DropReason.TRUNCATED: "the file ends before its declared length",
    DropReason.NO_VIDEO: "the file has no moving pictures",
    DropReason.NO_AUDIO: "the file has no sound",
    DropReason.NO_SPAN: "the span that the manifest names is not in the file",
    DropReason.LOW_RESOLUTION: "too few pixels for a usable face",
    DropReason.LOW_FPS: "too few frames a second to follow lips",
    DropReason.SPEECH: "too little speech",
    DropReason.LANGUAGE: "another language, or too unsure of it",
    DropReason.NOISE: "background noise, music or a poor recording",
    DropReason.NO_FACE: "nobody in view",
    DropReason.MULTI_FACE: "more than one face in view",
    DropReason.FACE_TOO_SMALL: "the face is too small, or shows no more than a small one enlarged",
    DropReason.COARSE: "the face is coded into blocks, or drawn",
    DropReason.TOO_SHORT: "shorter than the shortest clip",
    DropReason.FACE_LOST: "the face was lost on the way",
    DropReason.POSE: "the head is turned or tilted too far",
    DropReason.JITTER: "landmarks move as no head does",
    DropReason.IDENTITY_CHANGE: "the face becomes another person",
    DropReason.MOUTH_HIDDEN: "the mouth is covered, cut off or too small",
    DropReason.MOUTH_STATIC: "the lips do not move",
    DropReason.MULTI_SPEAKER: "more than one voice",
    DropReason.OUT_OF_SYNC: "sound and lips do not run together",
    DropReason.FIT_ERROR: "the face model does not fit the landmarks",
    DropReason.OTHER_VOICE: "the voice is not that of the face: a narrator, someone off screen, or a dub",
    DropReason.DUPLICATE_CLIP: "the same clip is in the set already",
    DropReason.CRASHED: "every worker that took it up died: a poison record, or a machine short of memory",
    DropReason.TIME_LIMIT: "a stage did not come to an end with it",
    DropReason.ERROR: "a stage failed on this record; its ledger row holds the traceback",
}


class Dropped(Exception):
    """A record that cannot be used, as a stage found it: a fact about the record, not a threshold.

    Args:
        reason: the member of the closed set.
        detail: what was found, for the person who reads the ledger.
        measured: columns that the stage could still fill.
    """

    def __init__(self, reason: DropReason, detail: str, measured: Row | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.measured = reason, detail, measured or {}
