"""Made-up rows: what each stage measures of a clip that the default policy keeps, and such clips whole."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipeline.job.parts import write_part
from pipeline.job.plan import STAGE_NAMES
from stages.core.records import NUM_LANDMARKS, Row, row_id
from stages.core.rows import table_from_rows

NUM_FRAMES = 100


def measured(stage: str, rng: np.random.Generator) -> Row:
    """Measurements of one stage that the default policy keeps."""
    near = rng.normal
    if stage == "probe":
        fps_num, fps_den = [(25, 1), (30, 1), (30000, 1001), (24, 1), (60, 1)][rng.integers(5)]
        length_s = float(np.exp(rng.normal(4.2, 0.8))) + 12
        size = {"width_px": 1920, "height_px": 1080, "fps_num": fps_num, "fps_den": fps_den, "duration_s": length_s}
        return {**size, "container": "mov,mp4", "video_codec": "h264", "audio_codec": "aac"}
    if stage == "hear":
        found = {"source_speech_s": 40.0, "source_speech_ratio": 0.8, "source_language": "zh"}
        return {**found, "source_language_prob": 0.97, "source_dnsmos_bak": 3.6, "source_dnsmos_sig": 3.8}
    if stage == "scan":
        found = {"shot_num_looks": 20, "shot_face_ratio": 1.0, "shot_multi_face_ratio": 0.0}
        return {**found, "shot_face_px": float(rng.uniform(100, 420))}
    if stage == "track":
        found = {"num_frames": 200, "track_ratio": 1.0, "track_multi_face_ratio": 0.0, "jitter": 0.01}
        found |= {"face_px": float(np.clip(near(230, 80), 92, 620)), "yaw_deg": float(abs(near(0, 11)) % 34)}
        found |= {"detail_px": min(256.0, found["face_px"]), "flat_ratio": 0.03}
        return {**found, "pitch_deg": float(abs(near(6, 5)) % 29), "roll_deg": float(abs(near(0, 4)) % 29)}
    if stage == "identity":
        person = {"gender": ("female", "male")[rng.integers(2)], "age_years": float(np.clip(near(34, 10), 16, 78))}
        return {**person, "identity_min_sim": float(rng.uniform(0.55, 0.95)), "gender_prob": 0.97}
    if stage == "mouth":
        found = {"mouth_px": float(rng.uniform(30, 160)), "mouth_light": 60.0, "mouth_visible_ratio": 1.0}
        return {**found, "mouth_motion": float(rng.uniform(0.008, 0.03)), "teeth_ratio": float(rng.uniform(0, 0.6))}
    if stage == "speech":
        found = {"speech_ratio": float(rng.uniform(0.6, 1)), "num_speakers": 1, "second_speaker_ratio": 0.0}
        found |= {"language": "zh", "language_prob": 0.96, "language_margin": 0.9, "dnsmos_ovr": 3.1}
        found |= {"dnsmos_bak": float(np.clip(near(3.5, 0.5), 2.3, 4.6)), "snr_db": float(np.clip(near(24, 9), 15, 58))}
        return {**found, "dnsmos_sig": float(np.clip(near(3.7, 0.3), 2.1, 4.5))}
    if stage == "sync":
        offset_ms = float(np.clip(near(0, 45), -115, 115))
        shift_ms = offset_ms if abs(offset_ms) >= 60 else 0.0
        return {"av_offset_ms": offset_ms, "av_shift_ms": shift_ms, "sync_conf": float(rng.uniform(3, 9))}
    if stage == "geometry":
        return {"geometry_model": "anny", "fit_error_px": float(rng.uniform(0.8, 3.4))}
    return {}


def thumb_jpeg(seed: int) -> bytes:
    """A 128 px drawing of a head, so that cards can be told apart."""
    rng = np.random.default_rng(seed)
    wall, coat, skin = (
        tuple(int(c) for c in rng.integers(low, high, 3)) for low, high in ((60, 200), (20, 120), (150, 230))
    )
    image = Image.new("RGB", (128, 72 if seed % 3 else 128), wall)
    draw, middle, top = ImageDraw.Draw(image), 64 + int(rng.integers(-12, 12)), image.height * 0.14
    draw.ellipse((middle - 40, image.height * 0.72, middle + 40, image.height * 1.5), fill=coat)
    draw.ellipse((middle - 20, top, middle + 20, image.height * 0.78), fill=skin)
    draw.ellipse((middle - 8, image.height * 0.58, middle + 8, image.height * 0.66), fill=(120, 30, 40))
    for x in (middle - 9, middle + 5):
        draw.ellipse((x, image.height * 0.38, x + 4, image.height * 0.38 + 4), fill=(20, 20, 20))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def face_embedding(person: int) -> np.ndarray:
    """(512,): different persons are at right angles."""
    embedding = np.zeros(512, np.float16)
    embedding[person] = 1.0
    return embedding


def kept_clip(
    source_id: str, person: int, shot: int = 0, num_shots: int = 1, num_frames: int = NUM_FRAMES, **more: object
) -> Row:
    """A clip of 4 s with everything that `finalize` needs; its sound is unlike that of any other."""
    seed = int.from_bytes(f"{source_id}/{shot}".encode()[-6:], "big")
    rng = np.random.default_rng(seed)
    row: Row = {"source_id": source_id, "uri": f"https://video.test/{source_id}", "platform": "web"}
    row |= {"extractor": "test", "title": f"关于 {source_id}", "sha256": f"{seed:064x}"}
    for stage in STAGE_NAMES:
        row |= measured(stage, np.random.default_rng(0))
    row |= {"duration_s": 8.0, "width_px": 640, "height_px": 480, "fps_num": 25, "fps_den": 1}
    row |= {"shot_idx": shot, "num_shots": num_shots, "shot_start_s": 4.0 * shot, "shot_end_s": 4.0 * shot + 4.0}
    row |= {"clip_idx": 0, "num_clips": 1, "start_s": 4.0 * shot, "end_s": 4.0 * shot + 4.0, "num_frames": num_frames}
    row |= {"face_px": 150.0, "fit_error_px": 1.0, "av_offset_ms": 0.0, "av_shift_ms": 0.0, "sync_conf": 5.0}
    row |= {"face_embedding": face_embedding(person), "audio_fingerprint": rng.integers(0, 2**32, 50, np.uint32)}
    row |= {
        "pts_s": np.arange(num_frames) / 25,
        "face_jpeg": [rng.bytes(60) for _ in range(num_frames)],
        "landmarks": np.zeros((num_frames, NUM_LANDMARKS * 3)),
        "exp_coeff": np.zeros((num_frames, 2)),
        "whisper": np.zeros((2 * num_frames, 3)),
        "thumb_jpeg": thumb_jpeg(seed % 1000),
    }
    row |= {"last_stage": STAGE_NAMES[-1], "versions": json.dumps({})} | more
    return row | {"row_id": row_id(row)}


def write_rows(out: Path, *rows: Row, generation: int = 1) -> Path:
    return write_part(table_from_rows(rows), out, generation)
