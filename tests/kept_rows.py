"""Made-up rows with everything that a kept clip has, so that `finalize` can be run on them for real."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipeline.job.parts import write_part
from stages.core.records import NUM_LANDMARKS, Row, row_id
from stages.core.rows import table_from_rows
from tests.ledger_rows import thumb_jpeg

NUM_FRAMES = 100


def face_embedding(person: int) -> np.ndarray:
    """(512,): different persons are at right angles."""
    embedding = np.zeros(512, np.float16)
    embedding[person] = 1.0
    return embedding


def kept_clip(source_id: str, person: int, shot: int = 0, num_shots: int = 1, **more: object) -> Row:
    """A clip that the default policy keeps; its sound is unlike that of any other."""
    seed = int.from_bytes(f"{source_id}/{shot}".encode()[-6:], "big")
    rng = np.random.default_rng(seed)
    source = {"source_id": source_id, "uri": f"https://video.test/{source_id}", "platform": "web", "extractor": "test"}
    media = {
        "sha256": f"{seed:064x}",
        "duration_s": 8.0,
        "width_px": 640,
        "height_px": 480,
        "fps_num": 25,
        "fps_den": 1,
    }
    place = {"shot_idx": shot, "num_shots": num_shots, "shot_start_s": 4.0 * shot, "shot_end_s": 4.0 * shot + 4.0}
    place |= {"clip_idx": 0, "num_clips": 1, "start_s": 4.0 * shot, "end_s": 4.0 * shot + 4.0, "num_frames": NUM_FRAMES}
    measured = {"speech_ratio": 0.9, "language": "zh", "language_prob": 0.9, "language_margin": 0.8, "gender": "female"}
    measured |= {
        "av_offset_ms": 0.0,
        "av_shift_ms": 0.0,
        "sync_conf": 5.0,
        "face_px": 150.0,
        "fit_error_px": 1.0,
        "title": f"关于 {source_id}",
    }
    measured |= {"face_embedding": face_embedding(person), "audio_fingerprint": rng.integers(0, 2**32, 50, np.uint32)}
    payload = {
        "pts_s": np.arange(NUM_FRAMES) / 25,
        "face_jpeg": [rng.bytes(60) for _ in range(NUM_FRAMES)],
        "landmarks": np.zeros((NUM_FRAMES, NUM_LANDMARKS * 3)),
        "exp_coeff": np.zeros((NUM_FRAMES, 2)),
        "whisper": np.zeros((2 * NUM_FRAMES, 3)),
        "thumb_jpeg": thumb_jpeg(seed % 1000),
    }
    row = source | media | place | measured | payload | {"last_stage": "features", "versions": json.dumps({})} | more
    return row | {"row_id": row_id(row)}


def write_rows(out: Path, *rows: Row, generation: int = 1) -> Path:
    return write_part(table_from_rows(rows), out, generation)
