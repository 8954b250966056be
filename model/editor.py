"""The editor: latents of a masked face, a reference and a depth picture, plus sound, to a face that says the sound.

One step, no noise: a U-Net at timestep 0 between the two halves of an image auto-encoder. Source: JoyGen,
arXiv:2501.01798.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from model.config import LossConfig, UnetConfig
from model.unet import UNet
from model.vae import PATCH, Vae
from stages.core.records import CROP_PX


@dataclass(frozen=True)
class Edited:
    """What the editor made of a batch; `image` is in [-1, 1], all of it or its lower half."""

    latents: Float[Tensor, "b c hl wl"]
    image: Float[Tensor, "b 3 h w"]


def to_signed(image: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Bytes to [-1, 1]."""
    return image.float() / 127.5 - 1


def to_bytes(image: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b c h w"]:
    """[-1, 1] to bytes."""
    return ((image.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def hide_lower_half(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """The masked input: everything below mid-face is black."""
    hidden = image.clone()
    hidden[:, :, image.shape[2] // 2 :] = -1
    return hidden


def sinusoidal_positions(num_tokens: int, width: int) -> Float[Tensor, "1 m d"]:
    """Positions of the audio tokens, sines and cosines interleaved. Source: arXiv:1706.03762."""
    place = torch.arange(num_tokens)[:, None]
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    table = torch.zeros(1, num_tokens, width)
    table[0, :, 0::2], table[0, :, 1::2] = torch.sin(place * rates), torch.cos(place * rates)
    return table


def mouth_window(size: int) -> Float[Tensor, "1 1 hl wl"]:
    """1 where mouth and chin lie in a crop, 0 elsewhere, with a ramp of four cells between: a shorter one shows."""
    place = (torch.arange(size) + 0.5) / size
    x, y = (place - 0.5).abs(), place
    ramp = size / 4
    across, down = ((0.34 - x) * ramp).clamp(0, 1), ((y - 0.54) * ramp).clamp(0, 1)
    return (down[:, None] * across[None, :])[None, None]


class Editor(nn.Module):
    """U-Net and auto-encoder, from bytes to bytes.

    Args:
        audio_dim: width of an audio token in the shards.
        num_tokens: audio tokens of a frame.
    """

    def __init__(self, config: UnetConfig, vae: Vae, channels: int, audio_dim: int, num_tokens: int) -> None:
        super().__init__()
        self.config, self.vae = config, vae
        cell = channels * config.patch**2
        self.unet = UNet(config, cell * (3 if config.use_depth else 2), cell, audio_dim)
        self.register_buffer("window", mouth_window(CROP_PX // PATCH), persistent=False)
        self.register_buffer("positions", sinusoidal_positions(num_tokens, audio_dim), persistent=False)

    def forward(self, batch: dict[str, Tensor], whole: bool = True) -> Edited:
        """Edit a batch: needs `target` (only its upper half is looked at), `reference`, `depth`, `audio`.

        Args:
            whole: False leaves the upper half of the image out, which training does not look at.
        """
        config = self.config
        with torch.no_grad():
            masked = self.vae.encode(hide_lower_half(to_signed(batch["target"])))
            reference = self.vae.encode(to_signed(batch["reference"]))
            seen = [masked, reference]
            if config.use_depth:
                seen.append(self.vae.encode(to_signed(batch["depth"]).expand(-1, 3, -1, -1)))
        audio = batch["audio"]
        if config.normalize_audio:
            audio = F.layer_norm(audio, audio.shape[-1:])
        audio = audio + cast(Tensor, self.positions)
        half = masked.shape[2] // 2
        top = half - half // 4 if config.lower_half else 0
        cells = F.pixel_unshuffle(torch.cat(seen, dim=1)[:, :, top:], config.patch)
        latents = F.pixel_shuffle(self.unet(cells, audio), config.patch)
        if config.skip_outside_mouth:
            latents = latents + ((1 - cast(Tensor, self.window)) * reference)[:, :, top:]
        if config.lower_half:
            latents = torch.cat([masked[:, :, :half], latents[:, :, half - top :]], dim=2)
        return Edited(latents, self.vae.decode(latents) if whole else self.vae.decode_lower_half(latents))


def editor_loss(
    editor: nn.Module, vae: Vae, batch: dict[str, Tensor], config: LossConfig
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """L1 of the latents, of the lower half's pixels, and (where asked for) of the mouth's pixels once more.

    Args:
        editor: the `Editor`, possibly wrapped for several processes.
    """
    target = to_signed(batch["target"])
    with torch.no_grad():
        truth = vae.encode(target)
    edited: Edited = editor(batch, whole=False)
    latent = (edited.latents - truth).abs().mean()
    half = target.shape[2] // 2
    error = (edited.image - target[:, :, half:]).abs().mean(dim=1, keepdim=True)
    pixel = error.mean()
    mouth_px = batch["mouth"][:, :, half:].float()
    mouth = (error * mouth_px).sum() / mouth_px.sum().clamp_min(1)
    loss = config.latent * latent + config.pixel * pixel + config.mouth * mouth
    return loss, {"latent": latent.detach(), "pixel": pixel.detach(), "mouth": mouth.detach()}
