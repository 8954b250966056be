"""A sound of any length as the models want it: Whisper features and motion, computed block by block."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Integer

from model.nets.a2m import A2m, latent_noise
from model.shards.views import WHISPER_STEPS_PER_FRAME
from stages.core.records import CLIP_FPS
from stages.core.settings import ConfigError
from stages.core.weights import WeightStore
from stages.features import SAMPLES_PER_STEP, FeaturesConfig, WhisperEncoder

BLOCK_STEPS = 1000
CONTEXT_STEPS = 100
"""Blocks of 20 s, with 2 s to either side that are heard and thrown away, so that blocks meet without seams."""


@runtime_checkable
class Encoder(Protocol):
    """What is needed of `stages.features.WhisperEncoder`."""

    dim: int

    def encode(self, audio: np.ndarray) -> np.ndarray: ...


def encoder_named(name: str, weights: WeightStore, device: str = "cpu") -> WhisperEncoder:
    """The encoder that gave a data set its features.

    Raises:
        ConfigError: no encoder of ours has that name.
    """
    model, layers, *rest = [*name.removeprefix("whisper-").split("/"), ""]
    limit = float(rest[0].removeprefix("max")) if rest[0].startswith("max") else None
    config = FeaturesConfig(model, tuple(layers.split(",")) if layers else (), max_abs=limit, device=device)
    encoder = WhisperEncoder(config, weights)
    if encoder.name != name:
        raise ConfigError(f"the shards were made with {name!r}, which this version does not know")
    return encoder


class Sound:
    """Features, and where asked for motion, of one recording.

    Args:
        audio: float32 (N,) mono 16 kHz.
        motion: the audio-to-motion model, or None.
        temperature: of its latents: 0 always says the same thing in the likeliest way, 1 as variedly as people do.
        seed: of their noise.
    """

    def __init__(
        self,
        audio: Float[np.ndarray, " n"],
        encoder: Encoder,
        motion: A2m | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.audio, self._encoder, self._motion = audio, encoder, motion
        self._temperature, self._seed = temperature, seed
        self.num_steps = -(-len(audio) // SAMPLES_PER_STEP)
        self._block: Any = lru_cache(maxsize=3)(self._encode)
        self._motion_block: Any = lru_cache(maxsize=3)(self._move)

    def features(self, steps: Integer[np.ndarray, " s"]) -> Float[np.ndarray, "s dim"]:
        """Features at these 20 ms steps; beyond the ends the first and last are repeated."""
        steps = np.clip(steps, 0, self.num_steps - 1)
        blocks = steps // BLOCK_STEPS
        out = np.empty((len(steps), self._encoder.dim), np.float16)
        for block in np.unique(blocks):
            chosen = blocks == block
            out[chosen] = self._block(int(block))[steps[chosen] - block * BLOCK_STEPS]
        return out

    def window(self, time_s: float, steps: int, layers: int) -> Float[np.ndarray, "tokens dim"]:
        """The audio tokens of the frame shown from `time_s` on, cut like `views.audio_window`."""
        first = round(time_s * CLIP_FPS * WHISPER_STEPS_PER_FRAME) - (steps - WHISPER_STEPS_PER_FRAME) // 2
        return self.features(np.arange(first, first + steps)).reshape(steps * layers, -1).astype(np.float32)

    def expression(self, time_s: float) -> Float[np.ndarray, " e"]:
        """Predicted expression coefficients at a time, between the two nearest of 25 a second."""
        last = (self.num_steps + 1) // WHISPER_STEPS_PER_FRAME - 1
        place = min(max(time_s * CLIP_FPS, 0.0), float(max(last, 0)))
        low = int(place)
        share = place - low
        return (1 - share) * self._frame(low) + share * self._frame(min(low + 1, max(last, 0)))

    def _frame(self, frame: int) -> np.ndarray:
        block, place = divmod(frame, BLOCK_STEPS // WHISPER_STEPS_PER_FRAME)
        return self._motion_block(block)[place]

    def _encode(self, block: int) -> np.ndarray:
        start = block * BLOCK_STEPS
        first, end = max(0, start - CONTEXT_STEPS), start + BLOCK_STEPS + CONTEXT_STEPS
        features = self._encoder.encode(self.audio[first * SAMPLES_PER_STEP : end * SAMPLES_PER_STEP])
        return features[start - first :][:BLOCK_STEPS]

    @torch.no_grad()
    def _move(self, block: int) -> np.ndarray:
        if self._motion is None:
            raise ValueError("this sound was made without an audio-to-motion model")
        start = block * BLOCK_STEPS
        steps = np.arange(start - CONTEXT_STEPS, start + BLOCK_STEPS + CONTEXT_STEPS)
        device = next(self._motion.parameters()).device
        whisper = torch.from_numpy(self.features(steps).astype(np.float32))[None].to(device)
        context, frames = CONTEXT_STEPS // WHISPER_STEPS_PER_FRAME, BLOCK_STEPS // WHISPER_STEPS_PER_FRAME
        noise = None
        if self._temperature > 0 and self._motion.config.latent:
            first, number = start // WHISPER_STEPS_PER_FRAME - context, len(steps) // WHISPER_STEPS_PER_FRAME
            drawn = latent_noise(first, number, self._motion.config.latent, self._seed)
            noise = torch.from_numpy(self._temperature * drawn)[None].to(device)
        return self._motion(whisper, noise)[0, context : context + frames].float().cpu().numpy()
