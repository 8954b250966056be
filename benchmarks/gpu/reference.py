"""A training step as the reference takes it: what ours is measured against.

float32 with TF32, one picture after the other through the auto-encoder, its posterior sampled, depth always there, the
whole picture decoded, plain AdamW, no moving average. Written from what its code does, on our networks, which have its
layers and sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.nets.editor import Editor, Seen, hide_lower_half, to_signed
from model.training.config import OptimConfig

POSTERIOR_DEVIATION = 0.1
"""What is added to a mode to make a sample cost what it costs; its true size is another."""


class ReferenceLoss(nn.Module):
    """L1 of the latents and twice that of the lower half's pixels."""

    def __init__(self, editor: Editor) -> None:
        super().__init__()
        self.editor = editor

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        target = to_signed(batch["target"])
        depth = to_signed(batch["depth"]).expand(-1, 3, -1, -1)
        with torch.no_grad():
            pictures = (hide_lower_half(target), to_signed(batch["reference"]), depth, target)
            latents = [self._sample(picture) for picture in pictures]
        made = self.editor.edit(Seen(latents[0], latents[1], latents[2], latents[3]), batch["audio"])
        half = target.shape[2] // 2
        pixels = (self.editor.vae.decode(made) - target)[:, :, half:].abs().mean()
        return (made - latents[3]).abs().mean() + 2 * pixels

    def _sample(self, picture: Tensor) -> Tensor:
        mode = self.editor.vae.encode(picture)
        return mode + POSTERIOR_DEVIATION * torch.randn_like(mode)


@dataclass
class ReferenceStep:
    """Forwards, backwards and update of one batch."""

    editor: Editor
    optim: OptimConfig
    batch: dict[str, Tensor]

    def __post_init__(self) -> None:
        optim = self.optim
        self._loss = ReferenceLoss(self.editor)
        self._trained = list(self.editor.unet.parameters())
        betas = (optim.beta1, optim.beta2)
        self._optimizer = torch.optim.AdamW(self._trained, optim.lr, betas, optim.eps, optim.weight_decay)

    def __call__(self) -> None:
        self._loss(self.batch).backward()
        torch.nn.utils.clip_grad_norm_(self._trained, self.optim.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
