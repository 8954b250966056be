"""What each drop reason says to a person, in one line; the report and the schema page read it from here."""

from __future__ import annotations

from pipeline.records import DropReason

REASON_TEXT: dict[DropReason, str] = {
    DropReason.UNAVAILABLE: "the source could not be fetched",
    DropReason.GEO_OR_LOGIN: "the site asks for another region or an account",
    DropReason.TOO_LONG: "the source is longer than the crawl allows",
    DropReason.NOT_VIDEO: "the file is not a media container",
    DropReason.DUPLICATE_SOURCE: "the same file came from another source already",
    DropReason.CORRUPT: "the file cannot be decoded",
    DropReason.TRUNCATED: "the file ends before its declared length",
    DropReason.NO_VIDEO: "the file has no moving pictures",
    DropReason.NO_AUDIO: "the file has no sound",
    DropReason.LOW_RESOLUTION: "too few pixels for a usable face",
    DropReason.LOW_FPS: "too few frames a second to follow lips",
    DropReason.SPEECH: "too little speech",
    DropReason.LANGUAGE: "another language, or too unsure of it",
    DropReason.NOISE: "background noise, music or a poor recording",
    DropReason.NO_FACE: "nobody in view",
    DropReason.MULTI_FACE: "more than one face in view",
    DropReason.FACE_TOO_SMALL: "the face is too small",
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
    DropReason.DUPLICATE_CLIP: "the same clip is in the set already",
    DropReason.CRASHED: "every worker that took it up died: a poison record, or a machine short of memory",
    DropReason.TIME_LIMIT: "a stage did not come to an end with it",
    DropReason.ERROR: "a stage failed on this record; its ledger row holds the traceback",
}
