"""LatentSync's expert, where the user supplies its weights (`stable_syncnet.pt`).

Source: Li et al., LatentSync, arXiv:2412.09262, in its configuration of 16 frames of pixels with attention. Parameter
names and shapes are those of the published file, which loads strictly. Faces are brought to its template by brows and
nose; what lies beyond our crop is drawn out from the crop's rim. LatentSync publishes no confidence of it, so ours is
formed as SyncNet's is: how far the least mean distance lies under the median of all delays.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.audio.pcm16 import from_pcm16
from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS, NUM_LANDMARKS, Row
from stages.core.tensors import read_tensors
from stages.core.weights import WeightStore
from stages.face.crop import decode_jpeg, to_crop, to_source
from stages.lipsync.curves import Curves
from stages.lipsync.syncnet import DistanceExpert, curves_by_distance

WINDOW_FRAMES = 16
WINDOW_STEPS = 52
"""Mel steps of 12.5 ms: as long as the 16 frames."""
STRIDE_FRAMES = 4
"""From one window of pictures to the next: each costs 1 CPU-s, and its neighbours say the same."""
PICTURE_PX = 256
TEMPLATE = np.array([[47.6, 56.0], [162.4, 56.0], [105.0, 112.0]])
"""Middles of the brow on the picture's left, of the other, and of the nose: pixels of a picture of TEMPLATE_PX."""
TEMPLATE_PX = (210, 280)
"""Width and height, which are then brought to a square."""
POINTS = (  # MediaPipe's, of which the middle is taken
    (46, 53, 52, 65, 55, 70, 63, 105, 66, 107),
    (276, 283, 282, 295, 285, 300, 293, 334, 296, 336),
    (4, 5, 129, 358),
)
Stages = tuple[tuple[int, tuple[int, int], bool], ...]
"""Of an encoder: channels, strides down and across, and whether attention follows."""
AUDIO_STAGES: Stages = (
    (32, (2, 1), False),
    (64, (2, 2), False),
    (128, (2, 2), False),
    (256, (1, 1), True),
    (512, (2, 2), True),
    (1024, (2, 2), False),
    (2048, (2, 3), False),
)
VISUAL_STAGES: Stages = (
    (64, (1, 2), False),
    (128, (2, 2), False),
    (256, (2, 2), False),
    (256, (2, 2), False),
    (512, (2, 2), True),
    (1024, (2, 2), True),
    (2048, (2, 2), False),
    (2048, (2, 2), False),
)
_BATCH = 16


