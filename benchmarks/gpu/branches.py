"""Every branch of the code that a device decides on, once: the device's answer against the CPU's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from accelerate.state import AcceleratorState

from benchmarks.gpu.lease import Lease
from benchmarks.gpu.material import Files, drawn_clip, drawn_shards, noise_pcm16
from model.train import train
from model.training.config import load_train
from stages.audio.campplus import CampPlusNetwork, VoiceEmbedder
from stages.audio.pcm16 import from_pcm16
from stages.audio.whisper_encoder import WhisperEncoderNetwork
from stages.audio.whisper_weights import OPENAI_LAYER_NAMES
from stages.core.weights import WeightStore
from stages.depth import DepthConfig, DepthRenderer
from stages.face3d.camera import crop_focal_px, project, synthesize
from stages.face3d.load import load_face_model
from stages.face3d.raster_torch import rasterize_torch
from stages.features import FeaturesConfig, WhisperEncoder
from stages.fit.deep3d import Deep3dRegressor
from stages.fit.deep3d_network import ReconNetwork
from stages.lipsync.latentsync import StableSyncNet, StableSyncNetExpert
from stages.lipsync.syncnet import SyncNet, SyncNetExpert

WIDTH = 16
"""Of the drawn shards' audio tokens."""
TF32_TOLERANCE = 0.02
"""Of networks: mean error in standard deviations of the answer; convolutions round to 10 bits on CUDA."""
LOSS_TOLERANCE = 0.02
"""Of a few steps of training in float32: relative error of the losses."""
HALF_TOLERANCE = {"a2m": 0.3}
"""In bf16, where it is wider than others: the sync loss of a face that does not move yet divides by nearly nothing."""
DEPTH_TOLERANCE_MM = 0.01
EDGE_PIXELS = 1e-3
"""Share of pixels on edges that two rasterisers may give to different triangles."""


def run(lease: Lease) -> None:
    for what, work in stage_branches(lease).items():
        lease.attempt(what, partial(_network, lease, what, work))
    lease.attempt("depth", partial(_depth, lease))
    for preset, settings in TRAINED.items():
        lease.attempt(f"train {preset}", partial(_training, lease, preset, settings))
    lease.attempt("diarisation", partial(_diarisation, lease))
    lease.attempt("language", partial(_language, lease))


