"""SyncNet as an expert, where the user supplies its weights (`syncnet_v2.model`).

Source: Chung and Zisserman, Out of time: automated lip sync in the wild, ACCV-W 2016. Parameter names and shapes are
those of the published file, which loads strictly. It was trained on pictures around the face that reach further than
our crops: what is missing of them is drawn out from the crop's rim, so numbers are near the published protocol's, not
equal to them. Its confidence is LSE-C, its distance LSE-D.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS, CROP_PX, Row
from stages.core.tensors import read_tensors
from stages.core.weights import WeightStore
from stages.face.crop import decode_jpeg
from stages.lipsync.curves import Curves, curves_of

PICTURE_PX = 224
PICTURE_SIDE = 1.4
"""Side of its pictures over the face's height; the face's top is theirs, and its middle is in their middle."""
WINDOW_FRAMES = 5
MFCC_STEPS = 20
"""Of 10 ms: as long as the five frames."""
MAX_SHIFT_FRAMES = 20
"""Delays compared, on both sides; the published protocol has 15."""
PUBLISHED_SHIFT_FRAMES = 15
PAIRWISE_EPSILON = 1e-6
"""Added to differences by the distance of PyTorch that the published evaluation takes."""
CHUNK_FRAMES = 50
_MFCC_STEPS_PER_FRAME = 4


def _block(conv: nn.Module, norm: nn.Module, pool: nn.Module | None = None) -> list[nn.Module]:
    return [conv, norm, nn.ReLU(), *([pool] if pool else [])]


class SyncNet(nn.Module):
    """Lips and sound to 1024 numbers each, that are near to each other where both run together."""

    def __init__(self) -> None:
        super().__init__()

        def sound(inner: int, outer: int, pool: nn.Module | None = None, kernel: int | tuple[int, int] = 3):
            conv = nn.Conv2d(inner, outer, kernel, padding=1 if kernel == 3 else 0)
            return _block(conv, nn.BatchNorm2d(outer), pool)

        def lips(inner: int, outer: int, side: int, pool: int | None = None, stride: int = 1, pad: int = 1):
            conv = nn.Conv3d(inner, outer, (1, side, side), (1, stride, stride), (0, pad, pad))
            drawn = None if pool is None else nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, pool, pool))
            return _block(conv, nn.BatchNorm3d(outer), drawn)

        def head() -> nn.Sequential:
            return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))

        first = _block(nn.Conv3d(3, 96, (5, 7, 7), (1, 2, 2)), nn.BatchNorm3d(96), nn.MaxPool3d((1, 3, 3), (1, 2, 2)))
        self.netcnnaud = nn.Sequential(
            *sound(1, 64, nn.MaxPool2d(1, 1)),
            *sound(64, 192, nn.MaxPool2d(3, (1, 2))),
            *sound(192, 384),
            *sound(384, 256),
            *sound(256, 256, nn.MaxPool2d(3, 2)),
            *sound(256, 512, kernel=(5, 4)),
        )
        self.netcnnlip = nn.Sequential(
            *first,
            *lips(96, 256, 5, pool=1, stride=2),
            *lips(256, 256, 3),
            *lips(256, 256, 3),
            *lips(256, 256, 3, pool=0),
            *lips(256, 512, 6, pad=0),
        )
        self.netfcaud, self.netfclip = head(), head()

    def hear(self, mfcc: Tensor) -> Tensor:
        """(B, 1, 13, 20) coefficients to (B, 1024)."""
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))

    def see(self, pictures: Tensor) -> Tensor:
        """(1, 3, T, 224, 224) BGR in 0-255 to (T - 4, 1024), one for every five frames."""
        return self.netfclip(self.netcnnlip(pictures)[0, :, :, 0, 0].T)


class DistanceExpert:
    """What experts have in common that lay lips and sound into one space: the nearer, the better."""

    def confidence(self, curve: np.ndarray, best: int, speech_s: float) -> float:  # noqa: ARG002
        """How far the best distance is under the median: SyncNet's LSE-C."""
        return float(curve[best] - np.median(curve[np.isfinite(curve)]))

    def distance(self, peak: float) -> float:
        return -peak


