"""Tiny shards with known contents: drawn faces whose mouth opens, and whose features count their own steps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from stages.core.records import CLIP_FPS, CROP_PX, NUM_LANDMARKS, Row, shard_schema
from stages.core.rows import table_from_rows
from stages.face.landmarks import LIP_RINGS
from tests.rows import kept_clip

EXP_DIM, JAW_OPEN = 52, 24
"""Of the face model cc0."""
AUDIO_DIM = 8
AUDIO_LAYERS = 5
DISTANCE_MM = 700.0
MOUTH_CENTRE = (128, 190)
POSE = (0.0, 0.0, 0.0, 0.0, -12.6, DISTANCE_MM)
"""Facing the camera, with cc0's lips at `MOUTH_CENTRE`."""
SCHEMA = shard_schema(EXP_DIM, AUDIO_LAYERS * AUDIO_DIM, depth=False, exact_whisper=True)


def openness(num_frames: int, clip_idx: int) -> np.ndarray:
    """(T,) in 0-1, smooth."""
    return 0.5 + 0.5 * np.sin(np.arange(num_frames) / 3 + clip_idx)


def face(opening: float, clip_idx: int) -> np.ndarray:
    """(256, 256, 3) uint8 RGB: a disc with eyes and a mouth; the skin's colour tells the clip."""
    rgb = np.full((CROP_PX, CROP_PX, 3), 60, np.uint8)
    skin = (200, 160 - 25 * clip_idx, 120 + 25 * clip_idx)
    cv2.ellipse(rgb, (128, 128), (100, 125), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for x in (88, 168):
        cv2.circle(rgb, (x, 90), 10, (30, 30, 30), -1, cv2.LINE_AA)
    cv2.ellipse(rgb, MOUTH_CENTRE, (36, 8 + round(18 * opening)), 0, 0, 360, (150, 40, 50), -1, cv2.LINE_AA)
    return rgb


def landmarks(opening: float) -> np.ndarray:
    """(478, 3): the lips' outer ring on the drawn mouth, the others within it, everything else at the nose."""
    points = np.tile(np.array([128.0, 140.0, 0.0]), (NUM_LANDMARKS, 1))
    angle = np.pi - np.linspace(0, -2 * np.pi, len(LIP_RINGS[0]), endpoint=False)
    for ring, share in zip(LIP_RINGS, (1, 0.9, 0.8, 0.7), strict=True):
        points[list(ring), 0] = MOUTH_CENTRE[0] + share * 36 * np.cos(angle)
        points[list(ring), 1] = MOUTH_CENTRE[1] + share * (8 + 18 * opening) * np.sin(angle)
    return points


def whisper(num_frames: int, clip_idx: int = 0) -> np.ndarray:
    """(2 T, layers * dim): the first number of a token is 10 * step + layer, the second follows the mouth."""
    steps = np.zeros((2 * num_frames, AUDIO_LAYERS, AUDIO_DIM), np.float16)
    steps[:, :, 0] = 10 * np.arange(2 * num_frames)[:, None] + np.arange(AUDIO_LAYERS)
    steps[:, :, 1] = 400 * openness(num_frames, clip_idx).repeat(2)[:, None]
    return steps.reshape(2 * num_frames, -1)


def drawn(clip_idx: int, num_frames: int) -> Row:
    """What the stages find on the drawn face."""
    opening = openness(num_frames, clip_idx)
    expression = np.zeros((num_frames, EXP_DIM))
    expression[:, JAW_OPEN] = 0.5 * opening
    return {
        "face_jpeg": [cv2.imencode(".jpg", face(o, clip_idx)[..., ::-1])[1].tobytes() for o in opening],
        "landmarks": np.stack([landmarks(o).ravel() for o in opening]),
        "crop_box_xyxy_px": np.tile([0.0, 0.0, CROP_PX, CROP_PX], (num_frames, 1)),
        "pose": np.tile(POSE, (num_frames, 1)),
        "id_coeff": np.zeros(80),
        "exp_coeff": expression,
        "audio_pcm16": np.zeros(num_frames * 640, np.int16),
        "whisper": whisper(num_frames, clip_idx),
        "whisper_model": "counting",
        "geometry_model": "cc0",
    }


def clip_row(clip_idx: int, num_frames: int, split: str = "train") -> Row:
    """As it stands in a shard."""
    row = kept_clip("source", clip_idx, clip_idx, num_frames=num_frames, **drawn(clip_idx, num_frames))
    row |= {"split": split, "identity_id": f"id{clip_idx}", "fps": CLIP_FPS}
    return {name: value for name, value in row.items() if name in SCHEMA.names}


def write_shards(folder: Path, lengths: tuple[int, ...] = (30, 30, 24), per_file: int = 2) -> Path:
    """`train-*.parquet` with clips of these lengths, a clip a row group."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [clip_row(i, n) for i, n in enumerate(lengths)]
    for number, start in enumerate(range(0, len(rows), per_file)):
        table = table_from_rows(rows[start : start + per_file], SCHEMA)
        pq.write_table(table, folder / f"train-{number:05d}.parquet", row_group_size=1)
    return folder
