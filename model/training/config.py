"""The configuration of a training run: a dataclass tree, defaults <- YAML <- `a.b=value`; unknown keys fail by name."""

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

    max_steps: int = ranged(200_000, low=1)  # Largest number of steps
    # Largest time in minutes. A run with a time limit is not exactly repeatable
    max_minutes: float | None = ranged(None, above=0)
    batch_size: int = ranged(16, low=1)  # Samples of a step, over all processes
    # Samples that a process takes at a time, which changes memory and speed alone. None: all of its share
    micro_batch: int | None = ranged(None, low=1)
    lr: float = ranged(1e-5, above=0)  # Learning rate after the warm-up
    lr_end: float = 5e-6  # Learning rate at the end
    warmup_steps: int = 0  # Steps over which the learning rate rises linearly
    beta1: float = 0.9  # AdamW's decay of the mean gradient
    beta2: float = 0.99  # AdamW's decay of the mean squared gradient
    weight_decay: float = 0.01  # AdamW's weight decay
    eps: float = 1e-8  # AdamW's epsilon
    clip_norm: float = 1.0  # Norm at which gradients are clipped
    ema_decay: float = 0.9999  # Decay of the exponential moving average of the weights


@dataclass(frozen=True)
class TrainConfig:
    """A whole run. `data` and `out` come from the command line."""

    data: str = ""  # Folder of the shards
    out: str = ""  # Folder of the run
    task: str = one_of("editor", "a2m", "wav2lip")  # Network that is trained
    seed: int = 0  # Seed of all random numbers
    device: str | None = None  # Device. None: what accelerate finds
    # Precision of the forward and backward pass. auto: bf16 on CUDA, fp32 elsewhere
    precision: str = one_of("auto", "bf16", "fp32")
    channels_last: bool = True  # Keep the editor's tensors with channels last in memory, for speed
    compile: bool = False  # Compile the network with torch.compile
    num_threads: int | None = None  # CPU threads. None: torch's choice
    log_every_steps: int = 10  # Steps between two lines of metrics
    grid_every_steps: int = 500  # Steps between two pictures of samples
    checkpoint_every_steps: int = 1000  # Steps between two checkpoints
    grid_samples: int = 6  # Samples of a picture
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    vae: VaeConfig = field(default_factory=VaeConfig)
    unet: UnetConfig = field(default_factory=UnetConfig)
    a2m: A2mConfig = field(default_factory=A2mConfig)
    wav2lip: Wav2lipConfig = field(default_factory=Wav2lipConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    vae_optim: OptimConfig = field(default_factory=OptimConfig)  # Optimizer of the tiny auto-encoder
    expert_optim: OptimConfig = field(default_factory=OptimConfig)  # Optimizer of Wav2Lip's sync expert
    optim: OptimConfig = field(default_factory=OptimConfig)  # Optimizer of the task's network


def preset(text: str) -> Path:
    """A YAML file by its path, or by the name of a preset.

    Raises:
        ConfigError: there is no such file or preset.
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
