"""The records of the pipeline and on disk: every column, its type, unit and meaning.

A *row* is a plain dict keyed by the columns of `ROW`. It starts as a source (one video file), becomes one row per shot
after `scan` and one per clip after `track`. A row is never lost: a dropped one keeps its measurements and its reason.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 2
CLIP_FPS = 25
"""Frames per second of every clip. Frames are picked by timestamp, whatever the source's rate."""
AUDIO_RATE_HZ = 16_000
CROP_PX = 256
SPLITS = ("train", "val", "test")
NUM_LANDMARKS = 478

Row = dict[str, Any]


def _column(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, metadata={"description": description, "unit": unit})


def matrix(value: pa.DataType, width: int | None = None) -> pa.DataType:
    """Arrow type of a (T, width) array: one inner list a frame; `width=None` where it depends on a model."""
    return pa.list_(pa.list_(value) if width is None else pa.list_(value, width))


_str, _f32, _f64, _i32, _i64 = pa.string(), pa.float32(), pa.float64(), pa.int32(), pa.int64()

SOURCE = pa.schema(
    [
        _column("source_id", _str, "name of the source, unique in the manifest"),
        _column("uri", _str, "URL or path the media came from"),
        _column("platform", _str, "bilibili, douyin, local, ..."),
        _column("licence", _str, "licence or terms under which the source was published"),
        _column("consent", _str, "what is known of the consent of the person shown"),
        _column("speaker_id", _str, "speaker named by the manifest"),
        _column("declared_language", _str, "language named by the manifest (ISO 639-1)"),
        _column("tags", pa.list_(_str), "free labels of the manifest"),
        _column("spans", matrix(_f64, 2), "parts of the video that are meant, [start, end); null: all of it", "s"),
        _column("span_names", pa.list_(_str), "name of each span"),
        _column("parent_id", _str, "source_id of the playlist, page or search that listed it"),
        _column("expect_sha256", _str, "hash of the media file that another data set was made from"),
        _column("expect_format_id", _str, "format that it was fetched in"),
    ]
)

CRAWL = pa.schema(
    [
        _column("media_path", _str, "where the media lies while the pipeline runs"),
        _column("sha256", _str, "hash of the media file"),
        _column("num_bytes", _i64, "size of the media file", "bytes"),
        _column("retrieved_at", pa.timestamp("ms", tz="UTC"), "when the media was fetched or first read"),
        _column("extractor", _str, "yt-dlp extractor, or local"),
        _column("format_id", _str, "format that yt-dlp chose"),
        _column("title", _str, "title given by the site"),
        _column("uploader", _str, "account that published it"),
        _column("webpage_url", _str, "address of the video's own page"),
        _column("upload_date", _str, "day of publication as the site gives it, YYYYMMDD"),
        _column("site_id", _str, "name of the video at its site"),
        _column("bytes_changed", pa.bool_(), "whether the hash differs from the one that the manifest expects"),
        _column("entries", pa.list_(_str), "addresses that a listing was expanded to"),
    ]
)

PROBE = pa.schema(
    [
        _column("container", _str, "container format"),
        _column("video_codec", _str, "codec of the first video stream"),
        _column("audio_codec", _str, "codec of the first audio stream"),
        _column("width_px", _i32, "displayed width, rotation applied", "px"),
        _column("height_px", _i32, "displayed height, rotation applied", "px"),
        _column("rotation_deg", _i32, "clockwise rotation needed for display", "deg"),
        _column("fps_num", _i32, "average frame rate, numerator"),
        _column("fps_den", _i32, "average frame rate, denominator"),
        _column("duration_s", _f64, "length on the presentation clock", "s"),
        _column("video_start_s", _f64, "first presentation time of the video stream", "s"),
        _column("audio_start_s", _f64, "first presentation time of the audio stream", "s"),
        _column("audio_rate_hz", _i32, "sample rate of the audio stream", "Hz"),
        _column("num_audio_channels", _i32, "channels of the audio stream"),
    ]
)

