"""Layers that the editor's networks share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """Group normalisation whose output has its input's type.

    Under CUDA's autocast torch's own returns float32, which doubles a network's memory for its backward pass. The
    statistics are float32 either way.
    """

    def forward(self, input: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        with torch.autocast(input.device.type, enabled=False):
            weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
            return F.group_norm(input, self.num_groups, weight, bias, self.eps)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation whose output has its input's type; see `GroupNorm`."""

    def forward(self, input: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        with torch.autocast(input.device.type, enabled=False):
            weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
            return F.layer_norm(input, self.normalized_shape, weight, bias, self.eps)


def doubled(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
    """Every pixel four times, in the memory format of `x`.

    Equal to `F.interpolate(x, scale_factor=2, mode="nearest")`, whose compiled bf16 gradients are zero in torch 2.13
    on a CPU if a concatenation follows (`tests/model/test_compiled.py`).
    """
    b, c, h, w = x.shape
    if x.is_contiguous(memory_format=torch.channels_last):
        cells = x.movedim(1, -1)[:, :, None, :, None]  # (b, h, 1, w, 1, c)
        return cells.expand(b, h, 2, w, 2, c).reshape(b, 2 * h, 2 * w, c).movedim(-1, 1)
    return x[:, :, :, None, :, None].expand(b, c, h, 2, w, 2).reshape(b, c, 2 * h, 2 * w)


class Upsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
        return self.conv(doubled(x))


class ResnetBlock(nn.Module):
    """Two convolutions beside the identity; with a `time_dim` a time embedding comes in between."""

    def __init__(self, inner: int, outer: int, groups: int, eps: float, time_dim: int | None = None) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, inner, eps=eps)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        if time_dim is not None:
            self.time_emb_proj = nn.Linear(time_dim, outer)
        self.norm2 = GroupNorm(groups, outer, eps=eps)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b t"] | None = None
    ) -> Float[Tensor, "b d h w"]:
        h = self.conv1(F.silu(self.norm1(x)))
        if time is not None:
            h = h + self.time_emb_proj(F.silu(time))[:, :, None, None]
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(h)))
