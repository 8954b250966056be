"""Series that run together, some of them late, and clips of faces that move with a sound."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from model.lip_expert.fit import Features, SyncTrainConfig
from stages.core.records import NUM_LANDMARKS, Row
from stages.face.landmarks import CHIN
from stages.lipsync.lip_sound import MEL_STEPS_PER_FRAME
from tests.rows import kept_clip

CONFIG = SyncTrainConfig(num_series=2, rounds=2)
LATE_STEPS = (0, 0, 8, -6)


def take(person: int, late_steps: int) -> Features:
    """20 s of two series that lips and sound share, beside one of each side's own."""
    random = np.random.default_rng(person)
    shared = gaussian_filter1d(random.normal(size=(2200, 2)), 6, axis=0)
    own = gaussian_filter1d(random.normal(size=(2200, 2)), 6, axis=0)
    sound = np.column_stack([shared, own[:, 0]])[100 - late_steps : 2100 - late_steps]
    lips = np.column_stack([shared, own[:, 1]])[100 + MEL_STEPS_PER_FRAME // 2 : 2100 : MEL_STEPS_PER_FRAME]
    return Features(f"source {person}", person, lips, sound)


def takes() -> list[Features]:
    return [take(person, late) for person, late in enumerate(LATE_STEPS)]


def first(takes: list[Features], num_frames: int) -> list[Features]:
    """The beginning of each."""
    return [
        Features(t.source_id, t.person, t.lips[:num_frames], t.sound[: num_frames * MEL_STEPS_PER_FRAME]) for t in takes
    ]


def talking_clip(source_id: str, person: int, shot: int = 0, **more: object) -> Row:
    """4 s of a face whose chin goes down as its noise grows louder."""
    random = np.random.default_rng(10 * person + shot)
    opening = gaussian_filter1d(random.normal(size=400), 8)  # 100 a second
    opening = (opening - opening.min()) / np.ptp(opening)
    points = np.random.default_rng(0).uniform(60, 200, (NUM_LANDMARKS, 3)) + random.normal(
        0, 0.1, (100, NUM_LANDMARKS, 3)
    )
    points[:, [14, 17, CHIN], 1] += 30 * opening[2::4, None]
    sound = 3000 * opening.repeat(160) * random.normal(size=64_000)
    drawn = {"landmarks": points.reshape(100, -1), "crop_box_xyxy_px": np.tile([0.0, 0.0, 256.0, 256.0], (100, 1))}
    drawn |= {"audio_pcm16": sound.astype(np.int16)}
    return kept_clip(source_id, person, shot, 2, **drawn | more)
