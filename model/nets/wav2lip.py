"""Wav2Lip, for comparison: a face from its masked frames, a reference and a sound, kept in sync by an expert on pixels.

The generator is the published one level for level (encoders of six channels and of sound, a decoder with the encoder's
skips), the expert Wav2Lip's own recipe: five mouths against their sound, by the cosine of two encoders. Differences:
sound is the shards' Whisper features of 200 ms instead of a mel spectrogram, the head is the data set's crop, norms are
over groups of channels so that averaged weights need no statistics, and there is no adversarial quality network.
Source: arXiv:2008.10010.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.nets.editor import Edited, hide_lower_half, to_signed
from model.nets.layers import GroupNorm


@dataclass(frozen=True)
class Wav2lipConfig:
    """Defaults: the published size."""

    size_px: int = 96  # Side of the faces that it reads and writes, a multiple of 32
    width: int = 16  # Channels at full resolution, a multiple of 8
    num_frames: int = 5  # Consecutive frames that the sync expert reads
    sync_weight: float = 0.03  # Weight of the sync expert's loss in the generator's loss


GROUPS = 8
LEVELS = (1, 2, 4, 8, 16, 32)
"""Channels of the resolutions 1, 1/2 ... 1/32, in units of the width."""
RESIDUALS = (0, 2, 3, 2, 2, 1)


def _conv(inner: int, outer: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inner, outer, kernel, stride, padding), GroupNorm(GROUPS, outer), nn.ReLU())


def _grow(inner: int, outer: int) -> nn.Sequential:
    up = nn.ConvTranspose2d(inner, outer, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(up, GroupNorm(GROUPS, outer), nn.ReLU())


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), GroupNorm(GROUPS, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv(x))


class PictureEncoder(nn.Module):
    """Pictures to features of every resolution, the coarsest first reduced to 1/32."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        inner = channels
        self.levels = nn.ModuleList()
        for level, (factor, residuals) in enumerate(zip(LEVELS, RESIDUALS, strict=True)):
            outer = factor * width
            enter = _conv(inner, outer, 3, 2) if level else _conv(inner, outer, 7, 1, 3)
            self.levels.append(nn.Sequential(enter, *(_Residual(outer) for _ in range(residuals))))
            inner = outer

    def forward(self, x: Float[Tensor, "b c h w"]) -> list[Tensor]:
        features = []
        for level in self.levels:
            x = level(x)
            features.append(x)
        return features


class SoundEncoder(nn.Module):
    """Encodes the audio tokens around a frame in one vector."""

    def __init__(self, num_tokens: int, audio_dim: int, width: int) -> None:
        super().__init__()
        outer = LEVELS[-1] * width
        self.norm = nn.LayerNorm(audio_dim)
        self.token = nn.Linear(audio_dim, 4 * width)
        self.all = nn.Sequential(nn.Linear(num_tokens * 4 * width, outer), nn.ReLU(), nn.Linear(outer, outer))

    def forward(self, audio: Float[Tensor, "b m d"]) -> Float[Tensor, "b c"]:
        return self.all(F.relu(self.token(self.norm(audio))).flatten(1))


class Generator(nn.Module):
    def __init__(self, config: Wav2lipConfig, num_tokens: int, audio_dim: int) -> None:
        super().__init__()
        width = config.width
        self.face = PictureEncoder(6, width)
        self.sound = SoundEncoder(num_tokens, audio_dim, width)
        self.meet = _conv(2 * LEVELS[-1] * width, LEVELS[-1] * width, 1, padding=0)
        self.grow = nn.ModuleList()
        inner = LEVELS[-1] * width
        for factor in reversed(LEVELS[:-1]):
            outer = max(2 * factor, 4) * width
            self.grow.append(nn.Sequential(_grow(inner, outer), _Residual(outer)))
            inner = outer + factor * width
        self.paint = nn.Sequential(_conv(inner, 2 * width), nn.Conv2d(2 * width, 3, 1))

    def forward(self, pictures: Float[Tensor, "b 6 h w"], audio: Float[Tensor, "b m d"]) -> Float[Tensor, "b 3 h w"]:
        """Faces in [-1, 1]."""
        skips = self.face(pictures)
        x = skips.pop()
        heard = self.sound(audio)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        x = self.meet(torch.cat([x, heard], dim=1))
        for grow in self.grow:
            x = torch.cat([grow(x), skips.pop()], dim=1)
        return self.paint(x).tanh()


