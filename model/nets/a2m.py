"""Audio to motion: Whisper features at 50 Hz to expression coefficients at 25 fps, the identity left alone.

A variational auto-encoder over time whose prior is a normalising flow, both told what is heard. The answer is the mean
of what it says and of what a ridge regression on the same features says: each errs in its own way on people it never
saw. About a second to either side is heard and nothing depends on where a window begins, so that any length runs in
windows without seams. Sources: PortaSpeech, arXiv:2109.15166; Real3DPortrait, arXiv:2401.08503.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.nets.flow import Flow
from model.shards.views import WHISPER_STEPS_PER_FRAME
from stages.core.ranges import ranged


@dataclass(frozen=True)
class A2mConfig:
    """Audio to motion. The defaults are what did best on speakers left out (`benchmarks/motion.py`)."""

    components: int = 128  # principal components of the audio features
    linear_frames: int = 3  # of 40 ms to either side, that the regression looks at
    ridge: float = 3.0  # of the regression, per frame, in variances of a component
    linear_share: float = 0.5  # of the answer that is the regression's; the networks are trained without it
    width: int = 32
    num_layers: int = 2
    kernel_frames: int = 5
    latent: int = 4  # channels of the latent series; 0: a plain convolution
    num_couplings: int = ranged(4, low=0)  # of the flow; 0: a standard normal prior
    dropout: float = 0.5
    feature_noise: float = 1.0  # of the components, in their mean standard deviation
    mask_prob: float = 0.5  # samples with a stretch of silence
    mask_steps: int = 12  # of 20 ms: its length
    lip_weight: float = 1.0  # loss on the lips' points, per mm; with this and sync_weight 0 no face model is needed
    velocity_weight: float = 1.0  # loss on frame-to-frame differences, for smooth motion
    coefficient_weight: float = 0.3  # loss on all coefficients alike, in their mean standard deviation
    sync_weight: float = 1.0  # loss on what the lip-sound expert says of lips and sound
    kl_weight: float = 0.1  # per channel of the latents
    prior_weight: float = 1.0  # reconstruction from the sound alone, beside that which has seen the expression


NOISE_CHUNK = 64
"""Frames of noise that are drawn together."""


@dataclass(frozen=True)
class MotionStart:
    """What a model starts from, found in the training clips before the first step.

    Args:
        basis: (D, P) principal components of the normalised features, to unit variance on the average.
        centre: (P,) mean of the features in that basis.
        linear: (E, P, K) ridge regression from K frames of them, centred, to coefficients.
        mean, deviation: (E,) of every coefficient.
    """

    basis: Float[Tensor, "d p"]
    centre: Float[Tensor, " p"]
    linear: Float[Tensor, "e p k"]
    mean: Float[Tensor, " e"]
    deviation: Float[Tensor, " e"]


class FrameNorm(nn.Module):
    """Layer normalisation of every frame by itself: a norm over time would depend on the window."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b c t"]:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class TimeBlock(nn.Module):
    """A residual convolution over time; it starts as the identity."""

    def __init__(self, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = FrameNorm(width)
        self.spread = nn.Conv1d(width, 2 * width, kernel, padding=dilation * (kernel - 1) // 2, dilation=dilation)
        self.gather = nn.Conv1d(2 * width, width, 1)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.gather.weight)

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b c t"]:
        return x + self.gather(self.dropout(F.gelu(self.spread(self.norm(x)))))


def _blocks(config: A2mConfig, number: int) -> nn.Sequential:
    return nn.Sequential(
        *(TimeBlock(config.width, config.kernel_frames, 2 ** (i % 3), config.dropout) for i in range(number))
    )


@dataclass(frozen=True)
class Posterior:
    """A latent series drawn after seeing the expression, and the natural logarithm of its density, frame by frame."""

    latents: Float[Tensor, "b c t"]
    log_density: Float[Tensor, "b t"]


class A2m(nn.Module):
    """Expression coefficients for a sound.

    Args:
        whisper_dim: numbers of a 20 ms step, all layers side by side.
        exp_dim: expression coefficients of the geometry model.
    """

    def __init__(self, config: A2mConfig, whisper_dim: int, exp_dim: int) -> None:
        super().__init__()
        self.config = config
        width, seen = config.width, min(config.components, whisper_dim)
        self.norm = nn.LayerNorm(whisper_dim, elementwise_affine=False)
        self.register_buffer("basis", torch.zeros(whisper_dim, seen))
        self.register_buffer("centre", torch.zeros(seen))
        self.register_buffer("linear", torch.zeros(exp_dim, seen, 2 * config.linear_frames + 1))
        self.register_buffer("mean", torch.zeros(exp_dim))
        self.register_buffer("deviation", torch.ones(exp_dim))
        self.to_frames = nn.Conv1d(seen, width, WHISPER_STEPS_PER_FRAME, stride=WHISPER_STEPS_PER_FRAME)
        self.listen = _blocks(config, config.num_layers)
        if config.latent:
            self.prior = Flow(config.latent, width, config.width, 3, config.num_couplings)
            self.see = nn.Conv1d(exp_dim + width, width, 1)
            self.judge = _blocks(config, 3)
            self.posterior = nn.Conv1d(width, 2 * config.latent, 1)
            self.enter = nn.Conv1d(config.latent, width, 1, bias=False)
            nn.init.zeros_(self.posterior.weight)
            nn.init.zeros_(cast(Tensor, self.posterior.bias))
        self.move = _blocks(config, 3)
        self.head = nn.Conv1d(width, exp_dim, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(cast(Tensor, self.head.bias))

    @torch.no_grad()
    def start_from(self, start: MotionStart) -> None:
        for name, value in vars(start).items():
            cast(Tensor, getattr(self, name)).copy_(value)

    def components(self, whisper: Float[Tensor, "b steps d"]) -> Float[Tensor, "b p whole"]:
        """Principal components of the features of whole frames."""
        whole = whisper[:, : whisper.shape[1] // WHISPER_STEPS_PER_FRAME * WHISPER_STEPS_PER_FRAME]
        return ((self.norm(whole) @ self.basis) - self.centre).transpose(1, 2)

    def regress(self, seen: Float[Tensor, "b p steps"]) -> Float[Tensor, "b t e"]:
        """The regression's coefficients."""
        means = F.avg_pool1d(seen, WHISPER_STEPS_PER_FRAME)
        moved = F.conv1d(means, cast(Tensor, self.linear), padding=self.config.linear_frames)
        return moved.transpose(1, 2) + cast(Tensor, self.mean)

    def hear(self, seen: Float[Tensor, "b p steps"]) -> Float[Tensor, "b c t"]:
        """What the sound says: the condition of all networks."""
        return self.listen(self.to_frames(self._disturbed(seen) if self.training else seen))

    def decode(self, latents: Float[Tensor, "b z t"] | None, heard: Float[Tensor, "b c t"]) -> Float[Tensor, "b t e"]:
        """The networks' coefficients."""
        x = heard if latents is None else heard + self.enter(latents)
        return self.head(self.move(x)).transpose(1, 2) * cast(Tensor, self.deviation) + cast(Tensor, self.mean)

    def forward(
        self, whisper: Float[Tensor, "b steps d"], noise: Float[Tensor, "b z t"] | None = None
    ) -> Float[Tensor, "b t e"]:
        """Coefficients of `steps // 2` frames.

        Args:
            noise: what the flow makes latents of; None is none at all, the prior's own middle.
        """
        seen = self.components(whisper)
        heard, share = self.hear(seen), self.config.linear_share
        return (1 - share) * self.decode(self.guess(heard, noise), heard) + share * self.regress(seen)

    def guess(self, heard: Float[Tensor, "b c t"], noise: Float[Tensor, "b z t"] | None) -> Tensor | None:
        """Latents for what is heard alone."""
        if not self.config.latent:
            return None
        if noise is None:
            noise = heard.new_zeros(len(heard), self.config.latent, heard.shape[2])
        return self.prior.inverse(noise, heard)

    def infer(self, expression: Float[Tensor, "b t e"], heard: Float[Tensor, "b c t"]) -> Posterior:
        """Latents drawn after seeing the expression."""
        scaled = ((expression - cast(Tensor, self.mean)) / cast(Tensor, self.deviation)).transpose(1, 2)
        middle, spread = self.posterior(self.judge(self.see(torch.cat([scaled, heard], dim=1)))).chunk(2, dim=1)
        spread = spread.clamp(-6, 2)
        noise = torch.randn_like(middle)
        density = -(0.5 * noise.square() + spread + 0.5 * math.log(2 * math.pi)).sum(dim=1)
        return Posterior(middle + noise * spread.exp(), density)

    def _disturbed(self, seen: Float[Tensor, "b p steps"]) -> Float[Tensor, "b p steps"]:
        """Noise, and a stretch of silence in some samples, so that no single moment is relied on."""
        config = self.config
        seen = seen + config.feature_noise * torch.randn_like(seen)
        place = torch.arange(seen.shape[2], device=seen.device)
        start = torch.rand(len(seen), 1, device=seen.device) * seen.shape[2]
        hidden = (place >= start) & (place < start + config.mask_steps)
        hidden &= torch.rand(len(seen), 1, device=seen.device) < config.mask_prob
        return seen.masked_fill(hidden[:, None], 0.0)


def latent_noise(first_frame: int, num_frames: int, channels: int, seed: int) -> Float[np.ndarray, "z t"]:
    """Standard normal noise of frames [first, first + number), each frame's the same whatever the span."""
    chunks = range(first_frame // NOISE_CHUNK, (first_frame + num_frames - 1) // NOISE_CHUNK + 1)
    drawn = [np.random.default_rng([seed, chunk % 2**32]).standard_normal((channels, NOISE_CHUNK)) for chunk in chunks]
    start = first_frame - chunks[0] * NOISE_CHUNK
    return np.concatenate(drawn, axis=1)[:, start : start + num_frames].astype(np.float32)
