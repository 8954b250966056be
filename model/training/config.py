"""What a training run is made of: one dataclass tree, defaults <- YAML <- `a.b=value`; unknown keys fail by name."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stages.core.settings import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a training sample. Source of the defaults: the reference's training code."""

    colour_jitter: float = 0.1  # brightness, contrast and saturation, +- this share
    grayscale_prob: float = 0.1
    min_crop_scale: float = 0.8  # area of the random resized crop, 1 = none
    depth_drop_prob: float = 0.5  # samples without depth, so that the model also works without
    depth_shift: float = 0.02  # of the crop's side: fits are never exact


@dataclass(frozen=True)
class LoaderConfig:
    num_workers: int = 2
    min_reference_frames: int = 5  # distance of the reference frame from the target
    audio_steps: int = 10  # of 20 ms, centred on the frame
    audio_layers: int = 5  # encoder layers side by side in the shards; one token each
    draws_per_visit: int = 64  # samples drawn from a clip each time it is read
    pool_clips: int = 64  # clips whose samples are shuffled together
    cache_clips: int = 160  # decompressed on the temporary disk for all workers of a process, 4 MB each
    window_frames: int = 75  # a2m: frames of a training sequence
    face_model: str | None = None  # path of what the clips were fitted with; None: the embedded one that they name


@dataclass(frozen=True)
class VaeConfig:
    kind: str = "sd"  # sd: Stable Diffusion's AutoencoderKL; taef2; tiny: our own, trained by the same command
    path: str | None = None  # sd: weights file, taef2: folder of the two; None looks up the registry's
    latent_channels: int = 4
    block_channels: tuple[int, ...] = (128, 256, 512, 512)  # sd: per resolution, finest first
    scale: float = 0.18215  # sd: latents to unit variance
    width: int = 32  # tiny: channels at 1/8 of the resolution
    noise: float = 0.1  # tiny: standard deviation of the posterior, in standard deviations of a latent
    init_images: int = 64  # tiny: images for the principal components that it starts from


@dataclass(frozen=True)
class UnetConfig:
    """Shape of the U-Net. Defaults: Stable Diffusion 1.x with the cross-attention of the reference."""

    block_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    attention: tuple[bool, ...] = (True, True, True, False)  # per resolution, finest first
    layers_per_block: int = 2
    num_heads: int = 8
    num_groups: int = 32
    cross_attention_dim: int | None = 384  # None: the audio encoder's width in the shards
    use_depth: bool = True
    patch: int = 1  # latents are gathered in squares of this side (tiny preset: a quarter of the work at 2)
    lower_half: bool = False  # True: only the lower half is painted; the U-Net sees it and the rows above it
    skip_outside_mouth: bool = False  # True: outside a window around the mouth it changes the reference's latents
    normalize_audio: bool = False  # audio tokens to unit variance (tiny preset: quicker to learn from)
    path: str | None = None  # published diffusers weights to start from


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
    num_couplings: int = 4  # of the flow; 0: a standard normal prior
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


@dataclass(frozen=True)
class Wav2lipConfig:
    """Defaults: the published size."""

    size_px: int = 96  # side of the faces it sees and makes, a multiple of 32
    width: int = 16  # channels at full resolution, a multiple of 8
    num_frames: int = 5  # in a row, that the expert sees
    sync_weight: float = 0.03  # of the expert's opinion in the generator's loss


@dataclass(frozen=True)
class LossConfig:
    """lambda of the reference's code; the paper's text has them the other way round."""

    latent: float = 1.0
    pixel: float = 2.0  # lower half
    mouth: float = 0.0  # extra weight of the mouth's pixels
    pixel_every: int = 1  # every n-th sample is decoded for the pixels' losses: 4 saves a third of a step


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with a cosine from `lr` to `lr_end`, over steps or minutes, whichever ends first."""

    max_steps: int = 200_000
    max_minutes: float | None = None  # a run with a time limit is not exactly repeatable
    batch_size: int = 16  # of a step, over all processes
    micro_batch: int | None = None  # that a process takes at a time: memory and speed alone. None: all of its share
    lr: float = 1e-5
    lr_end: float = 5e-6
    warmup_steps: int = 0
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.01
    eps: float = 1e-8
    clip_norm: float = 1.0
    ema_decay: float = 0.9999


@dataclass(frozen=True)
class TrainConfig:
    """A whole run. `data` and `out` come from the command line."""

    data: str = ""
    out: str = ""
    task: str = "editor"  # editor | a2m | wav2lip
    seed: int = 0
    device: str | None = None  # None: what accelerate finds
    precision: str = "auto"  # auto: bf16 on CUDA, fp32 elsewhere
    channels_last: bool = True
    compile: bool = False
    num_threads: int | None = None  # CPU threads; None leaves torch's choice
    log_every_steps: int = 10
    grid_every_steps: int = 500
    checkpoint_every_steps: int = 1000
    grid_samples: int = 6
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    vae: VaeConfig = field(default_factory=VaeConfig)
    unet: UnetConfig = field(default_factory=UnetConfig)
    a2m: A2mConfig = field(default_factory=A2mConfig)
    wav2lip: Wav2lipConfig = field(default_factory=Wav2lipConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    vae_optim: OptimConfig = field(default_factory=OptimConfig)
    expert_optim: OptimConfig = field(default_factory=OptimConfig)  # of Wav2Lip's sync expert
    optim: OptimConfig = field(default_factory=OptimConfig)


def load_dict(kind: type[T], values: dict[str, Any]) -> T:
    """A configuration from the plain values of `as_dict`; what an older version had besides is left out."""
    defaults = OmegaConf.structured(kind)
    try:
        return cast(T, OmegaConf.to_object(OmegaConf.merge(defaults, _known(defaults, values))))
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error


def _known(defaults: DictConfig, values: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in values.items() if name in defaults}
    nested = [name for name in kept if isinstance(defaults[name], DictConfig)]
    return kept | {name: _known(defaults[name], kept[name]) for name in nested}


def as_dict(config: Any) -> dict[str, Any]:
    """Values of a configuration as JSON has them."""
    return json.loads(json.dumps(OmegaConf.to_container(OmegaConf.structured(config))))
