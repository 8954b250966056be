"""JoyGen's own audio to motion, the network: HuBERT features and pitch to Basel Face Model expressions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.nets.a2m import latent_noise
from stages.core.records import AUDIO_RATE_HZ
from stages.core.settings import ConfigError
from stages.core.tensors import read_tensors
from stages.core.weights import MissingWeights

HUBERT_STEPS_PER_FRAME = 2
"""It has 50 steps a second, as Whisper has."""
HUBERT_DIM, EXP_DIM, WIDTH, HIDDEN, LATENT = 1024, 64, 128, 256, 16
STRIDE_FRAMES = 4
"""Frames of 40 ms that one latent tells of."""
MIN_SAMPLES = 400
"""What one step of HuBERT sees."""
PITCH_RANGE_HZ = (80.0, 750.0)
WHERE = (
    "these weights hear HuBERT large, not Whisper: download facebook/hubert-large-ls960-ft (or the `hubert` folder of "
    "JoyGen's pretrained models) and give its folder with --hubert"
)


class WaveNet(nn.Module):
    """Gated convolutions with skips, told a condition."""

    def __init__(self, width: int, kernel: int, num_layers: int, condition: int) -> None:
        super().__init__()
        self.width = width
        self.cond_layer = nn.Conv1d(condition, 2 * width * num_layers, 1)
        self.in_layers = nn.ModuleList(
            [nn.Conv1d(width, 2 * width, kernel, padding=kernel // 2) for _ in range(num_layers)]
        )
        outs = [2 * width] * (num_layers - 1) + [width]
        self.res_skip_layers = nn.ModuleList([nn.Conv1d(width, out, 1) for out in outs])

    def forward(self, x: Float[Tensor, "b c t"], condition: Float[Tensor, "b d t"]) -> Float[Tensor, "b c t"]:
        told = self.cond_layer(condition).chunk(len(self.in_layers), dim=1)
        skipped = torch.zeros_like(x)
        for enter, leave, given in zip(self.in_layers, self.res_skip_layers, told, strict=True):
            value, gate = (enter(x) + given).chunk(2, dim=1)
            out = leave(value.tanh() * gate.sigmoid())
            if out.shape[1] == 2 * self.width:
                kept, out = out.chunk(2, dim=1)
                x = x + kept
            skipped = skipped + out
        return skipped


class _Coupling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pre = nn.Conv1d(LATENT // 2, 64, 1)
        self.enc = WaveNet(64, 3, 4, WIDTH)
        self.post = nn.Conv1d(64, LATENT // 2, 1)

    def inverse(self, u: Tensor, condition: Tensor) -> Tensor:
        kept, moved = u.chunk(2, dim=1)
        return torch.cat([kept, moved - self.post(self.enc(self.pre(kept), condition))], dim=1)


class _Flow(nn.Module):
    """Four couplings; the published list counts the turns between them, too, which have no weights."""

    def __init__(self) -> None:
        super().__init__()
        self.flows = nn.ModuleList([_Coupling() if i % 2 == 0 else nn.Identity() for i in range(8)])

    def inverse(self, u: Tensor, condition: Tensor) -> Tensor:
        for coupling in reversed(list(self.flows)[::2]):
            u = cast(_Coupling, coupling).inverse(u.flip(1), condition)
        return u


class _Part(nn.Module):
    """The encoder (kept so that every published weight has its place) or the decoder."""

    def __init__(self, pre_net: nn.Module, num_layers: int, out: int) -> None:
        super().__init__()
        self.pre_net = nn.Sequential(pre_net)
        self.wn = WaveNet(HIDDEN, 5, num_layers, WIDTH)
        self.out_proj = nn.Conv1d(HIDDEN, out, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.out_proj(self.wn(self.pre_net(x), condition))


def _shrink(inner: int, outer: int) -> nn.Conv1d:
    return nn.Conv1d(inner, outer, 2 * STRIDE_FRAMES, STRIDE_FRAMES, STRIDE_FRAMES // 2)


class _Vae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.g_pre_net = nn.Sequential(_shrink(WIDTH, WIDTH))
        self.encoder = _Part(_shrink(EXP_DIM, HIDDEN), 8, 2 * LATENT)
        self.prior_flow = _Flow()
        grow = nn.ConvTranspose1d(LATENT, HIDDEN, kernel_size=STRIDE_FRAMES, stride=STRIDE_FRAMES)
        self.decoder = _Part(grow, 4, EXP_DIM)


def _series(inner: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inner, WIDTH, 3, padding=1, bias=False),
        nn.BatchNorm1d(WIDTH),
        nn.GELU(),
        nn.Conv1d(WIDTH, WIDTH, 3, padding=1, bias=False),
    )


class PublishedA2m(nn.Module):
    """The network.

    Args:
        mouth, eyes: whether these weights were trained to be told how wide mouth and eyes open.
    """

    def __init__(self, mouth: bool, eyes: bool) -> None:
        super().__init__()
        self.blink_embed = nn.Embedding(2, WIDTH)
        self.mel_encoder, self.pitch_encoder = _series(HUBERT_DIM), _series(WIDTH)
        self.pitch_embed = nn.Embedding(300, WIDTH)
        self.mouth_amp_embed = nn.Parameter(torch.zeros(WIDTH)) if mouth else None
        self.eye_amp_embed = nn.Parameter(torch.zeros(WIDTH)) if eyes else None
        self.cond_proj = nn.Linear((3 + mouth + eyes) * WIDTH, WIDTH)
        self.vae = _Vae()

    def forward(
        self,
        hubert: Float[Tensor, "b steps d"],
        pitch_hz: Float[Tensor, "b steps"],
        noise: Float[Tensor, "b z t"],
        mouth_amplitude: float = 0.45,
        eye_amplitude: float = 1.0,
    ) -> Float[Tensor, "b frames e"]:
        """Expression coefficients at 25 fps, without blinks.

        Args:
            hubert: at 50 Hz, a multiple of 8 steps. pitch_hz: 0 where there is no voice.
            noise: (b, 16, steps / 8); the reference draws it with a deviation of 0.2.
            mouth_amplitude, eye_amplitude: how wide they open; the reference's own settings.
        """
        heard, pitch = hubert[:, ::HUBERT_STEPS_PER_FRAME], coarse_pitch(pitch_hz[:, ::HUBERT_STEPS_PER_FRAME])
        told = [
            self.mel_encoder(heard.transpose(1, 2)).transpose(1, 2),
            self.pitch_encoder(self.pitch_embed(pitch).transpose(1, 2)).transpose(1, 2),
            self.blink_embed(torch.zeros_like(pitch)),
        ]
        for embedding, amplitude in ((self.mouth_amp_embed, mouth_amplitude), (self.eye_amp_embed, eye_amplitude)):
            if embedding is not None:
                told.append((amplitude * embedding).expand(*pitch.shape, -1))
        condition = self.cond_proj(torch.cat(told, dim=-1)).transpose(1, 2)
        latents = self.vae.prior_flow.inverse(noise, self.vae.g_pre_net(condition))
        return self.vae.decoder(latents, condition).transpose(1, 2)


def coarse_pitch(pitch_hz: Float[Tensor, "b t"]) -> Int[Tensor, "b t"]:
    """Steps 1-255 on the mel scale from 50 to 1100 Hz, as the published embedding counts them; 1 without voice."""
    mel = 1127 * torch.log1p(pitch_hz / 700)
    low, high = (1127 * math.log1p(hz / 700) for hz in (50.0, 1100.0))
    return ((mel - low) * 254 / (high - low) + 1).clamp(1, 255).add(0.5).long()


def load_published(path: Path) -> PublishedA2m:
    """The network of a published checkpoint.

    Raises:
        MissingWeights: no such file, one that may run code, or one of another layout, which is named.
    """
    if not path.is_file():
        raise MissingWeights(f"no file {path}: give audio2secc_vae/model_ckpt_steps_400000.ckpt of JoyGen's models")
    content = read_tensors(path)
    state = content.get("state_dict", content)
    state = state.get("model", {name.removeprefix("model."): value for name, value in state.items()})
    state = _without_weight_norm(state)
    network = PublishedA2m("mouth_amp_embed" in state, "eye_amp_embed" in state)
    own = network.state_dict()
    wrong = [name for name in own if name not in state or state[name].shape != own[name].shape]
    wrong += [name for name in state if name not in own]
    if wrong:
        raise MissingWeights(
            f"{path} is not PitchContourVAEModel's with HuBERT: {', '.join(sorted(wrong)[:5])} do not fit"
        )
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _without_weight_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions are published as direction `weight_v` and length `weight_g` of every filter."""
    out = {name: value for name, value in state.items() if not name.endswith(("weight_g", "weight_v"))}
    for name, value in state.items():
        if name.endswith("weight_v"):
            length = state[f"{name[:-1]}g"]
            out[name[:-2]] = length * value / value.flatten(1).norm(dim=1).reshape(length.shape)
    return out


