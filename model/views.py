"""What the editor sees of a frame: lip masks, depth pictures, audio windows, and the random changes of training.

All of it is NumPy on one sample, so that training, inference and tests share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from model.config import AugmentConfig
from pipeline.records import CROP_PX
from stages.depth import mouth_mask

STEPS_PER_FRAME = 2
"""Audio features come at 50 Hz, frames at 25."""

DEPTH_HALF_RANGE_MM = 64.0
"""Distance from the head's centre that fills the depth picture: lips lie about 30 mm before it, two steps a mm."""


def audio_window(
    features: Float[np.ndarray, "t layers_x_dim"], frame_idx: int, steps: int, layers: int
) -> Float[np.ndarray, "tokens dim"]:
    """The audio tokens of a frame: `steps` feature steps centred on its 40 ms, each layer of a step a token of its own.

    Frame i lies over steps 2 i and 2 i + 1, so that ten steps are 2 i - 4 ... 2 i + 5. Beyond the ends the first and
    last step are repeated.

    Args:
        features: encoder states at 50 Hz, layers side by side.
        frame_idx: at 25 fps.
    """
    first = frame_idx * STEPS_PER_FRAME - (steps - STEPS_PER_FRAME) // 2
    chosen = np.clip(np.arange(first, first + steps), 0, len(features) - 1)
    return features[chosen].reshape(steps * layers, -1).astype(np.float32)


def lip_mask(points: Float[np.ndarray, "p xyz"], dilate_px: int = 0) -> Bool[np.ndarray, "h w"]:
    """Pixels within the lips' outer ring, widened by `dilate_px`.

    Args:
        points: at least 468 landmarks in crop pixels.
    """
    mask = mouth_mask(points, CROP_PX)
    if dilate_px == 0:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * dilate_px + 1,) * 2)
    return cv2.dilate(mask.astype(np.uint8), disc).astype(bool)


def depth_view(
    depth_mm: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], centre_mm: float
) -> UInt8[np.ndarray, "h w"]:
    """Depth as a picture: 128 at the head's centre, nearer is brighter, 0 outside the mask and where there is no face.

    Metric, unlike the reference's view, whose scale hangs on each frame's nearest and farthest pixel.

    Args:
        centre_mm: distance of the head's centre in this frame, the pose's z. Not the clip's: the camera belongs to the
            crop, so that the head steps back by centimetres where the crop's box widens.
    """
    brightness = 128 + (centre_mm - depth_mm) * (127 / DEPTH_HALF_RANGE_MM)
    return np.where(mask & (depth_mm > 0), np.clip(brightness, 1, 255), 0).astype(np.uint8)


@dataclass(frozen=True)
class Views:
    """One frame's pictures, 256x256."""

    target: UInt8[np.ndarray, "h w 3"]
    reference: UInt8[np.ndarray, "h w 3"]
    depth: UInt8[np.ndarray, "h w"]
    mouth: UInt8[np.ndarray, "h w"]


def _colour_matrix(config: AugmentConfig, random: np.random.Generator) -> Float[np.ndarray, "3 4"]:
    """Brightness, contrast (about mid-grey), saturation and grayscale as one affine map of RGB."""
    jitter = config.colour_jitter
    brightness, contrast, saturation = random.uniform(1 - jitter, 1 + jitter, 3)
    if random.random() < config.grayscale_prob:
        saturation = 0.0
    luma = np.array([0.299, 0.587, 0.114])
    mix = saturation * np.eye(3) + (1 - saturation) * luma
    return np.column_stack([brightness * contrast * mix, np.full(3, 127.5 * (1 - contrast))])


def _crop_matrix(config: AugmentConfig, random: np.random.Generator) -> Float[np.ndarray, "2 3"]:
    side = CROP_PX * np.sqrt(random.uniform(config.min_crop_scale, 1))
    x, y = random.uniform(0, CROP_PX - side, 2)
    scale = CROP_PX / side
    return np.array([[scale, 0, (0.5 - x) * scale - 0.5], [0, scale, (0.5 - y) * scale - 0.5]])


def augment(views: Views, config: AugmentConfig, random: np.random.Generator) -> Views:
    """Colours and crop change alike in all pictures; depth is shifted by itself, or dropped."""
    colour, crop = _colour_matrix(config, random), _crop_matrix(config, random)
    shift = random.uniform(-config.depth_shift, config.depth_shift, 2) * CROP_PX
    dropped = random.random() < config.depth_drop_prob
    size = (CROP_PX, CROP_PX)

    def picture(rgb: np.ndarray) -> np.ndarray:
        warped = cv2.warpAffine(rgb, crop, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return cv2.transform(warped, colour)

    moved = crop.copy()
    moved[:, 2] += shift
    depth = np.zeros_like(views.depth) if dropped else cv2.warpAffine(views.depth, moved, size, flags=cv2.INTER_NEAREST)
    mouth = cv2.warpAffine(views.mouth, crop, size, flags=cv2.INTER_NEAREST)
    return Views(picture(views.target), picture(views.reference), depth, mouth)


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