HEAR = pa.schema(
    [
        _column("source_speech_s", _f32, "speech in the whole file, by Silero VAD", "s"),
        _column("source_speech_ratio", _f32, "share of the file that is speech, by Silero VAD", "0-1"),
        _column("source_webrtc_ratio", _f32, "share of the file that WebRTC VAD calls voiced", "0-1"),
        _column("source_language", _str, "most probable language over the looks taken (ISO 639-1)"),
        _column("source_language_prob", _f32, "its mean probability", "0-1"),
        _column("source_language_margin", _f32, "its lead over the second language", "0-1"),
        _column("source_dnsmos_sig", _f32, "DNSMOS P.835 speech quality, best window", "1-5"),
        _column("source_dnsmos_bak", _f32, "DNSMOS P.835 background quality, best window", "1-5"),
        _column("source_dnsmos_ovr", _f32, "DNSMOS P.835 overall quality, best window", "1-5"),
    ]
)

SCAN = pa.schema(
    [
        _column("shot_idx", _i32, "index of the shot in its source"),
        _column("num_shots", _i32, "shots of the source"),
        _column("span", _str, "name of the manifest's span that the shot lies in; null where it names none"),
        _column("shot_start_s", _f64, "first frame of the shot, on the presentation clock", "s"),
        _column("shot_end_s", _f64, "end of the shot (exclusive)", "s"),
        _column("shot_num_looks", _i32, "frames of the shot in which faces were looked for"),
        _column("shot_face_ratio", _f32, "share of looks with at least one face", "0-1"),
        _column("shot_multi_face_ratio", _f32, "share of looks with two or more faces", "0-1"),
        _column("shot_alone_s", _f32, "longest stretch without a second face, as far as looks can tell: at most", "s"),
        _column("shot_face_px", _f32, "median shorter side of the largest face, in source pixels", "px"),
    ]
)

TRACK = pa.schema(
    [
        _column("clip_idx", _i32, "index of the clip in its shot"),
        _column("num_clips", _i32, "number of clips of the shot, declared by the last of them"),
        _column("start_s", _f64, "time of the clip's first frame, on the presentation clock", "s"),
        _column("end_s", _f64, "end of the clip (exclusive)", "s"),
        _column("num_frames", _i32, "frames of the clip at 25 fps"),
        _column("unusable", _str, "reason that cut this stretch out of the shot; null: a clip that can be used"),
        _column("track_ratio", _f32, "share of frames with landmarks", "0-1"),
        _column("track_multi_face_ratio", _f32, "share of frames with a second face", "0-1"),
        _column("face_px", _f32, "median shorter side of the face box, in source pixels", "px"),
        _column("yaw_deg", _f32, "95th percentile of |yaw|, 0 is frontal", "deg"),
        _column("pitch_deg", _f32, "95th percentile of |pitch|, 0 is frontal", "deg"),
        _column("roll_deg", _f32, "95th percentile of |roll|, 0 is upright", "deg"),
        _column("crop_bytes", _f32, "mean size of the crops as JPEG: how much detail they show", "bytes"),
        _column("detail_px", _f32, "pixels across a crop from which it could be drawn as sharp as it is", "px"),
        _column("flat_ratio", _f32, "share of the face without any shading: coded into blocks, or drawn", "0-1"),
        _column("jitter", _f32, "landmark acceleration that no head makes: 95th percentile, in face widths a frame^2"),
        _column("thumb_jpeg", pa.binary(), "128 px preview: middle frame of the clip, or of the shot that gave none"),
    ]
)

IDENTITY = pa.schema(
    [
        _column("identity_min_sim", _f32, "lowest cosine of a sampled frame's ArcFace embedding to the clip's", "-1-1"),
        _column("face_embedding", pa.list_(pa.float16()), "mean ArcFace embedding, unit length"),
        _column("gender", _str, "apparent gender by classifier: female or male"),
        _column("gender_prob", _f32, "its probability", "0-1"),
        _column("age_years", _f32, "apparent age by regressor", "years"),
    ]
)

MOUTH = pa.schema(
    [
        _column("mouth_px", _f32, "median mouth width, in source pixels", "px"),
        _column("mouth_light", _f32, "median CIELAB lightness of the skin around the mouth", "0-100"),
        _column("mouth_visible_ratio", _f32, "share of frames with an unobstructed mouth", "0-1"),
        _column("mouth_motion", _f32, "standard deviation of the lip opening over the face's height"),
        _column("teeth_ratio", _f32, "share of frames that show teeth", "0-1"),
    ]
)

