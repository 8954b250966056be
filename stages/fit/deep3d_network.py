"""The network of Deep3DFaceRecon: ResNet-50 and a 1x1 convolution for each kind of coefficient.

Names are those of the published checkpoint. Source: He et al. 2015 (arXiv:1512.03385) with the stride at the 3x3
convolution; heads of Deep3DFaceRecon_pytorch, `models/networks.py`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

BLOCKS = (3, 4, 6, 3)
HEADS = (80, 64, 80, 3, 27, 2, 1)
"""Identity, expression, texture, angles, light, translation across, translation along."""


class Bottleneck(nn.Module):
    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(inner)))))
        return self.relu(inner + (x if self.downsample is None else self.downsample(x)))


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for number, depth in enumerate(BLOCKS):
            width, stride = 64 << number, 1 if number == 0 else 2
            blocks = [
                Bottleneck(channels if i == 0 else 4 * width, width, stride if i == 0 else 1) for i in range(depth)
            ]
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
            channels = 4 * width

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2048 1 1"]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (b, 64, h/4, w/4)
        for number in range(len(BLOCKS)):
            x = getattr(self, f"layer{number + 1}")(x)
        return x.mean((2, 3), keepdim=True)


class ReconNetwork(nn.Module):
    """RGB in 0-1 to 257 coefficients: identity, expression, texture, angles, light, translation."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.final_layers = nn.ModuleList([nn.Conv2d(2048, width, 1) for width in HEADS])

    def forward(self, x: Float[Tensor, "b 3 224 224"]) -> Float[Tensor, "b 257"]:
        features = self.backbone(x)
        return torch.cat([head(features) for head in self.final_layers], 1).flatten(1)