class _Residual(nn.Module):
    def __init__(self, inner: int, outer: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(32, inner, 1e-6), nn.GroupNorm(32, outer, 1e-6)
        self.conv1, self.conv2 = nn.Conv2d(inner, outer, 3, padding=1), nn.Conv2d(outer, outer, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inner, outer, 1) if inner != outer else None
        self.downsample_conv = nn.Conv2d(outer, outer, 3, stride) if stride != (1, 1) else None
        down, across = stride
        self._pad = (int(across == 1), 1, int(down == 1), 1)

    def forward(self, given: Tensor) -> Tensor:
        inner = self.conv1(F.silu(self.norm1(given)))
        inner = self.conv2(F.silu(self.norm2(inner)))
        summed = inner + (self.conv_shortcut(given) if self.conv_shortcut else given)
        return self.downsample_conv(F.pad(summed, self._pad)) if self.downsample_conv else summed


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        from diffusers.models.attention import FeedForward
        from diffusers.models.attention_processor import Attention

        super().__init__()
        self.norm1 = nn.GroupNorm(32, width, 1e-6)
        self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.conv_in, self.conv_out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.attn = Attention(query_dim=width, heads=8, dim_head=width // 8, bias=True)
        self.ff = FeedForward(width, activation_fn="geglu")

    def forward(self, given: Tensor) -> Tensor:
        tokens = self.conv_in(self.norm1(given)).flatten(2).transpose(1, 2)
        tokens = tokens + self.attn(self.norm2(tokens))
        tokens = tokens + self.ff(self.norm3(tokens))
        return given + self.conv_out(tokens.transpose(1, 2).reshape(given.shape))


class _Encoder(nn.Module):
    """Any number of channels to one vector of unit length."""

    def __init__(self, channels: int, stages: Stages) -> None:
        super().__init__()
        widths = [stages[0][0], *(width for width, _, _ in stages)]
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for (inner, outer), (_, stride, attends) in zip(pairwise(widths), stages, strict=True):
            self.down_blocks.append(_Residual(inner, outer, stride))
            if attends:
                self.down_blocks.append(_Attention(outer))
        self.norm_out = nn.GroupNorm(32, widths[-1], 1e-6)

    def forward(self, given: Tensor) -> Tensor:
        inner = self.conv_in(given)
        for block in self.down_blocks:
            inner = block(inner)
        return F.normalize(F.relu(self.norm_out(inner)).flatten(1))


class StableSyncNet(nn.Module):
    """Lips of 16 frames and 650 ms of sound to 2048 numbers each, near to each other where both run together."""

    def __init__(self, audio: Stages = AUDIO_STAGES, visual: Stages = VISUAL_STAGES) -> None:
        super().__init__()
        self.audio_encoder = _Encoder(1, audio)
        self.visual_encoder = _Encoder(3 * WINDOW_FRAMES, visual)

    def hear(self, mel: Tensor) -> Tensor:
        """(B, 1, 80, 52) to (B, 2048)."""
        return self.audio_encoder(mel)

    def see(self, pictures: Tensor) -> Tensor:
        """(B, 48, 128, 256), the lower halves of 16 RGB pictures in -1 to 1 one after another, to (B, 2048)."""
        return self.visual_encoder(pictures)


class StableSyncNetExpert(DistanceExpert):
    """Raises, when made: MissingWeights where the file is not there, UnsafeWeights where it is no plain tensors.

    Args:
        net: to be filled with the file's weights; None: of the published size.
    """

    name = "stable_syncnet"

    def __init__(self, weights: WeightStore, device: str = "auto", net: StableSyncNet | None = None) -> None:
        content = read_tensors(weights.path("stable_syncnet"))
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._net = net or StableSyncNet()
        self._net.load_state_dict(content.get("state_dict", content))
        self._net.to(self._device).eval()

    def curves(self, row: Row) -> Curves:
        """Reads `face_jpeg`, `crop_box_xyxy_px`, `landmarks`, `audio_pcm16`; distances, negative, every 40 ms."""
        boxes = np.asarray(row["crop_box_xyxy_px"], np.float64)
        points = np.asarray(row["landmarks"], np.float64).reshape(-1, NUM_LANDMARKS, 3)
        faces = zip(row["face_jpeg"], boxes, points, strict=True)
        lower = np.stack([picture(decode_jpeg(data), box, at)[PICTURE_PX // 2 :] for data, box, at in faces])
        return curves_by_distance(*self.embed(lower, np.asarray(row["audio_pcm16"])), STRIDE_FRAMES)

    @torch.inference_mode()
    def embed(self, lower: np.ndarray, pcm16: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is seen every `STRIDE_FRAMES`, and what is heard every frame.

        Args:
            lower: (T, 128, 256, 3) uint8 RGB, T at least 16.
            pcm16: (N,) int16 at 16 kHz.
        Returns:
            (S, 2048) and (R, 2048), of unit length.
        """
        pictures = torch.from_numpy(lower).permute(0, 3, 1, 2)
        firsts = range(0, len(lower) - WINDOW_FRAMES + 1, STRIDE_FRAMES)
        seen = [
            self._net.see((pictures[first : first + WINDOW_FRAMES].flatten(0, 1)[None].to(self._device) / 127.5) - 1)
            for first in firsts
        ]
        mel = torch.from_numpy(log_mel(pcm16))
        starts = [int(frame * _STEPS_PER_S / CLIP_FPS) for frame in range(len(lower))]
        windows = [mel[None, :, at : at + WINDOW_STEPS] for at in starts if at + WINDOW_STEPS <= mel.shape[1]]
        heard = [self._net.hear(part.to(self._device)) for part in torch.stack(windows).split(_BATCH)]
        return torch.cat(seen).cpu().numpy(), torch.cat(heard).cpu().numpy()


def picture(crop: np.ndarray, box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """What it looks at: (256, 256, 3) uint8 RGB, brows and nose where its template has them.

    Args:
        crop: (256, 256, 3) uint8 RGB.
        box: (4,) of the crop, source pixels.
        points: (478, 3) landmarks, crop pixels.
    """
    source = to_source(points[None], box[None])[0, :, :2].astype(np.float64)
    found = np.stack([source[list(some)].mean(axis=0) for some in POINTS])
    to_template = _similarity(found, TEMPLATE)
    corners = np.array([[0.0, 0.0], [TEMPLATE_PX[0], 0.0], [0.0, TEMPLATE_PX[1]]])
    in_source = (corners - to_template[:, 2]) @ np.linalg.inv(to_template[:, :2]).T
    in_crop = to_crop(np.pad(in_source, ((0, 0), (0, 1)))[None], box[None])[0]
    rim = np.array([[0, 0], [PICTURE_PX, 0], [0, PICTURE_PX]], np.float32)
    back = cv2.getAffineTransform(rim, np.ascontiguousarray(in_crop[:, :2]))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(crop, back, (PICTURE_PX, PICTURE_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _similarity(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """(2, 3): turned, scaled by the ratio of the spreads, and moved. Source: LatentSync's alignment."""
    middle, target = points.mean(axis=0), onto.mean(axis=0)
    scale = (onto - target).std() / (points - middle).std()
    left, _, right = np.linalg.svd((onto - target).T @ (points - middle))
    turn = left @ np.diag([1.0, np.sign(np.linalg.det(left @ right))]) @ right
    linear = scale * turn
    return np.column_stack([linear, target - linear @ middle])


_HOP_SAMPLES, _FFT_SAMPLES = 200, 800
_STEPS_PER_S = AUDIO_RATE_HZ / _HOP_SAMPLES


def log_mel(pcm16: np.ndarray) -> np.ndarray:
    """The spectrogram it was trained with: float32 (80, N // 200 + 1), -4 to 4 for -80 to 20 dB.

    Source: Wav2Lip's, arXiv:2008.10010: pre-emphasis .97, Hann windows of 50 ms, Slaney's mel bands of 55 to 7600 Hz.
    """
    from torchaudio.functional import melscale_fbanks

    sound = torch.from_numpy(from_pcm16(pcm16))
    sound = torch.cat([sound[:1], sound[1:] - 0.97 * sound[:-1]])
    window = torch.hann_window(_FFT_SAMPLES)
    spectrum = torch.stft(
        sound, _FFT_SAMPLES, _HOP_SAMPLES, window=window, center=True, pad_mode="constant", return_complex=True
    )
    bands = melscale_fbanks(_FFT_SAMPLES // 2 + 1, 55.0, 7600.0, 80, AUDIO_RATE_HZ, "slaney", "slaney")
    level_db = 20 * torch.log10((bands.T @ spectrum.abs()).clamp_min(1e-5)) - 20
    return (8 * (level_db + 100) / 100 - 4).clamp(-4, 4).numpy()
