"""Pictures of the training's progress, as PNG files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stages.core.storage import write_whole

TITLES = ("reference", "masked", "depth", "output", "truth")
TITLE_PX = 24
CHART_PX = (900, 150)
CHART_ROWS = 4


def _write(path: Path, rgb: np.ndarray) -> None:
    with write_whole(path) as file:
        file.write(cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes())


def editor_grid(path: Path, batch: dict[str, Tensor], output: Tensor) -> None:
    """One row a sample: reference | masked | depth | output | truth.

    Args:
        batch: a batch of the editor, bytes; a missing depth is black.
        output: (b, 3, 256, 256) bytes.
    """
    masked = batch["target"].clone()
    masked[:, :, masked.shape[2] // 2 :] = 0
    depth = torch.zeros_like(masked)
    if "depth" in batch:
        depth[batch["depth_of"]] = batch["depth"].expand(-1, 3, -1, -1)
    columns = [batch["reference"], masked, depth, output, batch["target"]]
    pictures = [column.cpu().numpy().transpose(0, 2, 3, 1) for column in columns]
    rows = [np.concatenate(row, axis=1) for row in zip(*pictures, strict=True)]
    title = np.zeros((TITLE_PX, rows[0].shape[1], 3), np.uint8)
    width = rows[0].shape[1] // len(TITLES)
    for i, text in enumerate(TITLES):
        cv2.putText(title, text, (i * width + 8, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    _write(path, np.concatenate([title, *rows]))


def motion_chart(path: Path, predicted: Float[np.ndarray, "t e"], truth: Float[np.ndarray, "t e"]) -> None:
    """Curves of the coefficients that vary most: truth grey, prediction red."""
    width, height = CHART_PX
    panels = []
    for column in np.argsort(-truth.std(0))[:CHART_ROWS]:
        panel = np.full((height, width, 3), 255, np.uint8)
        both = np.stack([truth[:, column], predicted[:, column]])
        low, high = both.min(), both.max() + 1e-6
        x = np.linspace(10, width - 10, both.shape[1])
        for values, colour in zip(both, ((150, 150, 150), (200, 30, 30)), strict=True):
            y = height - 10 - (values - low) / (high - low) * (height - 30)
            line = np.stack([x, y], axis=1).round().astype(np.int32)
            cv2.polylines(panel, [line], False, colour, 2, cv2.LINE_AA)
        cv2.putText(panel, f"coefficient {column}", (10, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        panels.append(panel)
    _write(path, np.concatenate(panels))
