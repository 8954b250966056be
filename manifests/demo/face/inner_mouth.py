"""What shows between parted lips: teeth, tongue and darkness, drawn once and moved with skull and jaw."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np

from stages.face.landmarks import LIPS_INNER, MOUTH_CORNERS

_SHIFT = 4  # cv2 draws polygons at 1/16 px

CANVAS_PX = 256
TOOTH_ENAMEL = (240, 231, 216)
GUM = (150, 72, 70)
TONGUE = (128, 52, 52)
DARK = (52, 20, 21)


@dataclass(frozen=True)
class MouthConfig:
    """Sizes as parts of the mouth's width, except where said."""

    upper_teeth: float = 0.17  # height of what shows of the incisors
    lower_teeth: float = 0.13
    upper_edge: float = 0.105  # how far the upper teeth reach below the closed lips' line
    lower_edge: float = 0.05  # how far the lower teeth stay below the lower lip's edge
    parted: float = 0.05  # below this drop of the jaw the lips hide the teeth in their shadow
    lip_shadow_px: float = 2.0


class InnerMouth:
    """Draws the inside of the mouth into frames.

    Args:
        rest: (468, 2) mesh with closed lips, portrait pixels.
    """

    def __init__(self, rest: np.ndarray, config: MouthConfig) -> None:
        self.config = config
        self.width_px = float(np.linalg.norm(rest[MOUTH_CORNERS[1]] - rest[MOUTH_CORNERS[0]]))
        self._upper, self._lower = _teeth(num=8, middle_bigger=True), _teeth(num=10, middle_bigger=False)

    def draw(self, rgb: np.ndarray, mesh: np.ndarray, skull: np.ndarray, jaw_drop_px: float) -> None:
        """Fill the opening between the lips, in place.

        Args:
            mesh: (468, 2) in frame pixels.
            skull: (3, 2) images in the frame of the closed mouth's left corner, right corner, and the point half a
                mouth's width below their middle: where the upper teeth belong.
            jaw_drop_px: how far the lower teeth are below the upper, in frame pixels.
        """
        ring = mesh[list(LIPS_INNER)]
        low, high = np.floor(ring.min(0)).astype(int) - 2, np.ceil(ring.max(0)).astype(int) + 3
        low, high = np.maximum(low, 0), np.minimum(high, rgb.shape[1::-1])
        width, height = high - low
        if width <= 0 or height <= 0:
            return
        mask = np.zeros((height, width), np.uint8)
        polygon = np.round((ring - low) * 2**_SHIFT).astype(np.int32)
        cv2.fillPoly(mask, [polygon], 255, cv2.LINE_AA, _SHIFT)
        cv2.polylines(mask, [polygon], True, 255, 1, cv2.LINE_AA, _SHIFT)  # covers the portrait's own inner mouth
        if not mask.any():
            return
        right, down = (skull[1] - skull[0]) / 2, skull[2] - (skull[0] + skull[1]) / 2
        line = (skull[0] + skull[1]) / 2 - low
        down_unit = down / np.linalg.norm(down)
        unit = float(np.linalg.norm(skull[1] - skull[0]))
        inside = self._cavity(width, height, line + down_unit * jaw_drop_px, unit)
        upper_top = line + down_unit * unit * (self.config.upper_edge - self.config.upper_teeth)
        lower_top = line + down_unit * (jaw_drop_px + unit * self.config.lower_edge)
        parted = min(1.0, jaw_drop_px / (self.config.parted * unit))
        self._put(inside, self._lower * parted, lower_top, right * 0.72, down_unit * unit * self.config.lower_teeth)
        self._put(inside, self._upper * parted, upper_top, right * 0.8, down_unit * unit * self.config.upper_teeth)
        shade = cv2.GaussianBlur(mask, (0, 0), max(0.8, self.config.lip_shadow_px * unit / 80)).astype(np.float32) / 255
        inside *= (0.45 + 0.55 * np.clip(shade * 2.2 - 0.6, 0, 1))[..., None]
        alpha = (mask.astype(np.float32) / 255)[..., None]
        patch = rgb[low[1] : high[1], low[0] : high[0]]
        patch[:] = np.round(patch * (1 - alpha) + inside * alpha).astype(np.uint8)

    @staticmethod
    def _cavity(width: int, height: int, jaw_line: np.ndarray, unit: float) -> np.ndarray:
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        below = np.clip((rows - (jaw_line[1] - 0.12 * unit)) / (0.16 * unit), 0, 1)
        aside = np.clip(1 - ((columns - jaw_line[0]) / (0.34 * unit)) ** 2, 0, 1)
        tongue = (below * aside)[..., None]
        return np.array(DARK, np.float32) * (1 - tongue) + np.array(TONGUE, np.float32) * tongue

    @staticmethod
    def _put(inside: np.ndarray, teeth: np.ndarray, top: np.ndarray, right: np.ndarray, down: np.ndarray) -> None:
        """Blend a row of teeth: `top` is the middle of its upper edge, `right` half its width, `down` its height."""
        corners = np.array([[0, 0], [teeth.shape[1], 0], [0, teeth.shape[0]]], np.float32)
        places = np.array([top - right, top + right, top - right + down], np.float32)
        height, width = inside.shape[:2]
        small = cv2.warpAffine(teeth, cv2.getAffineTransform(corners, places), (width, height), flags=cv2.INTER_LINEAR)
        alpha = small[..., 3:]
        inside[:] = inside * (1 - alpha) + small[..., :3]


def _teeth(num: int, *, middle_bigger: bool) -> np.ndarray:
    """A row of teeth as premultiplied RGBA float32 (H, W, 4), colours 0-255, alpha 0-1."""
    height, width = CANVAS_PX // 4, CANVAS_PX
    sizes = np.array([np.cos(abs(k - (num - 1) / 2) / num * 2.2) for k in range(num)])
    if middle_bigger:
        sizes[num // 2 - 1 : num // 2 + 1] *= 1.15
    edges = np.concatenate([[0], np.cumsum(sizes)]) / sizes.sum() * width
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    colour = np.zeros((height, width, 3), np.float32)
    alpha = np.zeros((height, width), np.float32)
    for left, right in itertools.pairwise(edges):
        x = (columns - (left + right) / 2) / ((right - left) / 2)
        y = (rows - height / 2) / (height / 2)
        body = np.clip((1 - (np.abs(x) ** 5 + np.abs(y) ** 6)) * 6, 0, 1)
        round_off = 1 - 0.22 * np.abs(x) ** 3 - 0.10 * y
        alpha = np.maximum(alpha, body)
        colour += body[..., None] * np.array(TOOTH_ENAMEL, np.float32) * round_off[..., None]
    arch = 1 - 0.5 * ((columns / width - 0.5) * 2) ** 2
    gum = np.clip(0.35 - rows / height, 0, 0.35)[..., None] / 0.35 * 0.2
    colour = colour * (1 - gum) + gum * np.array(GUM, np.float32) * alpha[..., None]
    return np.dstack([colour * arch[..., None], alpha]).astype(np.float32)
