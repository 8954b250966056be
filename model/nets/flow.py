"""A conditional normalising flow over time: affine couplings that turn a latent series into noise and back.

Every coupling keeps half of the channels, and shifts and scales the other half by functions of the kept ones and the
condition, each with its neighbours in time. So the inverse and the determinant are exact. Sources: RealNVP,
arXiv:1605.08803; as the prior of a variational auto-encoder over speech, PortaSpeech, arXiv:2109.15166.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Coupling(nn.Module):
    """One coupling; it starts as the identity."""

    def __init__(self, channels: int, condition: int, width: int, kernel: int) -> None:
        super().__init__()
        self.kept = channels // 2
        self.enter = nn.Conv1d(self.kept + condition, width, kernel, padding=kernel // 2)
        self.leave = nn.Conv1d(width, 2 * (channels - self.kept), 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(cast(Tensor, self.leave.bias))

    def forward(
        self, z: Float[Tensor, "b c t"], condition: Float[Tensor, "b d t"]
    ) -> tuple[Float[Tensor, "b c t"], Float[Tensor, "b t"]]:
        """Transform towards the noise, and the logarithm of the determinant, frame by frame."""
        kept, moved = z[:, : self.kept], z[:, self.kept :]
        shift, scale = self._terms(kept, condition)
        return torch.cat([kept, moved * scale.exp() + shift], dim=1), scale.sum(dim=1)

    def inverse(self, u: Float[Tensor, "b c t"], condition: Float[Tensor, "b d t"]) -> Float[Tensor, "b c t"]:
        kept, moved = u[:, : self.kept], u[:, self.kept :]
        shift, scale = self._terms(kept, condition)
        return torch.cat([kept, (moved - shift) * (-scale).exp()], dim=1)

    def _terms(self, kept: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        shift, scale = self.leave(F.gelu(self.enter(torch.cat([kept, condition], dim=1)))).chunk(2, dim=1)
        return shift, scale.tanh()  # no step scales by more than e


class Flow(nn.Module):
    """Couplings, with the channels reversed between them. Without couplings, a standard normal distribution.

    Args:
        channels: channels of the latent series.
        condition: channels of the condition.
    """

    def __init__(self, channels: int, condition: int, width: int, kernel: int, num_couplings: int) -> None:
        super().__init__()
        self.couplings = nn.ModuleList([Coupling(channels, condition, width, kernel) for _ in range(num_couplings)])

    def forward(
        self, z: Float[Tensor, "b c t"], condition: Float[Tensor, "b d t"]
    ) -> tuple[Float[Tensor, "b c t"], Float[Tensor, "b t"]]:
        """Latents to noise, and the logarithm of the determinant, frame by frame."""
        total = torch.zeros_like(z[:, 0])
        for coupling in self.couplings:
            z, change = coupling(z, condition)
            z, total = z.flip(1), total + change
        return z, total

    def inverse(self, u: Float[Tensor, "b c t"], condition: Float[Tensor, "b d t"]) -> Float[Tensor, "b c t"]:
        """Noise to latents."""
        for coupling in reversed(cast(list[Coupling], list(self.couplings))):
            u = coupling.inverse(u.flip(1), condition)
        return u

    def log_density(self, z: Float[Tensor, "b c t"], condition: Float[Tensor, "b d t"]) -> Float[Tensor, "b t"]:
        """Natural logarithm of the density of the latents, frame by frame."""
        u, change = self(z, condition)
        return change - 0.5 * (u.square() + math.log(2 * math.pi)).sum(dim=1)
