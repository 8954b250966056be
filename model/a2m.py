"""Audio to motion: Whisper features at 50 Hz to expression coefficients at 25 fps, the identity left alone.

A convolutional network over time. It sees about a second to either side, so any length can be run in windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.config import A2mConfig


@dataclass(frozen=True)
class MotionStatistics:
    """Mean and standard deviation of every expression coefficient in the training clips, (E,) each."""

    mean: Float[Tensor, " e"]
    deviation: Float[Tensor, " e"]


class TimeBlock(nn.Module):
    """A residual convolution over time."""

    def __init__(self, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.spread = nn.Conv1d(width, 2 * width, kernel, padding=dilation * (kernel - 1) // 2, dilation=dilation)
        self.gather = nn.Conv1d(2 * width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b c t"]:
        return x + self.gather(self.dropout(F.gelu(self.spread(self.norm(x)))))


class A2m(nn.Module):
    """Expression coefficients for a sound.

    Args:
        whisper_dim: numbers of a 20 ms step, all layers side by side.
        exp_dim: expression coefficients of the geometry model.
    """

    def __init__(self, config: A2mConfig, whisper_dim: int, exp_dim: int) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(whisper_dim, elementwise_affine=False)
        self.project = nn.Linear(whisper_dim, config.width)
        self.to_frames = nn.Conv1d(config.width, config.width, 4, stride=2, padding=1)
        dilations = [2 ** (i % 3) for i in range(config.num_layers)]
        kernel, dropout = config.kernel_steps, config.dropout
        self.blocks = nn.Sequential(*(TimeBlock(config.width, kernel, d, dropout) for d in dilations))
        self.head = nn.Conv1d(config.width, exp_dim, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(cast(Tensor, self.head.bias))
        self.register_buffer("mean", torch.zeros(exp_dim))
        self.register_buffer("deviation", torch.ones(exp_dim))

    def set_statistics(self, statistics: MotionStatistics) -> None:
        cast(Tensor, self.mean).copy_(statistics.mean)
        cast(Tensor, self.deviation).copy_(statistics.deviation)

    def normalized(self, whisper: Float[Tensor, "b steps d"]) -> Float[Tensor, "b frames e"]:
        """Coefficients in standard deviations of the training set."""
        x = self.project(self.norm(whisper)).transpose(1, 2)  # (b, c, steps)
        return self.head(self.blocks(self.to_frames(x))).transpose(1, 2)

    def forward(self, whisper: Float[Tensor, "b steps d"]) -> Float[Tensor, "b frames e"]:
        """Coefficients of `steps // 2` frames."""
        return self.normalized(whisper) * cast(Tensor, self.deviation) + cast(Tensor, self.mean)

    def loss(
        self, predicted: Float[Tensor, "b frames e"], expression: Float[Tensor, "b frames e"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """L1 of the coefficients and of their change from frame to frame, in the mean standard deviation.

        One scale for all: a coefficient that hardly moves in the training set counts as little as it moves.
        """
        error = (predicted - expression) / cast(Tensor, self.deviation).mean()
        position, velocity = error.abs().mean(), error.diff(dim=1).abs().mean()
        total = position + self.config.velocity_weight * velocity
        return total, {"position": position.detach(), "velocity": velocity.detach()}
