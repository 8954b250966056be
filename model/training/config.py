"""What a training run is made of: one dataclass tree, defaults <- YAML <- `a.b=value`; unknown keys fail by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from model.nets.a2m import A2mConfig
from model.nets.editor import LossConfig
from model.nets.unet import UnetConfig
from model.nets.vae import VaeConfig
from model.nets.wav2lip import Wav2lipConfig
from model.shards.clips import LoaderConfig
from model.shards.views import AugmentConfig
from stages.core.ranges import one_of, ranged
from stages.core.settings import ConfigError, load_as

T = TypeVar("T")
PRESETS = Path(__file__).parents[1] / "configs"


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with a cosine from `lr` to `lr_end`, over steps or minutes, whichever ends first."""

    max_steps: int = ranged(200_000, low=1)
    max_minutes: float | None = ranged(None, above=0)  # a run with a time limit is not exactly repeatable
    batch_size: int = ranged(16, low=1)  # of a step, over all processes
    # that a process takes at a time: memory and speed alone. None: all of its share
    micro_batch: int | None = ranged(None, low=1)
    lr: float = ranged(1e-5, above=0)
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
    task: str = one_of("editor", "a2m", "wav2lip")
    seed: int = 0
    device: str | None = None  # None: what accelerate finds
    precision: str = one_of("auto", "bf16", "fp32")  # auto: bf16 on CUDA, fp32 elsewhere
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


def preset(text: str) -> Path:
    """A YAML file by its path, or by the name of a preset.

    Raises:
        ConfigError: there is neither.
    """
    for file in (Path(text), PRESETS / f"{text}.yaml"):
        if file.is_file():
            return file
    names = ", ".join(sorted(file.stem for file in PRESETS.glob("*.yaml")))
    raise ConfigError(f"no such config file: {text}; presets are {names}")


def load_train(files: Sequence[str], overrides: Sequence[str] = ()) -> TrainConfig:
    """The configuration of a training run, as `load_as` reads it.

    Args:
        files: YAML files or names of presets; of several, the last wins.
    """
    return load_as(TrainConfig, [preset(text) for text in files], overrides)
