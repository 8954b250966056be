"""The JoyGen face crop: its box in the source frame, cutting, pasting, JPEG.

Coordinates are continuous: pixel i covers [i, i + 1), so the crop's centre is 128.0 and scaling needs no half pixels.

Source: the box is that of JoyGen (arXiv 2501.01798); its smoothing is ours. The reference takes a new box in each
frame, whose lower edge is the chin: the picture then stretches as the jaw opens, and the upper half reveals the lips.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from stages.core.records import CROP_PX
from stages.face.landmarks import RIGID

BRIDGE = 195
"""Landmark at two thirds of the nose's bridge, point 29 of the 68-point scheme; the crop is centred on it."""

HEAD_SIGMA_FRAMES = 1.5
"""Smoothing of the head's position, which removes landmark noise and keeps a nod."""

EXTENT_SIGMA_FRAMES = 8.0
"""Smoothing of the face's extent about that position, slower than syllables and faster than leaning forward."""

JAW_WINDOW_FRAMES = 25
"""Window for the largest extent of the chin, so that an opening jaw stays inside a steady box."""


def crop_boxes(points: np.ndarray) -> np.ndarray:
    """Boxes of a clip's face crops, smoothed over time without lag.

    The box spans the face's outline sideways. It reaches from the chin to as far above the nose's bridge as the chin is
    below it, so the middle line of the crop is mid-face.

    Args:
        points: (T, 478, 3) landmarks in source pixels, without gaps.
    Returns:
        (T, 4) float32 x0, y0, x1, y1 in source pixels; may leave the frame.
    """
    x, y = np.moveaxis(points[..., :2].astype(np.float64), -1, 0)
    head_x, head_y = x[:, RIGID].mean(axis=1), y[:, RIGID].mean(axis=1)
    left, right = x.min(axis=1) - head_x, x.max(axis=1) - head_x
    middle, chin = y[:, BRIDGE] - head_y, y.max(axis=1) - y[:, BRIDGE]
    chin = maximum_filter1d(chin, JAW_WINDOW_FRAMES, mode="nearest")
    head_x, head_y = (gaussian_filter1d(v, HEAD_SIGMA_FRAMES, mode="nearest") for v in (head_x, head_y))
    left, right, middle, chin = (
        gaussian_filter1d(v, EXTENT_SIGMA_FRAMES, mode="nearest") for v in (left, right, middle, chin)
    )
    middle_y = head_y + middle
    return np.stack([head_x + left, middle_y - chin, head_x + right, middle_y + chin], axis=1).astype(np.float32)


def crop_face(rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Crop the box to 256x256; outside the frame, the frame's edge is repeated.

    Args:
        rgb: (H, W, 3) uint8.
        box: (4,) x0, y0, x1, y1 in pixels of `rgb`.
    Returns:
        (256, 256, 3) uint8.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    # Averaging a finer grid is sharp, without aliasing, and exact to parts of a pixel.
    times_x, times_y = _times((x1 - x0) / CROP_PX), _times((y1 - y0) / CROP_PX)
    size = (CROP_PX * times_x, CROP_PX * times_y)
    face = _resample(rgb, (x0, y0, (x1 - x0) / size[0], (y1 - y0) / size[1]), size, cv2.BORDER_REPLICATE)
    return average_down(face, times_x, times_y)


def paste_face(rgb: np.ndarray, face256: np.ndarray, box: np.ndarray, mask256: np.ndarray) -> np.ndarray:
    """Paste a crop back into its frame: the inverse of `crop_face`.

    Args:
        rgb: (H, W, 3) uint8, not changed.
        face256: (256, 256, 3) uint8.
        box: (4,) x0, y0, x1, y1 in pixels of `rgb`.
        mask256: (256, 256) float in 0-1, the opacity of the crop, with a soft edge.
    Returns:
        (H, W, 3) uint8; where the mask is 0 and outside the box, exactly `rgb`.
    """
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = (float(v) for v in box)
    left, top = max(0, int(np.floor(x0))), max(0, int(np.floor(y0)))
    right, bottom = min(width, int(np.ceil(x1))), min(height, int(np.ceil(y1)))
    out = rgb.copy()
    if right <= left or bottom <= top:
        return out
    scale_x, scale_y = CROP_PX / (x1 - x0), CROP_PX / (y1 - y0)
    times_x, times_y = _times(scale_x), _times(scale_y)
    window = ((left - x0) * scale_x, (top - y0) * scale_y, scale_x / times_x, scale_y / times_y)
    size = ((right - left) * times_x, (bottom - top) * times_y)
    face = _resample(face256, window, size, cv2.BORDER_REPLICATE)
    mask = _resample(mask256.astype(np.float32), window, size, cv2.BORDER_CONSTANT)
    face, mask = (average_down(v, times_x, times_y).astype(np.float32) for v in (face, mask))
    mask = np.clip(mask, 0, 1)[..., None]
    region = out[top:bottom, left:right]
    region[:] = np.rint(region + mask * (face - region)).clip(0, 255).astype(np.uint8)
    return out


def to_crop(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Source pixels to crop pixels.

    Args:
        points: (T, P, 3).
        boxes: (T, 4) xyxy.
    Returns:
        (T, P, 3) float32; z is scaled by the mean of the x and y scale.
    """
    origin, scale = _origin_and_scale(boxes)
    return ((points - origin) * scale).astype(np.float32)


def to_source(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Crop pixels to source pixels: the inverse of `to_crop`."""
    origin, scale = _origin_and_scale(boxes)
    return (points / scale + origin).astype(np.float32)


def encode_jpeg(rgb: np.ndarray, quality: int) -> bytes:
    """JPEG with optimised Huffman tables: the same pixels in 4 % fewer bytes."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not ok:
        raise RuntimeError(f"OpenCV could not encode a picture of shape {rgb.shape} as JPEG")
    return data.tobytes()


def decode_jpeg(data: bytes) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Raises:
        ValueError: the data is no picture.
    """
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"{len(data)} bytes are no JPEG")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def _origin_and_scale(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.asarray(boxes, np.float64)
    scale = CROP_PX / (boxes[:, 2:] - boxes[:, :2])
    origin = np.concatenate([boxes[:, :2], np.zeros((len(boxes), 1))], axis=1)
    return origin[:, None], np.concatenate([scale, scale.mean(axis=1, keepdims=True)], axis=1)[:, None]


def _times(step: float) -> int:
    """Number of samples for a step of this many pixels."""
    return max(1, round(step))


def average_down(image: np.ndarray, factor_x: int, factor_y: int) -> np.ndarray:
    """Means over blocks of factor_x by factor_y pixels; the image is a multiple of a block."""
    if factor_x == factor_y == 1:
        return image
    size = (image.shape[1] // factor_x, image.shape[0] // factor_y)
    # Linear interpolation halfway between two pixels is their mean, and several times faster.
    halves = max(factor_x, factor_y) == 2
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR if halves else cv2.INTER_AREA)


def _resample(
    image: np.ndarray, window: tuple[float, float, float, float], size: tuple[int, int], border: int
) -> np.ndarray:
    """Pixels of a grid over an image: `window` is x, y of the grid's corner, then its step in x and y."""
    x, y, step_x, step_y = window
    matrix = np.array([[step_x, 0, x + step_x / 2 - 0.5], [0, step_y, y + step_y / 2 - 0.5]])
    enlarges = min(step_x, step_y) < 1
    flags = (cv2.INTER_CUBIC if enlarges else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, size, flags=flags, borderMode=border)
