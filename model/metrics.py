"""How good edited frames are: against the true ones, and by themselves. Formulae on arrays; no files.

FID is not among them: its number means something only with the standard Inception weights, which no package carries.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8

from stages.landmarks import CHIN, FOREHEAD, LIPS_INNER, LIPS_OUTER

LIPS = [*LIPS_OUTER, *LIPS_INNER]
FID_UNAVAILABLE = "needs the standard Inception weights; nothing else may be called FID"


def psnr_db(output: UInt8[np.ndarray, "t h w 3"], truth: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Peak signal to noise ratio over all pixels of all frames together."""
    error = np.mean((output.astype(np.float64) - truth) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


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
    height = np.linalg.norm(truth[:, FOREHEAD, :2] - truth[:, CHIN, :2], axis=1)
    return float(100 * (np.linalg.norm(ours - theirs, axis=2).mean(axis=1) / height).mean())


def cosine(a: Float[np.ndarray, " d"], b: Float[np.ndarray, " d"]) -> float:
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    return float(a64 @ b64 / (np.linalg.norm(a64) * np.linalg.norm(b64)))