def hear_hubert(audio: Float[np.ndarray, " n"], folder: Path) -> Float[np.ndarray, "steps d"]:
    """HuBERT's last hidden states every 20 ms, 20 s at a time as the reference does.

    Raises:
        ConfigError: the folder does not hold the model, or there is hardly a sound.
    """
    if len(audio) < MIN_SAMPLES:
        raise ConfigError(f"the sound has {len(audio)} samples at 16 kHz, HuBERT wants {MIN_SAMPLES} or more")
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} holds no config.json: {WHERE}")
    model = _load_hubert(folder)
    samples = torch.from_numpy((audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)).float()[None]
    hop, rest = 20 * AUDIO_RATE_HZ, MIN_SAMPLES - AUDIO_RATE_HZ // 50  # a step sees more than it moves on
    with torch.no_grad():
        parts = [
            model(samples[:, start : start + hop + rest]).last_hidden_state[0]
            for start in range(0, samples.shape[1] - MIN_SAMPLES + 1, hop)
        ]
    states = torch.cat(parts).numpy()
    if states.shape[1] != HUBERT_DIM:
        raise ConfigError(f"{folder} gives {states.shape[1]} numbers a step, not {HUBERT_DIM}: {WHERE}")
    return states


def _load_hubert(folder: Path) -> nn.Module:
    """The model of a folder as transformers keeps it: safetensors, or a torch file of plain tensors."""
    from safetensors.torch import load_file
    from transformers import HubertConfig, HubertModel

    model = HubertModel(HubertConfig.from_json_file(folder / "config.json"))
    plain = folder / "model.safetensors"
    state = load_file(plain) if plain.is_file() else read_tensors(folder / "pytorch_model.bin")
    # Published as the body of a speech recogniser, by a torch that called weight normalisation otherwise.
    renamed = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}
    body: dict[str, Tensor] = {}
    for name, value in state.items():
        end = next((old for old in renamed if name.endswith(old)), "")
        body[name.removeprefix("hubert.").removesuffix(end) + renamed.get(end, "")] = value
    missing = set(model.state_dict()) - set(body) - {"masked_spec_embed"}
    if missing:
        raise ConfigError(f"{folder} is not HuBERT: it lacks {', '.join(sorted(missing)[:3])}: {WHERE}")
    model.load_state_dict({name: value for name, value in body.items() if name in model.state_dict()}, strict=False)
    return model.eval()


