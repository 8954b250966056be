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

from model.nets.unet import UNet, UnetConfig
from model.nets.vae import PATCH, TinyVae, Vae
from stages.core.records import CROP_PX


@dataclass(frozen=True)
class LossConfig:
    """lambda of the reference's code; the paper's text has them the other way round."""

    latent: float = 1.0  # Weight of the loss on latents
    pixel: float = 2.0  # Weight of the loss on pixels of the lower half
    mouth: float = 0.0  # Extra weight of the loss on the mouth's pixels
    pixel_every: int = 1  # Every n-th sample is decoded for the losses on pixels. 4 saves a third of a step


@dataclass(frozen=True)
class Edited:
    """Output of the editor for a batch; `image` is in [-1, 1]."""

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
    """1 at mouth and chin of a crop, 0 elsewhere, with a ramp of four cells between; a shorter ramp is visible."""
    place = (torch.arange(size) + 0.5) / size
    x, y = (place - 0.5).abs(), place
    ramp = size / 4
    across, down = ((0.34 - x) * ramp).clamp(0, 1), ((y - 0.54) * ramp).clamp(0, 1)
    return (down[:, None] * across[None, :])[None, None]


@dataclass(frozen=True)
class Seen:
    """Latents of a batch: the U-Net's input, and, if requested, the truth."""

    masked: Float[Tensor, "b c hl wl"]
    reference: Float[Tensor, "b c hl wl"]
    depth: Float[Tensor, "b c hl wl"] | None
    truth: Float[Tensor, "b c hl wl"] | None


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

    def forward(self, batch: dict[str, Tensor]) -> Edited:
        """Edit a batch: needs `target` (only its upper half is read), `reference` and `audio`.

        `depth` holds the depth pictures of the samples in `depth_of`; without both, no sample has depth.
        """
        latents = self.edit(self.look(batch), batch["audio"])
        return Edited(latents, self.vae.decode(latents))

    @torch.no_grad()
    def look(self, batch: dict[str, Tensor], truth: bool = False) -> Seen:
        """Encode a batch's pictures at once. A missing depth is black, and encoded once for all samples without depth.

        Args:
            truth: encode the whole target, too.
        """
        target = to_signed(batch["target"])
        pictures = [hide_lower_half(target), to_signed(batch["reference"])]
        if truth:
            pictures.append(target)
        if self.config.use_depth:
            pictures.append(torch.full_like(target[:1], -1))
            if "depth" in batch:
                pictures.append(to_signed(batch["depth"]).expand(-1, 3, -1, -1))
        latents = self.vae.encode(torch.cat(pictures)).float().split([len(p) for p in pictures])
        depth = None
        if self.config.use_depth:
            black, *drawn = latents[2 + truth :]
            depth = black.repeat(len(target), 1, 1, 1)
            if drawn:
                depth = depth.index_copy(0, batch["depth_of"], drawn[0])
        return Seen(latents[0], latents[1], depth, latents[2] if truth else None)

    def edit(self, seen: Seen, audio: Float[Tensor, "b m d"]) -> Float[Tensor, "b c hl wl"]:
        """The edited latents."""
        config = self.config
        if config.normalize_audio:
            audio = F.layer_norm(audio, audio.shape[-1:])
        audio = audio + cast(Tensor, self.positions)
        shown = [seen.masked, seen.reference, *([] if seen.depth is None else [seen.depth])]
        half = seen.masked.shape[2] // 2
        top = half - half // 4 if config.lower_half else 0
        cells = F.pixel_unshuffle(torch.cat(shown, dim=1)[:, :, top:], config.patch)
        latents = F.pixel_shuffle(self.unet(cells, audio), config.patch)
        if config.skip_outside_mouth:
            latents = latents + ((1 - cast(Tensor, self.window)) * seen.reference)[:, :, top:]
        if config.lower_half:
            latents = torch.cat([seen.masked[:, :, :half], latents[:, :, half - top :]], dim=2)
        return latents


class EditorLoss(nn.Module):
    """L1 of the latents, of the lower half's pixels, and (if weighted) of the mouth's pixels once more.

    A sample's loss does not depend on the batch that it is in.
    """

    def __init__(self, editor: Editor, config: LossConfig) -> None:
        super().__init__()
        self.editor, self.config = editor, config

    def forward(self, batch: dict[str, Tensor]) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The loss of an editor's batch with `mouth`, and its parts."""
        editor, config, every = self.editor, self.config, self.config.pixel_every
        seen = editor.look(batch, truth=True)
        latents = editor.edit(seen, batch["audio"])
        latent = (latents.float() - cast(Tensor, seen.truth)).abs().mean()
        image = editor.vae.decode_lower_half(latents[::every]).float()
        half = batch["target"].shape[2] // 2
        target = to_signed(batch["target"][::every, :, half:])
        error = (image - target).abs().mean(dim=1, keepdim=True)
        pixel = error.mean()
        mouth_px = batch["mouth"][::every, :, half:].float()
        mouth = ((error * mouth_px).sum(dim=(1, 2, 3)) / mouth_px.sum(dim=(1, 2, 3)).clamp_min(1)).mean()
        loss = config.latent * latent + config.pixel * pixel + config.mouth * mouth
        return loss, {"latent": latent.detach(), "pixel": pixel.detach(), "mouth": mouth.detach()}


class VaeLoss(nn.Module):
    """L1 loss of the auto-encoder."""

    def __init__(self, vae: TinyVae) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, batch: dict[str, Tensor]) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        image = to_signed(batch["target"])
        loss = (self.vae(image) - image).abs().mean()
        return loss, {"pixel": loss.detach()}
