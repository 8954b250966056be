"""How near edited frames are to the true ones. Formulae on arrays; no files and no networks."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8

from stages.face.landmarks import CHIN, FOREHEAD, LIPS_INNER, LIPS_OUTER, NUM_FACE_POINTS

LIPS = [*LIPS_OUTER, *LIPS_INNER]
MAX_PSNR_DB = 100.0
"""Of pictures that are the same: JSON has no infinity."""


def psnr_db(output: UInt8[np.ndarray, "t h w 3"], truth: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Peak signal to noise ratio over all pixels of all frames together."""
    error = np.mean((output.astype(np.float64) - truth) ** 2)
    return MAX_PSNR_DB if error == 0 else min(MAX_PSNR_DB, float(10 * np.log10(255**2 / error)))


def ssim(output: UInt8[np.ndarray, "t h w 3"], truth: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Mean structural similarity, 11 px Gaussian window. Source: Wang et al. 2004, as torchmetrics computes it."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    ours, theirs = (torch.from_numpy(v.transpose(0, 3, 1, 2).copy()).float() for v in (output, truth))
    return float(structural_similarity_index_measure(ours, theirs, data_range=255.0))  # pyright: ignore[reportArgumentType]


def lip_distance(output: Float[np.ndarray, "t p xyz"], truth: Float[np.ndarray, "t p xyz"]) -> float:
    """Mean distance of the 40 lip points, in percent of the face's height, the face's place taken out.

    Lips are compared relative to their own centre: where the head is, the editor does not decide.
    """
    ours, theirs = (v[:, LIPS, :2] - v[:, LIPS, :2].mean(axis=1, keepdims=True) for v in (output, truth))
    return float(100 * (np.linalg.norm(ours - theirs, axis=2).mean(axis=1) / _height(truth)).mean())


def face_distance(output: Float[np.ndarray, "t p xyz"], truth: Float[np.ndarray, "t p xyz"]) -> float:
    """Mean distance of the 468 points of the face, in percent of its height; nothing is taken out."""
    apart = np.linalg.norm(output[:, :NUM_FACE_POINTS, :2] - truth[:, :NUM_FACE_POINTS, :2], axis=2).mean(axis=1)
    return float(100 * (apart / _height(truth)).mean())


def _height(points: Float[np.ndarray, "t p xyz"]) -> Float[np.ndarray, " t"]:
    return np.linalg.norm(points[:, FOREHEAD, :2] - points[:, CHIN, :2], axis=1)


def cosine(a: Float[np.ndarray, " d"], b: Float[np.ndarray, " d"]) -> float:
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    return float(a64 @ b64 / (np.linalg.norm(a64) * np.linalg.norm(b64)))