class SyncExpert(nn.Module):
    """Classifier of five mouths in sync with their sound; the logit is a scaled cosine of two vectors.

    The published cosine is a probability itself and stays at chance for long.
    """

    def __init__(self, config: Wav2lipConfig, num_tokens: int, audio_dim: int) -> None:
        super().__init__()
        self.mouth = PictureEncoder(3 * config.num_frames, config.width)
        self.look = nn.Linear(LEVELS[-1] * config.width, LEVELS[-1] * config.width)
        self.sound = SoundEncoder(num_tokens, audio_dim, config.width)
        self.scale, self.shift = nn.Parameter(torch.tensor(5.0)), nn.Parameter(torch.tensor(0.0))

    def forward(self, faces: Float[Tensor, "b t 3 h w"], audio: Float[Tensor, "b m d"]) -> Float[Tensor, " b"]:
        mouths = faces[:, :, :, faces.shape[3] // 2 :].flatten(1, 2)
        seen = self.look(self.mouth(mouths)[-1].mean(dim=(2, 3)))
        return self.scale * F.cosine_similarity(seen, self.sound(audio), dim=1) + self.shift


class Wav2Lip(nn.Module):
    """Generator and expert; as an editor it takes the batch of `model.nets.editor.Editor` and ignores depth."""

    def __init__(self, config: Wav2lipConfig, num_tokens: int, audio_dim: int) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config, num_tokens, audio_dim)
        self.expert = SyncExpert(config, num_tokens, audio_dim)

    def forward(self, batch: dict[str, Tensor]) -> Edited:
        """Edit a batch: needs `target` (only its upper half is read), `reference` and `audio`."""
        side, size = batch["target"].shape[2], (self.config.size_px, self.config.size_px)
        target, reference = (resized(to_signed(batch[name]), size) for name in ("target", "reference"))
        small = self.generator(torch.cat([hide_lower_half(target), reference], dim=1), batch["audio"])
        image = F.interpolate(small, size=(side, side), mode="bicubic", align_corners=False)
        return Edited(small, image)


def resized(image: Float[Tensor, "b c h w"], size: tuple[int, int]) -> Float[Tensor, "b c v u"]:
    if image.shape[2:] == size:
        return image
    return F.interpolate(image, size=size, mode="bilinear", antialias=True, align_corners=False)


class ExpertLoss(nn.Module):
    """Binary cross-entropy of true pairs and of the same mouths with another moment's sound."""

    def __init__(self, expert: SyncExpert) -> None:
        super().__init__()
        self.expert = expert

    def forward(self, batch: dict[str, Tensor]) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        faces, middle = _signed(batch["target"]), batch["audio"].shape[1] // 2
        true, false = self.expert(faces, batch["audio"][:, middle]), self.expert(faces, batch["other_audio"])
        loss = (F.softplus(-true) + F.softplus(false)).mean() / 2
        right = (true > false).float().mean()
        return loss, {"right": right}


class GeneratorLoss(nn.Module):
    """L1 of the whole face, and the loss of the frozen expert on five consecutive frames."""

    def __init__(self, module: Wav2Lip) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: dict[str, Tensor]) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        weight, faces = self.module.config.sync_weight, _signed(batch["target"])
        flat, middle = faces.flatten(0, 1), batch["audio"].shape[1] // 2
        pictures = torch.cat([hide_lower_half(flat), _signed(batch["reference"]).flatten(0, 1)], dim=1)
        made = self.module.generator(pictures, batch["audio"].flatten(0, 1))
        pixel = (made - flat).abs().mean()
        sync = F.softplus(-self.module.expert(made.unflatten(0, faces.shape[:2]), batch["audio"][:, middle])).mean()
        return (1 - weight) * pixel + weight * sync, {"pixel": pixel.detach(), "sync": sync.detach()}


def _signed(frames: Tensor) -> Float[Tensor, "b t 3 h w"]:
    return frames.float() / 127.5 - 1
