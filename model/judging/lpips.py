"""LPIPS: perceptual distance of two pictures, by the features of AlexNet and published weights per channel.

Source: Zhang et al., arXiv:1801.03924, version 0.1. The channel weights come with torchmetrics; AlexNet's are
torchvision's, which cannot be installed beside a CPU torch, so its convolutions are written out here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from stages.core.tensors import read_tensors
from stages.core.weights import WeightStore

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
TAPS = (1, 4, 7, 9, 11)
"""Layers after which features are compared."""
BATCH = 16


def alexnet_features() -> nn.Sequential:
    """AlexNet's convolutions up to the last ReLU, numbered like torchvision's."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU()),
    )


def published_channels() -> list[Tensor]:
    """Channel weights at each tap, (1, C, 1, 1), from the file in torchmetrics."""
    import torchmetrics.functional.image as package

    state = read_tensors(Path(str(package.__file__)).parent / "lpips_models" / "alex.pth")
    return [state[f"lin{tap}.model.1.weight"] for tap in range(len(TAPS))]


class Lpips(nn.Module):
    """The distance of two pictures, 0 for equal ones.

    Args:
        channels: (1, C, 1, 1), channel weights of every tap.
    """

    def __init__(self, features: nn.Sequential, channels: list[Tensor]) -> None:
        super().__init__()
        self._features, self._channels = features, channels

    def forward(self, a: UInt8[Tensor, "b 3 h w"], b: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        shift, scale = (torch.tensor(v)[None, :, None, None] for v in (SHIFT, SCALE))
        x = (torch.cat([a, b]).float() / 127.5 - 1 - shift) / scale
        total = torch.zeros(len(a))
        for number, layer in enumerate(self._features):
            x = layer(x)
            if number in TAPS:
                unit = x * (x.square().sum(dim=1, keepdim=True) + 1e-8).rsqrt()
                apart = (unit[: len(a)] - unit[len(a) :]).square()
                total = total + (apart * self._channels[TAPS.index(number)]).sum(dim=1).mean(dim=(1, 2))
        return total


def load_lpips(weights: WeightStore) -> Lpips:
    """LPIPS with the published weights.

    Raises:
        MissingWeights: AlexNet's file was found nowhere.
    """
    features, state = alexnet_features(), read_tensors(weights.path("alexnet"))
    begin = "features."
    features.load_state_dict({name[len(begin) :]: value for name, value in state.items() if name.startswith(begin)})
    return Lpips(features.eval().requires_grad_(False), published_channels())


@torch.no_grad()
def lpips(net: Lpips, output: UInt8[np.ndarray, "t h w 3"], truth: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Mean LPIPS over the frames."""
    ours, theirs = (torch.from_numpy(v.transpose(0, 3, 1, 2).copy()).split(BATCH) for v in (output, truth))
    return float(torch.cat([net(a, b) for a, b in zip(ours, theirs, strict=True)]).mean())
