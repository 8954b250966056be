"""Expressions of a drawn face that speaks."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from stages.face3d.model import FaceModel

SPEECH = {
    "jawOpen": (0.10, 0.16),
    "mouthClose": (0.0, 0.05),
    "mouthFunnel": (-0.05, 0.25),
    "mouthPucker": (-0.05, 0.25),
    "mouthUpperUp": (0.0, 0.15),
    "mouthLowerDown": (0.0, 0.2),
    "mouthStretch": (0.0, 0.15),
    "mouthSmile": (0.05, 0.15),
    "mouthPress": (-0.05, 0.15),
    "mouthRollLower": (-0.05, 0.12),
    "mouthRollUpper": (-0.05, 0.12),
    "mouthShrugUpper": (-0.05, 0.1),
    "browInnerUp": (0.0, 0.2),
    "browDown": (-0.05, 0.15),
    "cheekSquint": (-0.05, 0.15),
}
"""Mean and deviation of ARKit's activations in speech; left and right sides move together."""


def speech(model: FaceModel, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Activations (T, E): syllables of three to five a second, and blinks."""

    def smooth(sigma: float) -> np.ndarray:
        values = gaussian_filter1d(rng.normal(size=num_frames + 40), sigma)[20:-20]
        return values * np.sqrt(2 * np.sqrt(np.pi) * sigma)

    blink = np.zeros(num_frames)
    for middle in rng.integers(0, num_frames, 1 + num_frames // 75):
        blink = np.maximum(blink, np.clip(1.3 - np.abs(np.arange(num_frames) - middle) / 2.5, 0, 1))
    curves = {unit: np.clip(mean + sigma * smooth(2.0), 0, 1) for unit, (mean, sigma) in SPEECH.items()}
    curves["eyeBlink"] = blink
    silent = np.zeros(num_frames)
    names = (name.removesuffix("Left").removesuffix("Right") for name in model.expression_names)
    return np.stack([curves.get(name, silent) for name in names], axis=1)
