"""A clip of noise in pictures and sound, for what reads both and need not find anything in them."""

from __future__ import annotations

import cv2
import numpy as np

from stages.core.records import NUM_LANDMARKS, Row


def noise_clip(num_frames: int) -> Row:
    random = np.random.default_rng(0)
    faces = [random.integers(0, 256, (32, 32, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(num_frames)]
    return {
        "face_jpeg": [cv2.imencode(".jpg", face)[1].tobytes() for face in faces],
        "crop_box_xyxy_px": np.tile([10.0, 20.0, 110.0, 150.0], (num_frames, 1)),
        "landmarks": random.uniform(40, 200, (num_frames, NUM_LANDMARKS, 3)).astype(np.float32),
        "audio_pcm16": (3000 * random.normal(size=num_frames * 640)).astype(np.int16),
    }
