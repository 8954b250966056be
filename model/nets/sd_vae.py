"""Stable Diffusion 1.x's auto-encoder, written out, parameter for parameter diffusers' names.

`AutoencoderKL` weights load as they are; `tests/model/nets/test_vae.py` compares it with diffusers.
Source: arXiv:2112.10752.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.nets.layers import GroupNorm, ResnetBlock, Upsample

GROUPS, EPS = 32, 1e-6
LAYERS = 2
"""Number of residual blocks of a resolution in the encoder; the decoder has one more."""


def _block(inner: int, outer: int) -> ResnetBlock:
    return ResnetBlock(inner, outer, GROUPS, EPS)


def _norm(width: int) -> GroupNorm:
    return GroupNorm(GROUPS, width, eps=EPS)


class _Attention(nn.Module):
    """Every place of the picture attends to every other, with one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.group_norm = _norm(width)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)  # (b, h w, c)
        q, k, v = (project(tokens)[:, None] for project in (self.to_q, self.to_k, self.to_v))
        seen = self.to_out[0](F.scaled_dot_product_attention(q, k, v)[:, 0])
        return x + seen.transpose(1, 2).unflatten(2, x.shape[2:])


class _Middle(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([_block(width, width) for _ in range(2)])
        self.attentions = nn.ModuleList([_Attention(width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class _Downsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class _Level(nn.Module):
    """One resolution: residual blocks, and a step to the next resolution."""

    def __init__(self, inner: int, outer: int, layers: int, step: str | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([_block(inner if i == 0 else outer, outer) for i in range(layers)])
        if step == "down":
            self.downsamplers = nn.ModuleList([_Downsample(outer)])
        if step == "up":
            self.upsamplers = nn.ModuleList([Upsample(outer)])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resnets:
            x = block(x)
        for step in (*getattr(self, "downsamplers", ()), *getattr(self, "upsamplers", ())):
            x = step(x)
        return x


class _Encoder(nn.Module):
    def __init__(self, latent_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            [_Level(widths[max(i - 1, 0)], w, LAYERS, "down" if i < last else None) for i, w in enumerate(widths)]
        )
        self.mid_block = _Middle(widths[-1])
        self.conv_norm_out = _norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 2 * latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class _Decoder(nn.Module):
    def __init__(self, latent_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        wide, last = widths[::-1], len(widths) - 1
        self.conv_in = nn.Conv2d(latent_channels, wide[0], 3, padding=1)
        self.mid_block = _Middle(wide[0])
        self.up_blocks = nn.ModuleList(
            [_Level(wide[max(i - 1, 0)], w, LAYERS + 1, "up" if i < last else None) for i, w in enumerate(wide)]
        )
        self.conv_norm_out = _norm(wide[-1])
        self.conv_out = nn.Conv2d(wide[-1], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(x))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class AutoencoderKL(nn.Module):
    """The two networks; the encoder returns its posterior's mean.

    Args:
        widths: channels of the resolutions, finest first.
    """

    def __init__(self, latent_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder, self.decoder = _Encoder(latent_channels, widths), _Decoder(latent_channels, widths)
        self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)

    def encode(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c hl wl"]:
        return cast(Tensor, self.quant_conv(self.encoder(image))).chunk(2, dim=1)[0]

    def decode(self, latents: Float[Tensor, "b c hl wl"]) -> Float[Tensor, "b 3 h w"]:
        return self.decoder(self.post_quant_conv(latents))


def modern_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with current diffusers' names; the file of 2022 has 1x1 convolutions for linear layers of attention."""
    renamed = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    out: dict[str, Tensor] = {}
    for name, value in state.items():
        parts = name.split(".")
        if "attentions" in parts and parts[-2] in renamed:
            parts[-2] = renamed[parts[-2]]
            out[".".join(parts)] = value.reshape(value.shape[:2]) if value.ndim == 4 else value
        else:
            out[name] = value
    return out