class SyncNetExpert(DistanceExpert):
    """Raises, when made: MissingWeights where the file is not there, UnsafeWeights where it is no plain tensors."""

    name = "syncnet_v2"

    def __init__(self, weights: WeightStore, device: str = "auto") -> None:
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._net = SyncNet()
        self._net.load_state_dict(read_tensors(weights.path("syncnet")))
        self._net.to(chosen).eval()
        self._device = chosen

    @torch.inference_mode()
    def curves(self, row: Row) -> Curves:
        """Reads `face_jpeg`, `crop_box_xyxy_px`, `audio_pcm16`; the curves are distances, negative, every 40 ms."""
        boxes = np.asarray(row["crop_box_xyxy_px"], np.float64)
        pictures = [picture(decode_jpeg(data), box) for data, box in zip(row["face_jpeg"], boxes, strict=True)]
        return curves_by_distance(*self.embed(np.stack(pictures), np.asarray(row["audio_pcm16"])))

    @torch.inference_mode()
    def embed(self, pictures: np.ndarray, pcm16: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is seen and what is heard, window by window, every 40 ms.

        Args:
            pictures: (T, 224, 224, 3) uint8 BGR.
            pcm16: (N,) int16 at 16 kHz.
        Returns:
            (T - 4, 1024), and at most as many rows for the sound.
        """
        seen, cepstra = self._see(pictures), mfcc(pcm16)
        starts = range(0, min(len(seen) * _MFCC_STEPS_PER_FRAME, len(cepstra) - MFCC_STEPS + 1), _MFCC_STEPS_PER_FRAME)
        windows = np.stack([cepstra[at : at + MFCC_STEPS].T for at in starts])[:, None]
        return seen, self._net.hear(torch.from_numpy(windows).float().to(self._device)).cpu().numpy()

    def _see(self, pictures: np.ndarray) -> np.ndarray:
        """(T, 224, 224, 3) to (T - 4, 1024)."""
        parts = []
        for first in range(0, len(pictures) - WINDOW_FRAMES + 1, CHUNK_FRAMES):
            some = pictures[first : first + CHUNK_FRAMES + WINDOW_FRAMES - 1]
            given = torch.from_numpy(some).float().permute(3, 0, 1, 2)[None]
            parts.append(self._net.see(given.to(self._device)).cpu().numpy())
        return np.concatenate(parts)


def curves_by_distance(seen: np.ndarray, heard: np.ndarray, stride: int = 1) -> Curves:
    """Mean distances, negative, for delays of up to MAX_SHIFT_FRAMES; -inf where less than half of the windows count.

    Args:
        seen: (S, D), every `stride` frames.
        heard: (R, D), every frame.
    """
    distances = shifted_distances(seen, heard, stride)

    def curve(windows: slice) -> np.ndarray:
        some = distances[windows]
        known = (~np.isnan(some)).sum(axis=0)
        mean = np.nansum(some, axis=0) / np.maximum(known, 1)
        return np.where(known >= len(some) / 2, -mean, -np.inf)

    delays_ms = np.arange(-MAX_SHIFT_FRAMES, MAX_SHIFT_FRAMES + 1) * (1000 / CLIP_FPS)
    return curves_of(curve, delays_ms, len(seen))


def shifted_distances(seen: np.ndarray, heard: np.ndarray, stride: int = 1) -> np.ndarray:
    """Distance of the lips at t from the sound at t + k, for k of -MAX_SHIFT_FRAMES .. MAX_SHIFT_FRAMES.

    Args:
        seen: (S, D), every `stride` frames of 40 ms.
        heard: (R, D), every frame.
    Returns:
        (S, 2 MAX_SHIFT_FRAMES + 1), NaN where there is no sound.
    """
    distances = np.full((len(seen), 2 * MAX_SHIFT_FRAMES + 1), np.nan)
    for column, shift in enumerate(range(-MAX_SHIFT_FRAMES, MAX_SHIFT_FRAMES + 1)):
        at = np.arange(len(seen)) * stride + shift
        shared = (at >= 0) & (at < len(heard))
        distances[shared, column] = np.linalg.norm(seen[shared] - heard[at[shared]], axis=1)
    return distances


@dataclass(frozen=True)
class Lse:
    """Lip-sync error as published: the higher the confidence, and the lower the distance, the better."""

    confidence: float
    distance: float
    offset_frames: int


def lip_sync_error(seen: np.ndarray, heard: np.ndarray) -> Lse:
    """LSE-C and LSE-D of one clip, to the letter of the published evaluation.

    Mean distances for shifts of 15 frames to both sides; beyond the ends the sound is all zeros, which counts. LSE-D is
    the least of them, LSE-C how far that is under their median.

    Args:
        seen, heard: (T, D), every 40 ms.
    Source: SyncNetInstance.evaluate of joonson/syncnet_python, which Wav2Lip's evaluation runs (arXiv:2008.10010).
    """
    padded = np.pad(heard, ((PUBLISHED_SHIFT_FRAMES, PUBLISHED_SHIFT_FRAMES), (0, 0)))
    shifts = range(2 * PUBLISHED_SHIFT_FRAMES + 1)
    apart = [seen - padded[shift : shift + len(seen)] + PAIRWISE_EPSILON for shift in shifts]
    distances = np.array([np.linalg.norm(vectors, axis=1).mean() for vectors in apart])
    best = int(distances.argmin())
    least = float(distances[best])
    return Lse(float(np.median(distances)) - least, least, PUBLISHED_SHIFT_FRAMES - best)


def picture(crop: np.ndarray, box: np.ndarray) -> np.ndarray:
    """What SyncNet looks at: (224, 224, 3) uint8 BGR, from our (256, 256, 3) RGB crop and its box in the source."""
    width, height = box[2] - box[0], box[3] - box[1]
    step = PICTURE_SIDE * height / PICTURE_PX
    step_x, step_y = step * CROP_PX / width, step * CROP_PX / height
    to_crop = np.array([[step_x, 0, CROP_PX / 2 - step_x * PICTURE_PX / 2], [0, step_y, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(crop, to_crop, (PICTURE_PX, PICTURE_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(moved[..., ::-1])


def mfcc(pcm16: np.ndarray) -> np.ndarray:
    """Cepstra as SyncNet was trained with: float64 (steps of 10 ms, 13), the first of them the log energy.

    Source: the defaults of python_speech_features 0.6: 25 ms, 26 filters, FFT of 512, pre-emphasis .97, lifter 22.
    """
    from scipy.fft import dct

    window, hop, size, num_filters, num_cepstra = 400, 160, 512, 26, 13
    signal = pcm16.astype(np.float64)
    signal = np.append(signal[:1], signal[1:] - 0.97 * signal[:-1])
    num_steps = 1 + max(0, -(-(len(signal) - window) // hop))
    padded = np.zeros((num_steps - 1) * hop + window)
    padded[: min(len(signal), len(padded))] = signal[: len(padded)]
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.square(np.abs(np.fft.rfft(frames, size))) / size
    edges_mel = np.linspace(0, 2595 * np.log10(1 + AUDIO_RATE_HZ / 2 / 700), num_filters + 2)
    edges = np.floor((size + 1) * 700 * (10 ** (edges_mel / 2595) - 1) / AUDIO_RATE_HZ)[:, None]
    bins = np.arange(size // 2 + 1)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    filters = np.where((bins >= low) & (bins < middle), rising, np.where((bins >= middle) & (bins < high), falling, 0))
    tiny = np.finfo(float).eps
    energies = power @ filters.T
    cepstra = np.asarray(dct(np.log(np.where(energies == 0, tiny, energies)), axis=1, norm="ortho"))[:, :num_cepstra]
    cepstra *= 1 + 11 * np.sin(np.pi * np.arange(num_cepstra) / 22)
    total = power.sum(axis=1)
    cepstra[:, 0] = np.log(np.where(total == 0, tiny, total))
    return cepstra
