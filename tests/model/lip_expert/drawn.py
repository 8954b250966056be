"""Series that run together, some of them late."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from model.lip_expert.fit import Features, SyncTrainConfig
from stages.lipsync.lip_sound import STEPS_PER_FRAME

CONFIG = SyncTrainConfig(num_series=2, rounds=2)
LATE_STEPS = (0, 0, 8, -6)


def take(person: int, late_steps: int) -> Features:
    """20 s of two series that lips and sound share, beside one of each side's own."""
    random = np.random.default_rng(person)
    shared = gaussian_filter1d(random.normal(size=(2200, 2)), 6, axis=0)
    own = gaussian_filter1d(random.normal(size=(2200, 2)), 6, axis=0)
    sound = np.column_stack([shared, own[:, 0]])[100 - late_steps : 2100 - late_steps]
    lips = np.column_stack([shared, own[:, 1]])[100 + STEPS_PER_FRAME // 2 : 2100 : STEPS_PER_FRAME]
    return Features(f"source {person}", person, lips, sound)


def takes() -> list[Features]:
    return [take(person, late) for person, late in enumerate(LATE_STEPS)]


def first(takes: list[Features], num_frames: int) -> list[Features]:
    """The beginning of each."""
    return [
        Features(t.source_id, t.person, t.lips[:num_frames], t.sound[: num_frames * STEPS_PER_FRAME]) for t in takes
    ]
