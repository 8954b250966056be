"""Why records are not kept, and what each reason says to a person, in one line."""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.core.records import Row


class Verdict(StrEnum):
    KEEP = "keep"
    DROP = "drop"
    PENDING = "pending"


class DropReason(StrEnum):
    """Why a record was not kept, and in `text` what that says to a person.

    A closed set: the report, the tests and the policy know every member.
    """

    text: str

    def __new__(cls, value: str, text: str) -> DropReason:
        reason = str.__new__(cls, value)
        reason._value_, reason.text = value, text
        return reason

    UNAVAILABLE = "unavailable", "the source could not be fetched"
    RATE_LIMITED = "rate_limited", "the site asked us to slow down, and still did after all tries"
    FORBIDDEN = "forbidden", "the site refused access (HTTP 403)"
    LOGIN_REQUIRED = "login_required", "the site asks for an account or fresh cookies"
    GEO_BLOCKED = "geo_blocked", "the site refuses this region"
    DELETED = "deleted", "the site says that the source is gone"
    OPTED_OUT = "opted_out", "the site's X-Robots-Tag forbids use for data sets"
    FORBIDDEN_ADDRESS = "forbidden_address", "an address of a private network, or not http(s)"
    LISTING = "listing", "a playlist, page or search; the videos it lists are sources of their own"
    CHANGED = "changed", "not the bytes that the manifest expects"
    TOO_LONG = "too_long", "the source is longer than the crawl allows"
    TOO_LARGE = "too_large", "more bytes than the crawl allows, or frames or tables too large to open safely"
    NOT_VIDEO = "not_video", "the file is not a media container"
    DUPLICATE_SOURCE = "duplicate_source", "the same file came from another source already"
    LICENCE = "licence", "its licence is not named, or not one that the policy takes"
    CONSENT = "consent", "consent is not named, or not one that the policy takes"
    FORGOTTEN = "forgotten", "removed on request, and kept out since"
    CORRUPT = "corrupt", "the file cannot be decoded"
    TRUNCATED = "truncated", "the file ends before its declared length"
    NO_VIDEO = "no_video", "the file has no moving pictures"
    NO_AUDIO = "no_audio", "the file has no sound"
    NO_SPAN = "no_span", "the span that the manifest names is not in the file"
    LOW_RESOLUTION = "low_resolution", "too few pixels for a usable face"
    LOW_FPS = "low_fps", "too few frames a second to follow lips"
    SPEECH = "speech", "too little speech"
    LANGUAGE = "language", "another language, or too unsure of it"
    NOISE = "noise", "background noise, music or a poor recording"
    NO_FACE = "no_face", "nobody in view"
    MULTI_FACE = "multi_face", "more than one face in view"
    FACE_TOO_SMALL = "face_too_small", "the face is too small, or shows no more than a small one enlarged"
    COARSE = "coarse", "the face is coded into blocks, or drawn"
    TOO_SHORT = "too_short", "shorter than the shortest clip"
    FACE_LOST = "face_lost", "the face was lost on the way"
    POSE = "pose", "the head is turned or tilted too far"
    JITTER = "jitter", "landmarks move as no head does"
    IDENTITY_CHANGE = "identity_change", "the face becomes another person"
    MOUTH_HIDDEN = "mouth_hidden", "the mouth is covered, cut off or too small"
    MOUTH_STATIC = "mouth_static", "the lips do not move"
    MULTI_SPEAKER = "multi_speaker", "more than one voice"
    OUT_OF_SYNC = "out_of_sync", "sound and lips do not run together"
    FIT_ERROR = "fit_error", "the face model does not fit the landmarks"
    OTHER_VOICE = "other_voice", "the voice is not that of the face: a narrator, someone off screen, or a dub"
    DUPLICATE_CLIP = "duplicate_clip", "the same clip is in the set already"
    CRASHED = "crashed", "every worker that took it up died: a poison record, or a machine short of memory"
    TIME_LIMIT = "time_limit", "a stage did not come to an end with it"
    ERROR = "error", "a stage failed on this record; its ledger row holds the traceback"


TRANSIENT_REASONS = frozenset({DropReason.UNAVAILABLE, DropReason.RATE_LIMITED, DropReason.FORBIDDEN})
"""Faults that another run may not meet. LOGIN_REQUIRED is one more where cookies are given: they may be new."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_TROUBLE = (*DISK_FULL, errno.EROFS)
"""Error numbers of a disk that takes nothing more. Every record would meet them: the job stops, and blames none."""
UNKNOWN_FAULTS = (DropReason.ERROR, DropReason.CRASHED, DropReason.TIME_LIMIT)
"""Not facts about a record: each may be gone in another run."""


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
