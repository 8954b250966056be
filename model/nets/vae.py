"""Image auto-encoders at an eighth of the resolution: Stable Diffusion's, TAEF2, and one that trains in a minute.

All map (b, 3, h, w) in [-1, 1] to (b, c, h/8, w/8) of about unit variance, and back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.nets import taef2
from model.nets.sd_vae import AutoencoderKL, modern_names
from model.nets.taef2 import Taef2Vae
from stages.core.settings import ConfigError


@dataclass(frozen=True)
class VaeConfig:
    # Auto-encoder. sd: Stable Diffusion's AutoencoderKL; taef2: a small published one; tiny: our own, trained by the
    # same command
    kind: str = "sd"
    path: str | None = None  # sd: weights file; taef2: folder of the two weights files. None: those of the registry
    latent_channels: int = 4  # Channels of the latents
    block_channels: tuple[int, ...] = (128, 256, 512, 512)  # sd: channels at each resolution, finest first
    scale: float = 0.18215  # sd: factor that brings latents to unit variance
    width: int = 32  # tiny: channels at 1/8 of the resolution
    noise: float = 0.1  # tiny: standard deviation of the posterior, in standard deviations of a latent
    init_images: int = 64  # tiny: images from which the principal components that it starts from are computed


PATCH = 8
REACH = 5
"""Rows of latents beyond an edge that `TinyVae.decode` reads."""


class SdVae(nn.Module):
    """Stable Diffusion 1.x's auto-encoder (4 latent channels), frozen. Source: arXiv:2112.10752, sd-vae-ft-mse.

    Args:
        path: the published file; None leaves the initial weights.
    """

    def __init__(self, config: VaeConfig, path: Path | None) -> None:
        super().__init__()
        from safetensors.torch import load_file

        self.scale = config.scale
        self.net = AutoencoderKL(config.latent_channels, config.block_channels)
        if path is not None:
            self.net.load_state_dict(modern_names(load_file(path)))
        self.requires_grad_(False)

    def decode_lower_half(self, latents: Float[Tensor, "b c hl wl"]) -> Float[Tensor, "b 3 h w"]:
        """The lower half of `decode`; its attention and its norms need the whole."""
        image = self.decode(latents)
        return image[:, :, image.shape[2] // 2 :]

    def encode(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c hl wl"]:
        return self.net.encode(image.to(self.net.quant_conv.weight.dtype)) * self.scale

    def decode(self, latents: Float[Tensor, "b c hl wl"]) -> Float[Tensor, "b 3 h w"]:
        return self.net.decode((latents / self.scale).to(self.net.quant_conv.weight.dtype))


class _Residual(nn.Module):
    """Two convolutions whose sum starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class TinyVae(nn.Module):
    """A linear patch auto-encoder that starts as the principal components of 8x8 patches; convolutions refine it.

    The posterior has a constant variance (`noise`), so the KL term is the size of the mean, which whitening fixes.
    The start is already sharp (about 30 dB on faces), so seconds of training improve seams and texture.
    """

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        channels, width = config.latent_channels, config.width
        self.noise = config.noise
        self.to_latent = nn.Conv2d(3, channels, PATCH, stride=PATCH)
        self.from_latent = nn.ConvTranspose2d(channels, 3, PATCH, stride=PATCH)
        self.coarse = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            _Residual(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.PixelShuffle(2),
        )
        self.fine = nn.Sequential(_Residual(width // 2), nn.SiLU(), nn.Conv2d(width // 2, 3 * 16, 3, padding=1))
        nn.init.zeros_(self.fine[-1].weight)  # pyright: ignore[reportArgumentType]
        nn.init.zeros_(self.fine[-1].bias)  # pyright: ignore[reportArgumentType]

    @torch.no_grad()
    def start_from(self, images: Float[Tensor, "n 3 h w"]) -> None:
        """Set the linear path to the principal components of these images' patches, half whitened.

        Full whitening would give the unpredictable finest components the weight of coarse ones in the latent loss.
        """
        patches = F.pixel_unshuffle(images.float(), PATCH).movedim(1, -1).flatten(0, 2)
        mean = patches.mean(0)
        covariance = torch.cov((patches - mean).T.double())
        values, vectors = torch.linalg.eigh(covariance)
        channels = self.to_latent.out_channels
        basis = vectors[:, -channels:].flip(1).T.float()
        deviation = values[-channels:].flip(0).clamp_min(1e-8).sqrt().float()
        scale = deviation.sqrt() * (deviation.mean() ** 0.5)
        encode = basis / scale[:, None]
        decode = (basis.T * scale).T
        self.to_latent.weight.copy_(encode.reshape(channels, 3, PATCH, PATCH))
        self.to_latent.bias.copy_(-encode @ mean)  # pyright: ignore[reportOptionalMemberAccess]
        self.from_latent.weight.copy_(decode.reshape(channels, 3, PATCH, PATCH))
        # One bias for each colour: the rest of the mean patch is moved into the latents.
        colour = mean.reshape(3, -1).mean(1)
        self.from_latent.bias.copy_(colour)  # pyright: ignore[reportOptionalMemberAccess]
        rest = mean - colour.repeat_interleave(PATCH**2)
        self.to_latent.bias.add_(encode @ rest)  # pyright: ignore[reportOptionalMemberAccess]

    def encode(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c hl wl"]:
        return self.to_latent(image)

    def decode(self, latents: Float[Tensor, "b c hl wl"]) -> Float[Tensor, "b 3 h w"]:
        return self.from_latent(latents) + F.pixel_shuffle(self.fine(self.coarse(latents)), 4)

    def decode_lower_half(self, latents: Float[Tensor, "b c hl wl"]) -> Float[Tensor, "b 3 h w"]:
        """The lower half of `decode`, without computing the rest."""
        top = max(0, latents.shape[2] // 2 - REACH)
        image = self.decode(latents[:, :, top:])
        return image[:, :, (latents.shape[2] // 2 - top) * PATCH :]

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Reconstruction of the image with the posterior's noise."""
        latents = self.encode(image)
        return self.decode(latents + self.noise * torch.randn_like(latents))


Vae = SdVae | TinyVae | Taef2Vae


def build_vae(config: VaeConfig, find: Callable[[str], Path] | None) -> Vae:
    """The auto-encoder of a configuration.

    Args:
        find: path of a published file of the registry, used without `vae.path`. None reads no file and leaves the
            initial weights, for counting and timing.
    Raises:
        ConfigError: there is no such kind, or `vae.path` cannot be used.
    """
    path = Path(config.path) if config.path else None
    if config.kind == "sd":
        return SdVae(config, find and (path or find("sd_vae")))
    if config.kind == "taef2":
        if config.latent_channels != taef2.CHANNELS:
            raise ConfigError(f"vae.latent_channels is {config.latent_channels}, TAEF2 has {taef2.CHANNELS}")
        return Taef2Vae([path / name if path else find(Path(name).stem) for name in taef2.FILES] if find else [])
    if config.kind == "tiny":
        return TinyVae(config)
    raise ConfigError(f"vae.kind is {config.kind!r}, want sd, taef2 or tiny")
