"""What the parts work on where nothing was brought: drawn speakers as shards, sounds, and files of random weights.

Everything is exact, since nothing is detected: heads of the embedded face model talk in the crop's own camera, and
landmarks, fit and depth are the truth. What is heard is a random linear view of the speech that moves the face.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.known.drawn_speech import speech
from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS, CROP_PX, NUM_LANDMARKS, Row, shard_schema
from stages.core.rows import table_from_rows
from stages.face.crop import encode_jpeg
from stages.face3d.camera import crop_focal_px, project, synthesize
from stages.face3d.load import load_face_model
from stages.face3d.model import FaceModel
from stages.face3d.place_landmarks import Light, shade
from stages.face3d.raster import rasterize

IRISES = (33, 263)
"""Corners of the eyes, which stand for the irises' points that the face model has not."""
LAYERS = 5


def drawn_clip(model: FaceModel, num_frames: int, seed: int, sound_dim: int) -> Row:
    """A clip's row of a shard: one drawn person, talking and turning a little."""
    random = np.random.default_rng(seed)
    identity = random.normal(0, 0.8, len(model.identity))
    expression = speech(model, num_frames, random)
    pose = np.zeros((num_frames, 6))
    time_s = np.arange(num_frames) / CLIP_FPS
    for axis, size in enumerate((0.05, 0.12, 0.03)):
        pose[:, axis] = size * np.sin(2 * np.pi * random.uniform(0.1, 0.4) * time_s + random.uniform(0, 6))
    boxes = np.tile([0.0, 0.0, CROP_PX, CROP_PX], (num_frames, 1))
    focal_px = crop_focal_px(boxes)
    pose[:, 5] = float(focal_px[0, 0]) * 150 / 200  # a face of 150 mm fills 200 pixels
    vertices = synthesize(model, identity, expression, pose)
    light = Light((float(random.normal(0, 0.5)), -0.4, -1.0), ambient=float(random.uniform(0.3, 0.6)))
    tint, background = random.uniform(0.6, 1.05, 3), random.integers(40, 220, 3)
    person = replace(model, albedo=np.clip(model.albedo * tint, 0, 255).astype(np.uint8))
    projected = project(vertices, focal_px)
    jpegs = []
    for frame, seen in zip(vertices, projected, strict=True):
        _, triangle_id = rasterize(seen[None], model.triangles, CROP_PX)
        jpegs.append(encode_jpeg(shade(person, frame, seen, triangle_id[0], background, light), 90))
    marks = model.at_landmarks(projected)
    landmarks = np.concatenate(
        [marks, np.repeat(marks[:, IRISES], NUM_LANDMARKS - marks.shape[1] >> 1, axis=1)], axis=1
    )
    steps = np.repeat(expression, 2, axis=0)
    view = np.random.default_rng(0).normal(size=(expression.shape[1], sound_dim))
    heard = steps @ view + random.normal(0, 0.3, (2 * num_frames, sound_dim))
    loud = np.repeat(expression.mean(axis=1), AUDIO_RATE_HZ // CLIP_FPS)
    return {
        "split": "train",
        "identity_id": f"id{seed}",
        "fps": CLIP_FPS,
        "row_id": f"drawn-s{seed:04d}-c000",
        "source_id": "drawn",
        "num_frames": num_frames,
        "face_jpeg": jpegs,
        "landmarks": landmarks.reshape(num_frames, -1),
        "crop_box_xyxy_px": boxes,
        "pose": pose,
        "id_coeff": identity,
        "exp_coeff": expression,
        "audio_pcm16": (3e4 * loud * random.uniform(-1, 1, len(loud))).astype(np.int16),
        "whisper": heard.astype(np.float16),
        "whisper_model": "drawn",
        "geometry_model": model.name,
    }


def drawn_shards(folder: Path, num_clips: int, num_frames: int, width: int) -> Path:
    """`train-00000.parquet` of drawn clips whose audio tokens are `width` wide; made once."""
    file = folder / "train-00000.parquet"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        model, dim = load_face_model(), LAYERS * width
        rows = [drawn_clip(model, num_frames, seed, dim) for seed in range(num_clips)]
        schema = shard_schema(len(model.expression), dim, depth=False, exact_whisper=True)
        pq.write_table(table_from_rows(rows, schema), file, row_group_size=1)
    return folder


class Files:
    """Files of random weights in their published layout, made when they are asked for: stands for a `WeightStore`."""

    def __init__(self, folder: Path, makers: dict[str, Callable[[], object]]) -> None:
        self._folder, self.makers = folder, makers

    def path(self, name: str) -> Path:
        file = self._folder / f"{name}.pt"
        if not file.is_file():
            torch.manual_seed(0)
            self._folder.mkdir(parents=True, exist_ok=True)
            torch.save(self.makers[name](), file)
        return file


def noise_pcm16(seconds: float, seed: int = 0) -> np.ndarray:
    """Sound that swells three times a second."""
    random, length = np.random.default_rng(seed), round(seconds * AUDIO_RATE_HZ)
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * np.arange(length) / AUDIO_RATE_HZ)
    return (1e4 * swell * random.uniform(-1, 1, length)).astype(np.int16)
