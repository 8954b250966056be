"""What the editor sees of a frame: lip masks, depth pictures, audio windows, and the random changes of training.

All of it is NumPy on one sample, so that training, inference and tests share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Integer, Real, UInt8

from stages.core.records import CROP_PX
from stages.depth import mouth_mask


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a training sample. Source of the defaults: the reference's training code."""

    colour_jitter: float = 0.1  # brightness, contrast and saturation, +- this share
    grayscale_prob: float = 0.1
    min_crop_scale: float = 0.8  # area of the random resized crop, 1 = none
    depth_drop_prob: float = 0.5  # samples without depth, so that the model also works without
    depth_shift: float = 0.02  # of the crop's side: fits are never exact


WHISPER_STEPS_PER_FRAME = 2
"""Audio features come at 50 Hz, frames at 25."""

DEPTH_HALF_RANGE_MM = 64.0
"""Distance from the head's centre that fills the depth picture: lips lie about 30 mm before it, two steps a mm."""


def audio_window(
    features: Real[np.ndarray, "t layers_x_dim"], frame_idx: int, steps: int, layers: int
) -> Float[np.ndarray, "tokens dim"]:
    """The audio tokens of a frame: `steps` feature steps centred on its 40 ms, each layer of a step a token of its own.

    Frame i lies over steps 2 i and 2 i + 1, so that ten steps are 2 i - 4 ... 2 i + 5. Beyond the ends the first and
    last step are repeated.

    Args:
        features: encoder states at 50 Hz, layers side by side.
        frame_idx: at 25 fps.
    """
    first = frame_idx * WHISPER_STEPS_PER_FRAME - (steps - WHISPER_STEPS_PER_FRAME) // 2
    inside = first >= 0 and first + steps <= len(features)
    chosen = slice(first, first + steps) if inside else np.arange(first, first + steps).clip(0, len(features) - 1)
    return features[chosen].reshape(steps * layers, -1).astype(np.float32)


def lip_mask(points: Float[np.ndarray, "p xyz"]) -> Bool[np.ndarray, "h w"]:
    """Pixels within the lips' rings; `points` are at least 468 landmarks in crop pixels."""
    return mouth_mask(points, CROP_PX)


def widened(mask: Bool[np.ndarray, "h w"], by_px: int) -> UInt8[np.ndarray, "h w"]:
    """1 within `by_px` of the mask, 0 elsewhere."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    box = np.s_[max(0, y - by_px) : y + height + by_px, max(0, x - by_px) : x + width + by_px]
    out = np.zeros(mask.shape, np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by_px + 1,) * 2)
    out[box] = cv2.dilate(mask[box].astype(np.uint8), disc)
    return out


def depth_view(
    depth_mm: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], centre_mm: float
) -> UInt8[np.ndarray, "h w"]:
    """Depth as a picture: 128 at the head's centre, nearer is brighter, 0 outside the mask and where there is no face.

    Metric, unlike the reference's view, whose scale hangs on each frame's nearest and farthest pixel.

    Args:
        centre_mm: distance of the head's centre in this frame, the pose's z. Not the clip's: the camera belongs to the
            crop, so that the head steps back by centimetres where the crop's box widens.
    """
    view = np.zeros(depth_mm.shape, np.uint8)
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    box = np.s_[y : y + height, x : x + width]
    brightness = 128 + (centre_mm - depth_mm[box]) * (127 / DEPTH_HALF_RANGE_MM)
    view[box] = np.where(mask[box] & (depth_mm[box] > 0), np.clip(brightness, 1, 255), 0)
    return view


@dataclass(frozen=True)
class Views:
    """One frame's pictures, 256x256; `depth` is None where a sample goes without."""

    target: UInt8[np.ndarray, "h w 3"]
    reference: UInt8[np.ndarray, "h w 3"]
    depth: UInt8[np.ndarray, "h w"] | None
    mouth: UInt8[np.ndarray, "h w"]


@dataclass(frozen=True)
class Change:
    """What happens to the pictures of one sample.

    Args:
        colour: affine map of RGB.
        left, top, side: the square in pixels that becomes the whole picture.
        shift: of the depth alone, right and down, in pixels of the result.
    """

    colour: Float[np.ndarray, "3 4"]
    left: int
    top: int
    side: int
    shift: tuple[int, int]


def draw_change(config: AugmentConfig, random: np.random.Generator) -> Change:
    """A random change."""
    side = round(CROP_PX * np.sqrt(random.uniform(config.min_crop_scale, 1)))
    left, top = (int(v) for v in random.integers(0, CROP_PX - side, 2, endpoint=True))
    right, down = (round(v * CROP_PX) for v in random.uniform(-config.depth_shift, config.depth_shift, 2))
    return Change(_colour_matrix(config, random), left, top, side, (right, down))


def apply_change(views: Views, change: Change) -> Views:
    """Colours and crop change alike in all pictures; depth is shifted by itself."""
    box = np.s_[change.top : change.top + change.side, change.left : change.left + change.side]
    size = (CROP_PX, CROP_PX)

    def picture(rgb: np.ndarray) -> np.ndarray:
        return cv2.transform(cv2.resize(rgb[box], size, interpolation=cv2.INTER_LINEAR), change.colour)

    def marks(picture: np.ndarray) -> np.ndarray:
        return cv2.resize(picture[box], size, interpolation=cv2.INTER_NEAREST)

    depth = None
    if views.depth is not None:
        move = np.array([[1.0, 0.0, change.shift[0]], [0.0, 1.0, change.shift[1]]])
        depth = cv2.warpAffine(marks(views.depth), move, size, flags=cv2.INTER_NEAREST)
    return Views(picture(views.target), picture(views.reference), depth, marks(views.mouth))


def _colour_matrix(config: AugmentConfig, random: np.random.Generator) -> Float[np.ndarray, "3 4"]:
    """Brightness, contrast (about mid-grey), saturation and grayscale as one affine map of RGB."""
    jitter = config.colour_jitter
    brightness, contrast, saturation = random.uniform(1 - jitter, 1 + jitter, 3)
    if random.random() < config.grayscale_prob:
        saturation = 0.0
    luma = np.array([0.299, 0.587, 0.114])
    mix = saturation * np.eye(3) + (1 - saturation) * luma
    return np.column_stack([brightness * contrast * mix, np.full(3, 127.5 * (1 - contrast))])


def reference_frame(
    num_frames: int, target: int, min_distance: int, random: np.random.Generator
) -> Integer[np.ndarray, ""] | int:
    """A random frame at least `min_distance` from the target."""
    before = max(0, target - min_distance + 1)
    after = max(0, num_frames - target - min_distance)
    if before + after == 0:
        raise ValueError(f"a clip of {num_frames} frames has no frame {min_distance} away from frame {target}")
    pick = int(random.integers(before + after))
    return pick if pick < before else target + min_distance + pick - before