def pitch_of(audio: Float[np.ndarray, " n"], num_steps: int) -> Float[np.ndarray, " steps"]:
    """Pitch in Hz every 20 ms, 0 without voice, by normalised autocorrelation of 40 ms.

    The reference asks Praat for the same range and threshold; a step of the embedding is 3 to 6 Hz wide.
    """
    size, hop = AUDIO_RATE_HZ // 25, AUDIO_RATE_HZ // 50
    padded = np.zeros(num_steps * hop + size, np.float32)
    middle = size // 2 - hop // 2
    given = audio[: len(padded) - middle]
    padded[middle : middle + len(given)] = given
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][:num_steps]
    window = np.hanning(size)
    spectrum = np.fft.rfft((frames - frames.mean(axis=1, keepdims=True)) * window, 2 * size, axis=1)
    alike = np.fft.irfft(np.square(np.abs(spectrum)), axis=1)[:, :size]
    own = np.fft.irfft(np.square(np.abs(np.fft.rfft(window, 2 * size))))[:size]
    alike = alike / np.maximum(alike[:, :1], 1e-9) / (own / own[0] + 1e-9)
    shortest, longest = (round(AUDIO_RATE_HZ / hz) for hz in PITCH_RANGE_HZ[::-1])
    among = alike[:, shortest : longest + 1] - 0.02 * np.log2(np.arange(shortest, longest + 1) / shortest)
    best = among.argmax(axis=1)
    loud = np.sqrt(np.square(frames).mean(axis=1)) > 0.02 * np.abs(audio).max()
    voiced = loud & (alike[np.arange(len(best)), shortest + best] > 0.6)
    return np.where(voiced, AUDIO_RATE_HZ / (shortest + best), 0.0).astype(np.float32)


def express(
    network: PublishedA2m, audio: Float[np.ndarray, " n"], hubert: Float[np.ndarray, "steps d"], temperature: float
) -> Float[np.ndarray, "frames e"]:
    """Expression coefficients at 25 fps for a whole recording at 16 kHz."""
    num_steps = len(hubert)
    padded = -(-num_steps // (HUBERT_STEPS_PER_FRAME * STRIDE_FRAMES)) * HUBERT_STEPS_PER_FRAME * STRIDE_FRAMES
    heard = np.pad(hubert, ((0, padded - num_steps), (0, 0))).astype(np.float32)
    pitch = np.pad(pitch_of(audio, num_steps), (0, padded - num_steps))
    noise = temperature * latent_noise(0, padded // (HUBERT_STEPS_PER_FRAME * STRIDE_FRAMES), LATENT, seed=0)
    with torch.no_grad():
        found = network(*(torch.from_numpy(v)[None] for v in (heard, pitch, noise)))[0]
    return found[: -(-num_steps // HUBERT_STEPS_PER_FRAME)].numpy()
