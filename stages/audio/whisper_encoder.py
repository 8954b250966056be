"""Whisper's encoder for audio of any length up to 30 s, without padding it to 30 s.

Source: Radford et al., arXiv:2212.04356. Parameter names follow Hugging Face's `WhisperEncoder`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_DIM = 64
MEL_FRAMES_PER_STEP = 2


class _Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(3))
        self.k_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            projection(x).unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2)  # (B, heads, T, 64)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class _Layer(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.self_attn = _Attention(dim)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class WhisperEncoderNetwork(nn.Module):
    """The encoder, which returns every hidden state.

    Args:
        num_mels: mel bands of the input.
        dim: width of the hidden states.
        hidden: width inside the feed-forward layers.
        num_layers: Transformer layers.
        max_steps: the longest input, in steps of 20 ms.
    """

    def __init__(self, num_mels: int, dim: int, hidden: int, num_layers: int, max_steps: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(num_mels, dim, 3, padding=1)
        self.conv2 = nn.Conv1d(dim, dim, 3, stride=MEL_FRAMES_PER_STEP, padding=1)
        self.embed_positions = nn.Embedding(max_steps, dim)
        self.layers = nn.ModuleList(_Layer(dim, hidden) for _ in range(num_layers))
        self.layer_norm = nn.LayerNorm(dim)

    @staticmethod
    def from_state(state: Mapping[str, np.ndarray]) -> WhisperEncoderNetwork:
        """The network that these weights describe, in evaluation mode."""
        dim, num_mels, _ = state["conv1.weight"].shape
        hidden = len(state["layers.0.fc1.bias"])
        num_layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))
        network = WhisperEncoderNetwork(num_mels, dim, hidden, num_layers, len(state["embed_positions.weight"]))
        network.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, strict=True)
        return network.eval().requires_grad_(False)

    @property
    def max_steps(self) -> int:
        return self.embed_positions.num_embeddings

    def forward(self, log_mel: Tensor) -> list[Tensor]:
        """Hidden states of a batch.

        Args:
            log_mel: (B, num_mels, 2 T), T at most `max_steps`.
        Returns:
            `num_layers + 1` tensors (B, T, dim): the input of the first layer, then each layer's output. The last is
            not normalised; `layer_norm` of it is what Whisper's decoder reads.
        """
        x = F.gelu(self.conv1(log_mel))
        x = F.gelu(self.conv2(x)).transpose(1, 2)  # (B, T, dim)
        x = x + self.embed_positions.weight[: x.shape[1]]
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states