def stage_branches(lease: Lease) -> dict[str, Callable[[str], np.ndarray]]:
    """Networks of the stages with random weights of the true shape: from a device to their answer."""
    files = Files(lease.work / "random", RANDOM)
    store, pcm16 = cast(WeightStore, files), noise_pcm16(3)
    sound = from_pcm16(pcm16)
    random = np.random.default_rng(0)
    faces = random.integers(0, 256, (8 if lease.small else 24, 224, 224, 3), dtype=np.uint8)
    lower = random.integers(0, 256, (20, 128, 256, 3), dtype=np.uint8)

    def stable(device: str) -> np.ndarray:
        net = StableSyncNet(*SMALL_STAGES) if lease.small else StableSyncNet()
        files.makers["stable_syncnet"] = net.state_dict
        return np.concatenate(StableSyncNetExpert(store, device, net).embed(lower, pcm16))

    return {
        "features, Whisper tiny": lambda device: WhisperEncoder(
            FeaturesConfig("tiny", max_abs=None, device=device), store
        ).encode(sound),
        "sync, SyncNet": lambda device: np.concatenate(SyncNetExpert(store, device).embed(faces, pcm16)),
        "sync, StableSyncNet": stable,
        "geometry, Deep3D": lambda device: Deep3dRegressor(files.path("deep3d"), device)(faces[: len(faces) // 3]),
        "voice, CAM++": lambda device: VoiceEmbedder(store, device)(sound),
    }


def _network(lease: Lease, what: str, answer: Callable[[str], np.ndarray]) -> None:
    if what.startswith(("voice", "sync, Stable")) and lease.lacks(what, "torchaudio"):
        return
    ours, theirs = (answer(device).astype(np.float64) for device in (lease.device, "cpu"))
    error = float(np.abs(ours - theirs).mean() / theirs.std())
    lease.tell(what, error=error, tolerance=TF32_TOLERANCE, ok=bool(error < TF32_TOLERANCE))


def _openai_whisper(dim: int = 384, num_layers: int = 4) -> dict[str, Any]:
    """Whisper tiny's encoder as OpenAI's checkpoint lays it out."""
    state = WhisperEncoderNetwork(80, dim, 4 * dim, num_layers, 1500).state_dict()
    theirs = {ours: name for name, ours in OPENAI_LAYER_NAMES.items()}
    named = {"embed_positions.weight": "positional_embedding"}
    for name in state:
        module, _, part = name.rpartition(".")
        if name.startswith("layers."):
            _, layer, inner = module.split(".", 2)
            named[name] = f"blocks.{layer}.{theirs[inner]}.{part}"
        elif module == "layer_norm":
            named[name] = f"ln_post.{part}"
    return {"model_state_dict": {f"encoder.{named.get(name, name)}": value for name, value in state.items()}}


RANDOM: dict[str, Callable[[], object]] = {
    "whisper_tiny": _openai_whisper,
    "syncnet": lambda: SyncNet().state_dict(),
    "stable_syncnet": lambda: StableSyncNet().state_dict(),
    "deep3d": lambda: {"net_recon": ReconNetwork().state_dict()},
    "campplus": lambda: CampPlusNetwork().state_dict(),
}
SMALL_STAGES = (
    ((32, (2, 1), False), (32, (2, 2), False), (32, (4, 2), True), (64, (5, 13), False)),
    ((32, (4, 8), False), (32, (4, 4), False), (32, (4, 4), True), (64, (2, 2), False)),
)


def _depth(lease: Lease) -> None:
    """The stage's two rasterisers on CUDA: nvdiffrast where there is one, and torch's."""
    row, renderer = drawn_clip(load_face_model(), 4, 0, 8), DepthRenderer(DepthConfig())
    focal_px = crop_focal_px(row["crop_box_xyxy_px"])
    given = (row["id_coeff"], row["exp_coeff"], row["pose"], focal_px)
    exact = renderer.render(*given)
    device = "cuda" if lease.device == "cuda" else "cpu"
    found = {"stage": DepthRenderer(replace(DepthConfig(), device=device)).render(*given)}
    projected = project(synthesize(renderer.model, *given[:3]), focal_px).astype(np.float32)
    triangles = renderer.model.triangles.astype(np.int32)
    found["torch"] = rasterize_torch(projected, triangles, exact.shape[1], True, device)[0]
    for name, depth in found.items():
        if depth.shape != exact.shape:
            raise ValueError(f"{name} draws {depth.shape}, the CPU {exact.shape}")
        both = (depth > 0) & (exact > 0)
        apart = np.abs(depth - exact)[both]
        edges = float(((depth > 0) != (exact > 0)).mean() + (apart > 1).mean())
        error = float(np.median(apart))
        ok = bool(error < DEPTH_TOLERANCE_MM and edges < EDGE_PIXELS)
        lease.tell(f"depth, {name}", median_mm=error, other_pixels=edges, tolerance=EDGE_PIXELS, ok=ok)


COMMON = ("log_every_steps=1", "grid_every_steps=1000", "loader.num_workers=0", "optim.max_minutes=null")
EDITOR = ("unet.block_channels=[16,32]", "unet.num_groups=8", "optim.max_steps=4", "optim.batch_size=4")
TRAINED = {
    "tiny": (*EDITOR, "vae_optim.max_minutes=null", "vae_optim.max_steps=2", "vae.init_images=8", "vae.noise=0"),
    "a2m": ("optim.max_steps=4", "loader.window_frames=20", "a2m.dropout=0", "a2m.feature_noise=0", "a2m.mask_prob=0",
            "a2m.latent=0", "a2m.num_couplings=0"),
    "tiny-wav2lip": ("optim.max_steps=4", "wav2lip.size_px=32", "expert_optim.max_minutes=null",
                     "expert_optim.max_steps=2"),
}  # fmt: skip
"""Presets, small and without noise, so that a device's losses can be held against the CPU's."""


def _training(lease: Lease, preset: str, settings: tuple[str, ...]) -> None:
    """Forwards, backwards, update; a checkpoint half-way, and a run that goes on from it."""
    shards = drawn_shards(lease.work / f"shards-{WIDTH}", 3, 40, WIDTH)

    def losses(name: str, device: str, *more: str) -> list[float]:
        out = lease.work / f"{preset}-{name}"
        given = [*COMMON, f"data={shards}", f"out={out}", f"device={'cpu' if device == 'cpu' else 'null'}"]
        given += ["precision=fp32", "checkpoint_every_steps=2", *settings, *more]
        AcceleratorState._reset_state(True)  # it allows one device and one precision a process
        train(load_train([preset], given), WeightStore(lease.work, fetch=False))
        return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]

    ours, theirs = (losses(name, name) for name in ("cuda" if lease.device == "cuda" else "again", "cpu"))
    error = float(np.max(np.abs(np.array(ours) / np.array(theirs) - 1)))
    lease.tell(f"train {preset}, float32", error=error, tolerance=LOSS_TOLERANCE, ok=bool(error < LOSS_TOLERANCE))
    halved, most = losses("half", lease.device, "precision=bf16"), HALF_TOLERANCE.get(preset, 5 * LOSS_TOLERANCE)
    error = float(np.max(np.abs(np.array(halved) / np.array(theirs) - 1)))
    lease.tell(f"train {preset}, bf16", error=error, tolerance=most, ok=bool(error < most))
    run = lease.work / f"{preset}-{'cuda' if lease.device == 'cuda' else 'again'}"
    _forget_last(run)
    resumed = losses(run.name.removeprefix(f"{preset}-"), lease.device)
    error = float(np.max(np.abs(np.array(resumed) / np.array(ours) - 1)))
    lease.tell(f"train {preset}, resumed", error=error, tolerance=1e-3, ok=bool(error < 1e-3))


def _forget_last(run: Path) -> None:
    shutil.rmtree(max(run.glob("checkpoint-*")))


def _diarisation(lease: Lease) -> None:
    if lease.lacks("diarisation", "pyannote.audio", "torchaudio"):
        return
    from stages.audio.diarize import DiarizeConfig, Diarizer

    store = WeightStore.from_environment()
    if not (store.has("pyannote_segmentation") and store.has("campplus")):
        lease.skip("diarisation", "pyannote_segmentation and campplus are not in KOUXING_WEIGHTS")
        return
    sound = from_pcm16(noise_pcm16(12))
    turns = [
        Diarizer(DiarizeConfig(), store, VoiceEmbedder(store, device), device)(sound).activity
        for device in (lease.device, "cpu")
    ]
    same = turns[0].shape == turns[1].shape and bool((turns[0] == turns[1]).mean() > 0.99)
    lease.tell("diarisation", speakers=turns[0].shape[1], ok=same)


def _language(lease: Lease) -> None:
    if lease.lacks("language", "ctranslate2"):
        return
    from stages.audio.whisper_language import WhisperLanguage

    store = WeightStore.from_environment()
    if not store.has("whisper_base"):
        lease.skip("language", "whisper_base is not in KOUXING_WEIGHTS")
        return
    sound = from_pcm16(noise_pcm16(10))
    ours, theirs = (WhisperLanguage(store, device)(sound) for device in (lease.device, "cpu"))
    error = max(abs(ours[name] - theirs.get(name, 0)) for name in ours)
    lease.tell("language", error=error, tolerance=0.05, ok=error < 0.05)  # float16 against int8
