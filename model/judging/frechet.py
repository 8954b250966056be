"""FID: the Frechet distance between two sets of pictures, in the features of the network that defines it.

The network is FID's own Inception v3 (Heusel et al., arXiv:1706.08500), ported from the TensorFlow graph of 2015-12-05:
it pools otherwise than the usual Inception v3 in four blocks, and pictures are resized to 299 px as in TensorFlow 1.
Features of any other network give another number, which is not FID.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from stages.core.tensors import read_tensors
from stages.core.weights import WeightStore

FEATURES = 2048
INPUT_PX = 299
BATCH = 16

Conv = tuple[str, int, int | tuple[int, int]]
"""Name in the published file, channels, kernel."""


class ConvNorm(nn.Module):
    """Convolution, normalisation, ReLU."""

    def __init__(
        self, inner: int, outer: int, kernel: int | tuple[int, int], stride: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (high // 2, wide // 2) if pad else (0, 0)
        self.conv = nn.Conv2d(inner, outer, (high, wide), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outer, eps=0.001)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """Parallel branches with concatenated channels; the last branch begins with pooling.

    Args:
        branches: chains of convolutions; a convolution in two chains is one layer.
        pooled: convolution after the pooling, if there is one.
        pool: avg (over the picture alone) or max.
        halves: whether the last convolution of each branch, and the pooling, halve the picture.
    """

    def __init__(
        self, inner: int, branches: list[list[Conv]], pooled: Conv | None, pool: str = "avg", halves: bool = False
    ) -> None:
        super().__init__()
        self._chains = [[name for name, _, _ in branch] for branch in branches]
        self._pool, self._halves = pool, halves
        self._pooled = pooled[0] if pooled else None
        for branch in [*branches, [pooled] if pooled else []]:
            width = inner
            for place, (name, outer, kernel) in enumerate(branch):
                last = halves and place == len(branch) - 1
                self.add_module(name, ConvNorm(width, outer, kernel, 2 if last else 1, pad=not last))
                width = outer

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        done = []
        for chain in self._chains:
            y = x
            for name in chain:
                y = self.get_submodule(name)(y)
            done.append(y)
        stride, pad = (2, 0) if self._halves else (1, 1)
        if self._pool == "max":
            y = F.max_pool2d(x, 3, stride, pad)
        else:
            y = F.avg_pool2d(x, 3, stride, pad, count_include_pad=False)
        return torch.cat([*done, self.get_submodule(self._pooled)(y) if self._pooled else y], dim=1)


def _coarse(inner: int, pooled: int) -> Mixed:
    doubled: list[Conv] = [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)]
    branches: list[list[Conv]] = [[("branch1x1", 64, 1)], [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)], doubled]
    return Mixed(inner, branches, ("branch_pool", pooled, 1))


def _crossed(width: int) -> Mixed:
    single: list[Conv] = [("branch7x7_1", width, 1), ("branch7x7_2", width, (1, 7)), ("branch7x7_3", 192, (7, 1))]
    doubled: list[Conv] = [("branch7x7dbl_1", width, 1)]
    for number, (outer, kernel) in enumerate([(width, (7, 1)), (width, (1, 7)), (width, (7, 1)), (192, (1, 7))]):
        doubled.append((f"branch7x7dbl_{number + 2}", outer, kernel))
    return Mixed(768, [[("branch1x1", 192, 1)], single, doubled], ("branch_pool", 192, 1))


def _wide(inner: int, pool: str) -> Mixed:
    first: Conv = ("branch3x3_1", 384, 1)
    second: list[Conv] = [("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3)]
    forks = [[first, ("branch3x3_2a", 384, (1, 3))], [first, ("branch3x3_2b", 384, (3, 1))]]
    forks += [[*second, ("branch3x3dbl_3a", 384, (1, 3))], [*second, ("branch3x3dbl_3b", 384, (3, 1))]]
    return Mixed(inner, [[("branch1x1", 320, 1)], *forks], ("branch_pool", 192, 1), pool)


class Inception(nn.Module):
    """FID's Inception v3 up to its last pooling; parameter names are those of the published file."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 2, pad=False)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3, pad=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _coarse(192, 32), _coarse(256, 64), _coarse(288, 64)
        doubled: list[Conv] = [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)]
        self.Mixed_6a = Mixed(288, [[("branch3x3", 384, 3)], doubled], None, "max", halves=True)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d = _crossed(128), _crossed(160), _crossed(160)
        self.Mixed_6e = _crossed(192)
        first: list[Conv] = [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)]
        second: list[Conv] = [("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, (1, 7)), ("branch7x7x3_3", 192, (7, 1))]
        second.append(("branch7x7x3_4", 192, 3))
        self.Mixed_7a = Mixed(768, [first, second], None, "max", halves=True)
        self.Mixed_7b, self.Mixed_7c = _wide(1280, "avg"), _wide(2048, "max")

    def forward(self, pictures: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2048"]:
        x = (resize_tf1(pictures.float()) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = self.get_submodule(f"Mixed_{name}")(x)
        return x.mean(dim=(2, 3))


def resize_tf1(pictures: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 299 299"]:
    """Bilinear resize as in TensorFlow 1: pixel i of the result lies at i * size / 299, not at pixels' middles."""
    rows, columns = (_bilinear(size).to(pictures) for size in pictures.shape[2:])
    return rows @ pictures @ columns.T


@lru_cache(maxsize=4)
def _bilinear(size: int) -> Float[Tensor, "299 size"]:
    place = torch.arange(INPUT_PX, dtype=torch.float32) * (size / INPUT_PX)
    low = place.floor().long()
    share, high, at = place - low, (low + 1).clamp(max=size - 1), torch.arange(INPUT_PX)
    weights = torch.zeros(INPUT_PX, size)
    weights[at, low] += 1 - share
    weights[at, high] += share
    return weights


def load_inception(weights: WeightStore, device: str = "cpu") -> Inception:
    """The network with the published weights.

    Raises:
        MissingWeights: the file was found nowhere.
    """
    net, state = Inception(), read_tensors(weights.path("inception"))
    counters = {name: value for name, value in net.state_dict().items() if name.endswith("num_batches_tracked")}
    features = {name: value for name, value in state.items() if not name.startswith("fc.")}
    net.load_state_dict(counters | features)
    return net.to(device).eval().requires_grad_(False)


class Moments:
    """Running mean and covariance of features, in constant memory."""

    def __init__(self, width: int = FEATURES) -> None:
        self.number = 0
        self._sum, self._squares = np.zeros(width), np.zeros((width, width))

    def add(self, features: Float[np.ndarray, "n d"]) -> None:
        wide = features.astype(np.float64)
        self.number += len(wide)
        self._sum += wide.sum(axis=0)
        self._squares += wide.T @ wide

    @property
    def mean(self) -> Float[np.ndarray, " d"]:
        return self._sum / self.number

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        return (self._squares - self.number * np.outer(self.mean, self.mean)) / (self.number - 1)


@torch.no_grad()
def features_of(net: Inception, frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t 2048"]:
    device = cast(Tensor, net.Conv2d_1a_3x3.conv.weight).device
    parts = torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()).split(BATCH)
    return np.concatenate([net(part.to(device)).cpu().numpy() for part in parts])


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), which is 0 for equal sets.

    The root's trace is the sum of the roots of the eigenvalues of C_a^(1/2) C_b C_a^(1/2), which are real and not
    negative, also with fewer pictures than features.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b.covariance @ root), 0)).sum()
    apart = np.square(a.mean - b.mean).sum()
    return float(max(0.0, apart + np.trace(a.covariance) + np.trace(b.covariance) - 2 * shared))
