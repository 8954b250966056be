"""Pasting of an edited mouth: the mask of changed pixels, and the match of their colours to the surroundings."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from stages.core.records import CROP_PX
from stages.face.crop import paste_face
from stages.face.landmarks import LIPS_OUTER

JAW = (172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397)
CHEEKS_AND_NOSE = (205, 2, 425)
"""Landmarks that, with lips and jaw, enclose the moving part of a speaking face."""
MARGIN_PX = 6
FEATHER_PX = 5.0
MAX_COLOUR_SHIFT = 12.0
"""Largest colour shift, in levels of 255; a larger difference at the rim is content, not light."""
FOLLOW = 0.15
"""Share of a frame's own shift in the smoothed one: light changes over seconds, faster changes are flicker."""
MAX_STEP = 6.0
"""Change of the shift, in levels of 255, beyond which a new scene is assumed and the shift is taken at once."""


def blend_mask(points: Float[np.ndarray, "p xyz"]) -> Float[np.ndarray, "h w"]:
    """Opacity of the edited crop: mouth, chin and lower cheeks, with a soft rim; 0 in the upper half.

    Args:
        points: the source frame's landmarks in crop pixels.
    """
    rim = np.asarray(points, np.float32)[[*LIPS_OUTER, *JAW, *CHEEKS_AND_NOSE], :2]
    mask = np.zeros((CROP_PX, CROP_PX), np.uint8)
    cv2.fillConvexPoly(mask, np.rint(cv2.convexHull(rim)).astype(np.int32), 255)
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MARGIN_PX + 1,) * 2))
    edge = round(3 * FEATHER_PX)  # the rim fades out before the crop ends
    mask[: CROP_PX // 2 + edge], mask[-edge:], mask[:, :edge], mask[:, -edge:] = 0, 0, 0, 0
    soft = cv2.GaussianBlur(mask, (0, 0), FEATHER_PX).astype(np.float32) / 255
    soft[: CROP_PX // 2] = 0
    return soft


def colour_shift(
    edited: UInt8[np.ndarray, "h w 3"], source: UInt8[np.ndarray, "h w 3"], mask: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "3"]:
    """Shift that gives the edited crop the source's mean colour on the mask's rim."""
    rim = (mask > 0.02) & (mask < 0.6)
    if not rim.any():
        return np.zeros(3, np.float32)
    return np.clip((source[rim].astype(np.float32) - edited[rim]).mean(0), -MAX_COLOUR_SHIFT, MAX_COLOUR_SHIFT)


class Composer:
    """Pastes mouths frame by frame, with colours that match their surroundings and do not flicker."""

    def __init__(self) -> None:
        self.shift: Float[np.ndarray, "3"] | None = None

    def __call__(
        self,
        frame: UInt8[np.ndarray, "fh fw 3"],
        crop: UInt8[np.ndarray, "h w 3"],
        edited: UInt8[np.ndarray, "h w 3"],
        box: Float[np.ndarray, "4"],
        points: Float[np.ndarray, "p xyz"],
    ) -> UInt8[np.ndarray, "fh fw 3"]:
        """A frame with its mouth replaced; pixels outside the crop's mask are unchanged.

        Args:
            crop: the frame's own crop.
            box: the crop's box in the frame, xyxy in pixels.
            points: landmarks in crop pixels.
        """
        mask = blend_mask(points)
        wanted = colour_shift(edited, crop, mask)
        if self.shift is None or np.abs(wanted - self.shift).max() > MAX_STEP:
            self.shift = wanted
        self.shift = self.shift + FOLLOW * (wanted - self.shift)
        matched = np.clip(np.rint(edited + self.shift), 0, 255).astype(np.uint8)
        return paste_face(frame, matched, box, mask)
