"""Voice embeddings of 192 dimensions by CAM++.

Source: Wang et al., CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware Masking,
arXiv:2303.00332. Parameter names follow the published checkpoint, which loads strictly.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.core.records import AUDIO_RATE_HZ
from stages.core.tensors import read_tensors
from stages.core.weights import WeightStore

NUM_MELS = 80
MELS_PER_S, MELS_LOST = 100, 2
"""Mel frames a second, and the frames lost because each lies wholly within the sound: a second has 98."""
EMBEDDING_DIM = 192
MIN_SPEECH_S = 0.1
"""Least length of speech; shorter audio has too few frames for statistics over time."""
_STEM = 128
_GROWTH = 32
_BOTTLENECK = 128
_BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers and dilation of the three dense blocks
_SEGMENT_FRAMES = 100


class _Residual(nn.Module):
    """Two 3x3 convolutions over (mel, time) and a shortcut; `stride` is along mel only."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            projection = nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(inner + self.shortcut(x))


class _Head(nn.Module):
    """Local time-frequency patterns: (B, 80, T) mel energies to (B, 320, T)."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(_Residual(channels, 2), _Residual(channels, 1))
        self.layer2 = nn.Sequential(_Residual(channels, 2), _Residual(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.out_channels = channels * NUM_MELS // 8

    def forward(self, mel: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(mel[:, None])))
        x = self.layer2(self.layer1(x))
        return F.relu(self.bn2(self.conv2(x))).flatten(1, 2)


def _norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU()))


class _Stem(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, _STEM, 5, stride=2, padding=2, bias=False)
        self.nonlinear = _norm_relu(_STEM)

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.linear(x))


class _ContextMask(nn.Module):
    """A dilated convolution whose channels are gated by means over the whole clip and over the near second."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(_BOTTLENECK, _GROWTH, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(_BOTTLENECK, _BOTTLENECK // 2, 1)
        self.linear2 = nn.Conv1d(_BOTTLENECK // 2, _GROWTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        segments = F.avg_pool1d(x, _SEGMENT_FRAMES, ceil_mode=True)  # (B, C, ceil(T / 100)), the last over the rest
        near = segments.repeat_interleave(_SEGMENT_FRAMES, dim=-1)[..., : x.shape[-1]]
        context = x.mean(-1, keepdim=True) + near
        mask = torch.sigmoid(self.linear2(F.relu(self.linear1(context))))
        return self.linear_local(x) * mask


class _DenseLayer(nn.Module):
    def __init__(self, in_channels: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = _norm_relu(in_channels)
        self.linear1 = nn.Conv1d(in_channels, _BOTTLENECK, 1, bias=False)
        self.nonlinear2 = _norm_relu(_BOTTLENECK)
        self.cam_layer = _ContextMask(dilation)

    def forward(self, x: Tensor) -> Tensor:
        new = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))
        return torch.cat([x, new], dim=1)


class _Transition(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.nonlinear = _norm_relu(in_channels)
        self.linear = nn.Conv1d(in_channels, in_channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.nonlinear(x))


class _Statistics(nn.Module):
    """Mean and standard deviation over time: (B, C, T) to (B, 2 C, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean(-1, keepdim=True), x.std(-1, keepdim=True)], dim=1)


class _Embedding(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, EMBEDDING_DIM, 1, bias=False)
        self.nonlinear = nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(EMBEDDING_DIM, affine=False)))

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.linear(x))[..., 0]


class CampPlusNetwork(nn.Module):
    """(B, 80, T) mean-free log-mel energies at 100 Hz to (B, 192) embeddings, not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.head = _Head()
        parts: OrderedDict[str, nn.Module] = OrderedDict(tdnn=_Stem(self.head.out_channels))
        channels = _STEM
        for idx, (num_layers, dilation) in enumerate(_BLOCKS, start=1):
            layers: OrderedDict[str, nn.Module] = OrderedDict(
                (f"tdnnd{i + 1}", _DenseLayer(channels + i * _GROWTH, dilation)) for i in range(num_layers)
            )
            channels += num_layers * _GROWTH
            parts[f"block{idx}"] = nn.Sequential(layers)
            parts[f"transit{idx}"] = _Transition(channels)
            channels //= 2
        parts["out_nonlinear"] = _norm_relu(channels)
        parts["stats"] = _Statistics()
        parts["dense"] = _Embedding(2 * channels)
        self.xvector = nn.Sequential(parts)

    def forward(self, mel: Tensor) -> Tensor:
        return self.xvector(self.head(mel))


def kaldi_mel(audio: np.ndarray) -> Tensor:
    """(80, T) Kaldi log-mel energies every 10 ms."""
    from torchaudio.compliance import kaldi

    waveform = torch.from_numpy(np.ascontiguousarray(audio, np.float32))[None]
    return kaldi.fbank(waveform, num_mel_bins=NUM_MELS, sample_frequency=AUDIO_RATE_HZ, dither=0.0).T.contiguous()


class VoiceEmbedder:
    """CAM++ on Chinese and English voices.

    Args:
        device: cpu, cuda or auto.
    Raises:
        MissingWeights: the checkpoint was found nowhere.
    """

    def __init__(self, weights: WeightStore, device: str = "auto") -> None:
        self._device = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")
        if device != "auto":
            self._device = torch.device(device)
        network = CampPlusNetwork()
        network.load_state_dict(read_tensors(weights.path("campplus")), strict=True)
        self._network = network.eval().requires_grad_(False).to(self._device)

    def __call__(self, speech: np.ndarray) -> np.ndarray:
        """Embedding of the voice in some speech: float32 (192,), unit length.

        Raises:
            ValueError: the speech is shorter than 0.1 s.
        """
        if len(speech) < MIN_SPEECH_S * AUDIO_RATE_HZ:
            raise ValueError(f"{len(speech)} samples are too few for a voice")
        return self._embed(kaldi_mel(speech)[None])[0]

    def pieces(self, speech: np.ndarray, length_s: float, hop_s: float) -> np.ndarray:
        """Embeddings of pieces `hop_s` apart, of speech at least one piece long: float32 (N, 192), unit length."""
        length, hop = (round(s * MELS_PER_S) for s in (length_s, hop_s))
        return self._embed(kaldi_mel(speech).unfold(1, length - MELS_LOST, hop).transpose(0, 1))

    def _embed(self, mel: Tensor) -> np.ndarray:
        with torch.inference_mode():
            embeddings = self._network((mel - mel.mean(dim=-1, keepdim=True)).to(self._device)).cpu().numpy()
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