SPEECH = pa.schema(
    [
        _column("speech_ratio", _f32, "share of the clip that is speech, by Silero VAD", "0-1"),
        _column("num_speakers", _i32, "speakers that diarization tells apart"),
        _column("second_speaker_ratio", _f32, "share of speech by anyone but the main speaker", "0-1"),
        _column("overlap_ratio", _f32, "share of speech with two voices at once", "0-1"),
        _column("language", _str, "most probable language (ISO 639-1)"),
        _column("language_prob", _f32, "its probability", "0-1"),
        _column("language_margin", _f32, "its lead over the second language", "0-1"),
        _column("dnsmos_sig", _f32, "DNSMOS P.835 speech quality", "1-5"),
        _column("dnsmos_bak", _f32, "DNSMOS P.835 background quality", "1-5"),
        _column("dnsmos_ovr", _f32, "DNSMOS P.835 overall quality", "1-5"),
        _column("snr_db", _f32, "level of speech over level between speech, by VAD", "dB"),
        _column("crest_db", _f32, "peaks of speech over its level; low where they are clipped", "dB"),
        _column("voice_embedding", pa.list_(pa.float16()), "CAM++ speaker embedding, unit length"),
    ]
)

SYNC = pa.schema(
    [
        _column("sync_expert", _str, "who compared lips and sound"),
        _column("av_offset_ms", _f32, "how late the sound is in the source against the lips; negative: early", "ms"),
        _column("av_offset_frames", _i32, "the same in frames of 40 ms", "frames"),
        _column("av_drift_ms", _f32, "offset of the clip's second half less that of its first; null: too short", "ms"),
        _column("av_shift_ms", _f32, "by how much the clip's sound was brought forward to make up for it", "ms"),
        _column("sync_conf", _f32, "how far lips and sound agree beyond chance, in its standard deviations"),
        _column("sync_dist", _f32, "how unlike they are at the best offset: 1 less their correlation, or SyncNet's"),
    ]
)

GEOMETRY = pa.schema(
    [
        _column("geometry_model", _str, "3DMM that the coefficients belong to"),
        _column("fit_error_px", _f32, "median landmark reprojection error in the 256 px crop", "px"),
        _column(
            "fit_error_mm", _f32, "expected error of the lips' depth against the face, by the fit's own count", "mm"
        ),
    ]
)

FEATURES = pa.schema(
    [
        _column("whisper_model", _str, "Whisper encoder that gave the features, and its layers"),
        _column("audio_fingerprint", pa.list_(pa.uint32()), "spectral sign bits, one word every 80 ms"),
        _column("motion_fingerprint", pa.list_(pa.uint32()), "sign bits of the face's motion, one word every 80 ms"),
    ]
)

PAYLOAD = pa.schema(
    [
        _column("pts_s", pa.list_(_f64), "presentation time of each frame's source frame", "s"),
        _column("face_jpeg", pa.list_(pa.binary()), "256x256 RGB crop per frame, JPEG"),
        _column("landmarks", matrix(pa.float16(), NUM_LANDMARKS * 3), "MediaPipe x, y, z per point, crop pixels", "px"),
        _column("face_found", pa.list_(pa.bool_()), "whether it has landmarks of its own; else they are interpolated"),
        _column("blendshapes", matrix(pa.float16(), 52), "MediaPipe's 52 blendshape scores per frame", "0-1"),
        _column("crop_box_xyxy_px", matrix(_f32, 4), "the crop's box in the source frame", "px"),
        _column("bbox_xyxy_px", matrix(_f32, 4), "box around the landmarks in the source frame", "px"),
        _column("pose", matrix(_f32, 6), "rotation vector in rad, then translation in mm, camera frame of the crop"),
        _column("id_coeff", pa.list_(_f32), "3DMM identity, one for the clip"),
        _column("exp_coeff", matrix(_f32), "3DMM expression per frame"),
        _column("depth", pa.list_(pa.binary()), "256x256 16-bit PNG per frame: distance, 0 = no face", "0.1 mm"),
        _column("audio_pcm16", pa.list_(pa.int16()), "16 kHz mono, sample 0 at the first frame's time"),
        _column("whisper", matrix(pa.float16()), "Whisper encoder states at 50 Hz, layers side by side"),
    ]
)

