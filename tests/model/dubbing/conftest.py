"""A photo of a real face that scikit-image carries, moved a little so that it is a video, and what dubs it."""

from __future__ import annotations

import numpy as np
import pytest

from model.dubbing.face_track import FaceTrack, follow_face
from stages.core.weights import WeightStore
from tests.talking import FPS, NUM_BLANK, NUM_FRAMES, moving_photo


@pytest.fixture(scope="session")
def frames() -> list[np.ndarray]:
    """The last `NUM_BLANK` of them show no face."""
    photo = moving_photo(NUM_FRAMES - NUM_BLANK)
    return photo + [np.full_like(photo[0], 90)] * NUM_BLANK


@pytest.fixture(scope="session")
def track(frames: list[np.ndarray], weights: WeightStore) -> FaceTrack:
    return follow_face(frames, FPS, weights)


@pytest.fixture(scope="session")
def voice() -> np.ndarray:
    time = np.arange(16_000) / 16_000
    return (0.3 * np.sin(2 * np.pi * 220 * time) * np.sin(2 * np.pi * 3 * time) ** 2).astype(np.float32)
