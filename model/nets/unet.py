"""The editor's U-Net: Stable Diffusion 1.x's, written out in one file, parameter for parameter diffusers' names.

`UNet2DConditionModel` weights load as they are. Every level has residual blocks with the time embedding, then (if
`attention` says so) a transformer block with self-attention, cross-attention to the audio tokens, and a feed-forward.
Source: arXiv:2112.10752; `tests/model/nets/test_unet.py` compares it with diffusers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.nets.layers import GroupNorm, LayerNorm, ResnetBlock, Upsample


@dataclass(frozen=True)
class UnetConfig:
    """Shape of the U-Net. Defaults: Stable Diffusion 1.x with the cross-attention of the reference."""

    block_channels: tuple[int, ...] = (320, 640, 1280, 1280)  # Channels at each resolution, finest first
    attention: tuple[bool, ...] = (True, True, True, False)  # Whether each resolution has attention, finest first
    layers_per_block: int = 2  # Residual blocks at each resolution
    num_heads: int = 8  # Attention heads
    num_groups: int = 32  # Groups of the group norms
    # Width of the audio tokens. 384 is Whisper tiny's; None: the audio encoder's width in the shards
    cross_attention_dim: int | None = 384
    use_depth: bool = True  # Read the depth channel
    # Side of the squares in which latents are gathered. At 2, as in the tiny preset, a step has a quarter of the work
    patch: int = 1
    lower_half: bool = False  # Generate only the lower half. The U-Net reads it and the rows above it
    # Outside a window around the mouth, predict the difference from the reference's latents
    skip_outside_mouth: bool = False
    normalize_audio: bool = False  # Scale audio tokens to unit variance, which the tiny preset learns from faster
    path: str | None = None  # Published diffusers weights to start from


EPS = 1e-5
"""Epsilon of the residual blocks' norms."""


class Attention(nn.Module):
    def __init__(self, width: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context_dim, width, bias=False)
        self.to_v = nn.Linear(context_dim, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Float[Tensor, "b n c"], context: Float[Tensor, "b m d"]) -> Float[Tensor, "b n c"]:
        b, n, _ = x.shape
        q, k, v = (
            y.view(b, y.shape[1], self.heads, -1).transpose(1, 2)  # (b, heads, tokens, c / heads)
            for y in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        return self.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, -1))


class GatedLinear(nn.Module):
    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inner, 2 * outer)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GatedLinear(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    def __init__(self, width: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn1 = LayerNorm(width), Attention(width, width, heads)
        self.norm2, self.attn2 = LayerNorm(width), Attention(width, context_dim, heads)
        self.norm3, self.ff = LayerNorm(width), FeedForward(width)

    def forward(self, x: Float[Tensor, "b n c"], audio: Float[Tensor, "b m d"]) -> Float[Tensor, "b n c"]:
        h = self.norm1(x)
        x = x + self.attn1(h, h)
        x = x + self.attn2(self.norm2(x), audio)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self, width: int, context_dim: int, heads: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, context_dim, heads)])
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Float[Tensor, "b c h w"], audio: Float[Tensor, "b m d"]) -> Float[Tensor, "b c h w"]:
        height, width = x.shape[-2:]
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)  # (b, h w, c)
        for block in self.transformer_blocks:
            tokens = block(tokens, audio)
        return x + self.proj_out(tokens.transpose(1, 2).unflatten(2, (height, width)))


class Downsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Level(nn.Module):
    """One resolution: residual blocks, attention, and a step to the next resolution."""

    def __init__(
        self, widths: list[tuple[int, int]], config: UnetConfig, context_dim: int, attention: bool, step: str | None
    ) -> None:
        super().__init__()
        outer, time_dim = widths[-1][1], 4 * config.block_channels[0]
        self.resnets = nn.ModuleList([ResnetBlock(i, o, config.num_groups, EPS, time_dim) for i, o in widths])
        if attention:
            self.attentions = nn.ModuleList(
                [SpatialTransformer(o, context_dim, config.num_heads, config.num_groups) for _, o in widths]
            )
        if step == "down":
            self.downsamplers = nn.ModuleList([Downsample(outer)])
        if step == "up":
            self.upsamplers = nn.ModuleList([Upsample(outer)])

    def block(self, i: int, x: Tensor, time: Tensor, audio: Tensor) -> Tensor:
        x = self.resnets[i](x, time)
        return self.attentions[i](x, audio) if hasattr(self, "attentions") else x


class Middle(nn.Module):
    def __init__(self, width: int, config: UnetConfig, context_dim: int) -> None:
        super().__init__()
        time_dim = 4 * config.block_channels[0]
        self.resnets = nn.ModuleList([ResnetBlock(width, width, config.num_groups, EPS, time_dim) for _ in range(2)])
        self.attentions = nn.ModuleList([SpatialTransformer(width, context_dim, config.num_heads, config.num_groups)])

    def forward(self, x: Tensor, time: Tensor, audio: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x, time), audio), time)


class TimeEmbedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, 4 * width)
        self.linear_2 = nn.Linear(4 * width, 4 * width)

    def forward(self, wave: Float[Tensor, "b c"]) -> Float[Tensor, "b t"]:
        return self.linear_2(F.silu(self.linear_1(wave)))


class UNet(nn.Module):
    """One step from masked target, reference and depth latents to the edited latents.

    Args:
        in_channels: channels of all input latents together.
        context_dim: width of an audio token.
    """

    def __init__(self, config: UnetConfig, in_channels: int, out_channels: int, context_dim: int) -> None:
        super().__init__()
        widths, layers = config.block_channels, config.layers_per_block
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0])
        last = len(widths) - 1
        skips = [widths[0]]
        self.down_blocks = nn.ModuleList()
        for i, width in enumerate(widths):
            inner = widths[max(i - 1, 0)]
            pairs = [(inner if j == 0 else width, width) for j in range(layers)]
            step = "down" if i < last else None
            self.down_blocks.append(Level(pairs, config, context_dim, config.attention[i], step))
            skips += [width] * (layers + (i < last))
        self.mid_block = Middle(widths[-1], config, context_dim)
        self.up_blocks = nn.ModuleList()
        inner = widths[-1]
        for i in reversed(range(len(widths))):
            pairs = []
            for _ in range(layers + 1):
                pairs.append((inner + skips.pop(), widths[i]))
                inner = widths[i]
            self.up_blocks.append(Level(pairs, config, context_dim, config.attention[i], "up" if i else None))
        self.conv_norm_out = GroupNorm(config.num_groups, widths[0], eps=EPS)
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(
        self, latents: Float[Tensor, "b c h w"], audio: Float[Tensor, "b m d"], timestep: int = 0
    ) -> Float[Tensor, "b e h w"]:
        half = self.time_embedding.linear_1.in_features // 2
        rates = torch.exp(-math.log(10_000) * torch.arange(half, device=latents.device) / half) * timestep
        wave = torch.cat([rates.cos(), rates.sin()]).to(latents.dtype).expand(len(latents), -1)
        time = self.time_embedding(wave)
        x = self.conv_in(latents)
        skips = [x]
        for level in cast(list[Level], self.down_blocks):
            for i in range(len(level.resnets)):
                x = level.block(i, x, time, audio)
                skips.append(x)
            if hasattr(level, "downsamplers"):
                x = level.downsamplers[0](x)
                skips.append(x)
        x = self.mid_block(x, time, audio)
        for level in cast(list[Level], self.up_blocks):
            for i in range(len(level.resnets)):
                x = level.block(i, torch.cat([x, skips.pop()], dim=1), time, audio)
            if hasattr(level, "upsamplers"):
                x = level.upsamplers[0](x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))