VERDICT = pa.schema(
    [
        _column("row_id", _str, "source_id[-sSHOT[-cCLIP]]: unique, deterministic"),
        _column("last_stage", _str, "last stage that measured this row"),
        _column("fault_reason", _str, "fact that a stage found and no threshold can undo"),
        _column("fault_detail", _str, "what it found"),
        _column("verdict", _str, "keep, drop, or pending (wanted, but not all stages have measured it)"),
        _column("drop_stage", _str, "stage whose measurement decided"),
        _column("drop_reason", _str, "member of DropReason"),
        _column("drop_detail", _str, "the measurement beside its threshold"),
        _column("versions", _str, "JSON: code, config hash, weights of the stages that measured"),
    ]
)

STAGE_COLUMNS: dict[str, pa.Schema] = {
    "crawl": CRAWL,
    "probe": PROBE,
    "hear": HEAR,
    "scan": SCAN,
    "track": TRACK,
    "identity": IDENTITY,
    "mouth": MOUTH,
    "speech": SPEECH,
    "sync": SYNC,
    "geometry": GEOMETRY,
    "features": FEATURES,
}
"""Measurements by the stage that writes them. Payload columns are declared by the plan."""

LEDGER = pa.unify_schemas([VERDICT, SOURCE, *STAGE_COLUMNS.values()]).remove_metadata()
ROW = pa.unify_schemas([LEDGER, PAYLOAD])
"""Columns that flow between stages and are stored in `parts/`."""


DECIDED = pa.schema(
    [
        _column("split", _str, "train, val or test; no identity is in two"),
        _column("identity_id", _str, "cluster of face embeddings over the whole set"),
        _column("voice_sim", _f32, "mean cosine of the voice to that of the face's other clips; null: too few", "-1-1"),
        _column("repeat_id", _str, "the same for clips that show or let hear the same, in parts at least; else null"),
        _column("face_group", pa.int64(), "of clips ever compared: faces of different groups are not alike"),
        _column("repeat_group", pa.int64(), "the same of sound and pictures"),
    ]
)
"""Columns that `finalize` adds to the ledger for clips that pass the policy.

A clip keeps its groups when a later policy drops it.
"""


SHARD_ONLY = pa.schema(
    [
        _column("fps", _i32, "frames per second", "Hz"),
        _column("whisper_step", pa.list_(_f32), "of each number of a Whisper state: its byte (int8) times step"),
    ]
)


def shard_schema(exp_dim: int, whisper_dim: int, depth: bool = True, exact_whisper: bool = False) -> pa.Schema:
    """The schema of a shard: ids, measurements and payload of kept clips, with the width of arrays fixed.

    Args:
        exp_dim: expression coefficients of the geometry model.
        whisper_dim: numbers per 20 ms step: encoder width times layers kept.
        depth: whether depth maps are in it.
        exact_whisper: Whisper states are half floats, and need no `whisper_step`.
    """
    states = matrix(pa.float16(), whisper_dim) if exact_whisper else pa.list_(pa.binary())
    fixed = {"exp_coeff": matrix(_f32, exp_dim), "whisper": states}
    hidden = {"media_path", "verdict", "last_stage", "fault_reason", "fault_detail"}
    hidden |= {"drop_stage", "drop_reason", "drop_detail"}
    if not depth:
        hidden.add("depth")
    kept = [f.with_type(fixed.get(f.name, f.type)) for f in ROW if f.name not in hidden]
    added = [f for f in SHARD_ONLY if not (exact_whisper and f.name == "whisper_step")]
    finals = [DECIDED.field("split"), DECIDED.field("identity_id"), *added]
    return pa.schema([*finals, *kept], metadata={"schema_version": str(SCHEMA_VERSION)})


def row_id(row: Row) -> str:
    """Deterministic id of a source, shot or clip row."""
    parts = [row["source_id"]]
    if row.get("shot_idx") is not None:
        parts.append(f"s{row['shot_idx']:04d}")
    if row.get("clip_idx") is not None:
        parts.append(f"c{row['clip_idx']:03d}")
    return "-".join(parts)
