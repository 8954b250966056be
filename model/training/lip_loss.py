"""Loss of audio-to-motion: positions and velocities of the lips' points, and their sync with the sound.

It is computed on the mean face of the data set's face model, because a face's shape hardly changes its lip motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.nets.a2m import A2m, A2mConfig
from stages.core.records import CLIP_FPS
from stages.face.landmarks import CHIN, FOREHEAD, LIPS
from stages.face3d.model import FaceModel
from stages.lipsync.lip_sound import DISTANCES, LIP_TAPS, SLOW_S, LipSound


@dataclass(frozen=True)
class LipModes:
    """A face model at MediaPipe's landmarks, mm: (468, 3) without expression, (E, 468, 3) of each coefficient."""

    neutral: np.ndarray
    modes: np.ndarray

    @staticmethod
    def of(model: FaceModel) -> LipModes:
        return LipModes(model.at_landmarks(model.mean), model.at_landmarks(model.expression))


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()


class SyncLoss(nn.Module):
    """1 minus the lip-sound expert's agreement at delay 0, differentiable by the expression.

    It repeats the computation of `stages.lipsync.lip_sound`: high-pass filtered distances of landmarks with their
    neighbours in time.
    """

    def __init__(self, face: LipModes, expert: LipSound) -> None:
        super().__init__()
        pairs = [(a, b, place) for place, group in enumerate(DISTANCES) for a, b in group]
        first, second = [a for a, _, _ in pairs], [b for _, b, _ in pairs]
        mean = np.zeros((len(pairs), len(DISTANCES)))
        for row, (_, _, place) in enumerate(pairs):
            mean[row, place] = 100 / len(DISTANCES[place])
        mean /= np.linalg.norm(face.neutral[FOREHEAD] - face.neutral[CHIN])
        for name, values in (
            ("neutral", face.neutral[first] - face.neutral[second]),
            ("modes", face.modes[:, first] - face.modes[:, second]),
            ("mean", mean),
            ("lips", expert.lips),
            ("sound", expert.sound),
        ):
            self.register_buffer(name, _tensor(values), persistent=False)

    def forward(self, expression: Float[Tensor, "b t e"], sound: Float[Tensor, "b t f"]) -> Float[Tensor, ""]:
        """The loss; `sound` is `lip_sound.sound_features` at the middle of every frame."""
        between = cast(Tensor, self.neutral) + torch.einsum("bte,epx->btpx", expression, cast(Tensor, self.modes))
        series = (between.norm(dim=-1) @ cast(Tensor, self.mean)).transpose(1, 2)  # (b, distances, t)
        size = round(SLOW_S * CLIP_FPS) | 1
        series = series - F.avg_pool1d(F.pad(series, (size // 2, size // 2), mode="replicate"), size, 1)
        reach, length = -LIP_TAPS[0], series.shape[2]
        wide = F.pad(series, (reach, reach), mode="replicate")
        taps = torch.cat([wide[:, :, reach + tap :][:, :, :length] for tap in LIP_TAPS], dim=1)
        seen, heard = taps.transpose(1, 2) @ cast(Tensor, self.lips), sound @ cast(Tensor, self.sound)
        seen, heard = seen - seen.mean(dim=1, keepdim=True), heard - heard.mean(dim=1, keepdim=True)
        power = seen.square().sum(dim=(1, 2)) * heard.square().sum(dim=(1, 2))
        return (1 - (seen * heard).sum(dim=(1, 2)) / (power + 1e-8).sqrt()).mean()


class A2mLoss(nn.Module):
    """The loss of an `A2m` on a batch of `whisper` (b, 2 t, d), `sound` (b, t, f) and `exp` (b, t, e).

    It sums reconstruction through the posterior, the divergence of the posterior from the flow, and reconstruction
    through the flow's middle, as in inference.

    Args:
        face: face model; None if lips and sync have no weight.
        expert: sync expert.
    """

    def __init__(self, model: A2m, face: LipModes | None, expert: LipSound) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        if face is not None:
            self.register_buffer("lips", _tensor(face.modes[:, list(LIPS)]), persistent=False)
            self.sync = SyncLoss(face, expert)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        model, config = self.model, self.config
        heard = model.hear(model.components(batch["whisper"]))
        total, parts = self._error(model.decode(model.guess(heard, None), heard), batch)
        if config.latent:
            drawn = model.infer(batch["exp"], heard)
            seen, _ = self._error(model.decode(drawn.latents, heard), batch)
            kl = (drawn.log_density - model.prior.log_density(drawn.latents, heard)).mean() / config.latent
            total = config.prior_weight * total + seen + config.kl_weight * kl
            parts |= {"seen": seen.detach(), "kl": kl.detach()}
        return total, parts

    def _error(
        self, predicted: Float[Tensor, "b t e"], batch: dict[str, Tensor]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        config, error = self.config, predicted - batch["exp"]
        scaled = error / cast(Tensor, self.model.deviation).mean()
        parts = {"position": scaled.abs().mean(), "velocity": scaled.diff(dim=1).abs().mean()}
        total = config.coefficient_weight * (parts["position"] + config.velocity_weight * parts["velocity"])
        if needs_face(config):
            moved = torch.einsum("bte,elx->btlx", error, cast(Tensor, self.lips))
            parts["lips_mm"], parts["lips_mm_per_frame"] = _length(moved), _length(moved.diff(dim=1))
            parts["sync"] = self.sync(predicted, batch["sound"])
            lips = parts["lips_mm"] + config.velocity_weight * parts["lips_mm_per_frame"]
            total = total + config.lip_weight * lips + config.sync_weight * parts["sync"]
        return total, {name: value.detach() for name, value in parts.items()}


def needs_face(config: A2mConfig) -> bool:
    """Whether the loss needs a face model."""
    return config.lip_weight > 0 or config.sync_weight > 0


def _length(vectors: Float[Tensor, "b t l xyz"]) -> Float[Tensor, ""]:
    return (vectors.square().sum(dim=-1) + 1e-6).sqrt().mean()
