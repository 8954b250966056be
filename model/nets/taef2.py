"""TAEF2, a small published image auto-encoder: 32 channels at an eighth of the resolution, 5 MB.

The layers are those of its published weights. Source: github.com/madebyollin/taesd, MIT.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.nets.layers import GroupNorm, doubled
from stages.core.settings import ConfigError
from stages.core.tensors import read_tensors

FILES = ("taef2_encoder.pth", "taef2_decoder.pth")
CHANNELS = 32
WIDTH = 64
LIMIT = 3.0
"""Soft limit of the latents before the decoder."""


class Block(nn.Module):
    """Three convolutions beside the identity; `pooled` ones first apply a group norm over the whole image."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        first, second, third = (nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
        wide = 4 * WIDTH
        self.pool = None
        if pooled:
            into, back = nn.Conv2d(WIDTH, wide, 1, bias=False), nn.Conv2d(wide, WIDTH, 1, bias=False)
            self.pool = nn.Sequential(into, GroupNorm(4, wide), nn.ReLU(), back)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if self.pool is not None:
            x = x + self.pool(x)
        return F.relu(self.conv(x) + x)


class _Held(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / LIMIT) * LIMIT


class _Doubled(nn.Module):
    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
        return doubled(x)


def _blocks(number: int, pooled: bool = False) -> list[nn.Module]:
    return [Block(pooled) for _ in range(number)]


def _halved() -> nn.Module:
    return nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, bias=False)


def _doubled() -> list[nn.Module]:
    return [_Doubled(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)]


class Taef2Vae(nn.Module):
    """The encoder and decoder, frozen.

    Args:
        files: the published weights, `FILES`; none leaves the initial weights.
    Raises:
        ConfigError: a file is missing, or belongs to another network.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        super().__init__()
        encoder = nn.Sequential(
            *(nn.Conv2d(3, WIDTH, 3, padding=1), *_blocks(1), _halved(), *_blocks(3), _halved(), *_blocks(3)),
            *(_halved(), *_blocks(3, pooled=True), nn.Conv2d(WIDTH, CHANNELS, 3, padding=1)),
        )
        decoder = nn.Sequential(
            *(_Held(), nn.Conv2d(CHANNELS, WIDTH, 3, padding=1), nn.ReLU(), *_blocks(3, pooled=True), *_doubled()),
            *chain(_blocks(3), _doubled(), _blocks(3), _doubled(), _blocks(1)),
            nn.Conv2d(WIDTH, 3, 3, padding=1),
        )
        self.net = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
        for part, path in zip((encoder, decoder), files, strict=False):
            _load(part, path)
        self.requires_grad_(False)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.net.parameters()).dtype

    def encode(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c hl wl"]:
        return cast(Tensor, self.net["encoder"](((image + 1) / 2).to(self._dtype)))

    def decode(self, latents: Float[Tensor, "b c hl wl"]) -> Float[Tensor, "b 3 h w"]:
        return 2 * cast(Tensor, self.net["decoder"](latents.to(self._dtype))) - 1

    def decode_lower_half(self, latents: Float[Tensor, "b c hl wl"]) -> Float[Tensor, "b 3 h w"]:
        """The lower half of `decode`; its norms need the whole."""
        image = self.decode(latents)
        return image[:, :, image.shape[2] // 2 :]


def _load(part: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"there is no {path}: vae.path is the folder of {' and '.join(FILES)}")
    try:
        part.load_state_dict({name: value.float() for name, value in read_tensors(path).items()})
    except RuntimeError as error:
        raise ConfigError(f"{path} is not TAEF2: {str(error).splitlines()[0]}") from error
