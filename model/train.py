"""Train the editor or audio-to-motion on Parquet shards.

    python -m model.train --data OUT/shards --config tiny --out RUN [key=value ...]

The same command again goes on where the run stopped. RUN holds `config.yaml`, `metrics.jsonl`, `grids/*.png` and the
newest checkpoints. For several GPUs: `accelerate launch -m model.train ...`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, set_seed
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from model.shards.clips import DataError
from model.shards.samples import endless_loader, parts_of
from model.training.checkpoint import (
    Checkpoint,
    State,
    latest_checkpoint,
    load_moments,
    read_checkpoint,
    save_checkpoint,
)
from model.training.config import OptimConfig, TrainConfig, load_train
from model.training.devices import allow_tf32, is_half
from model.training.load import build_task, load_saved
from model.training.progress import Progress
from model.training.task import Phase, Task
from stages.core.command import command, make_parser
from stages.core.settings import ConfigError, as_dict, load_dict
from stages.core.storage import local_path
from stages.core.weights import WeightStore

FREE_KEYS = {
    *("data", "out", "device", "num_threads", "channels_last", "compile", "loader.num_workers", "loader.cache_clips"),
    *("log_every_steps", "grid_every_steps", "grid_samples", "checkpoint_every_steps"),
    *("optim.micro_batch", "vae_optim.micro_batch", "expert_optim.micro_batch"),
}
"""Settings that may differ when a run is resumed: places, speed and display."""


class Average:
    """Exponential moving average of a phase's weights, with a lower decay in the first steps."""

    def __init__(self, names: list[str], values: list[Tensor], decay: float) -> None:
        self.names, self._live, self._decay = names, values, decay
        self.values = [v.detach().clone() for v in values]

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self._decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(self.values, self._live, 0)

    def state(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.values, strict=True))

    @torch.no_grad()
    def settle(self) -> None:
        """Set the weights to the averages."""
        for live, mean in zip(self._live, self.values, strict=True):
            live.copy_(mean)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Use the averages as weights in the body."""
        kept = [live.detach().clone() for live in self._live]
        self.settle()
        yield
        with torch.no_grad():
            for live, raw in zip(self._live, kept, strict=True):
                live.copy_(raw)


def learning_rate(config: OptimConfig, progress: float, step: int) -> float:
    """Cosine from `lr` to `lr_end` over the phase, after a linear warm-up."""
    cosine = config.lr_end + (config.lr - config.lr_end) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return cosine * min(1.0, (step + 1) / (config.warmup_steps + 1))


def progress_of(config: OptimConfig, step: int, elapsed_s: float) -> float:
    """Finished share of a phase, by steps or by time, whichever is larger."""
    by_time = elapsed_s / (60 * config.max_minutes) if config.max_minutes else 0.0
    return max(step / config.max_steps, by_time)


def make_optimizer(parameters: list[nn.Parameter], optim: OptimConfig) -> torch.optim.AdamW:
    betas = (optim.beta1, optim.beta2)
    kept = {"lr": optim.lr, "betas": betas, "eps": optim.eps, "weight_decay": optim.weight_decay}
    return torch.optim.AdamW(parameters, **kept, fused=True)


class Trainer:
    """One run: phases in order, from the newest checkpoint if there is one."""

    def __init__(self, config: TrainConfig, task: Task, accelerator: Accelerator) -> None:
        self.config, self.task, self.accelerator = config, task, accelerator
        self.run = Path(config.out)
        self.state = State()
        self._resumed: Checkpoint | None = None
        self._progress = Progress(accelerator.is_main_process)
        folder = latest_checkpoint(self.run)
        if folder is not None:
            self._resumed = read_checkpoint(folder)
            _check_same(config, self._resumed.config)
            self.state = self._resumed.state
            load_saved(task.module, self._resumed.model)

    def run_all(self) -> None:
        """Train the remaining phases.

        Raises:
            DataError: the shards changed their features since the run began.
        """
        if self.state.finished:
            self._progress.say(f"{self.run} is trained already: {self.state.step} steps")
            return
        if self._resumed is None:
            self.task.start()
        elif self._resumed.data != vars(self.task.facts):
            raise DataError(f"the run was trained on {self._resumed.data}, these shards are {vars(self.task.facts)}")
        else:
            self._progress.say(f"going on from step {self.state.step}")
        self._trim_metrics()
        if self.accelerator.is_main_process:
            self.run.mkdir(parents=True, exist_ok=True)
            (self.run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(self.config)))
        self.task.module.to(self.accelerator.device)
        if self.config.channels_last and self.config.task == "editor":
            self.task.module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        with self._progress:
            for index in range(self.state.phase, len(self.task.phases)):
                self._run_phase(index)

    def _run_phase(self, index: int) -> None:
        phase, optim = self.task.phases[index], self.task.phases[index].optim
        self._share(optim)
        self.task.module.requires_grad_(False)
        phase.trained.requires_grad_(True)
        trained = [(n, p) for n, p in self.task.module.named_parameters() if p.requires_grad]
        optimizer = make_optimizer([value for _, value in trained], optim)
        module = torch.compile(phase.loss) if self.config.compile else phase.loss
        module, ready = self.accelerator.prepare(module, optimizer)
        # From here on all processes have the first one's weights.
        average = Average([n for n, _ in trained], [p for _, p in trained], optim.ema_decay)
        if self._resumed is not None and self.state.phase_step > 0:
            load_moments(optimizer, self._resumed.folder)
            for mean, name in zip(average.values, average.names, strict=True):
                mean.copy_(self._resumed.average[name])
        self._loop(phase, module, ready, average)
        average.settle()
        last = index == len(self.task.phases) - 1
        if last:
            self._preview(phase, self.run / "grids" / "final.png")
        self.state = replace(self.state, phase=index + 1, phase_step=0, elapsed_s=0.0, finished=last)
        self._save()

    def _loop(self, phase: Phase, module: nn.Module, optimizer: torch.optim.Optimizer, average: Average) -> None:
        config, optim, began = self.config, phase.optim, time.monotonic() - self.state.elapsed_s
        batches = self._batches(optim)
        started_at_step, started = self.state.step, time.monotonic()
        module.train()
        while (done := progress_of(optim, self.state.phase_step, self.state.elapsed_s)) < 1:
            # The only randomness of a step, so a resumed run repeats it.
            set_seed(config.seed * 1_000_003 + self.state.step + 7_919 * self.accelerator.process_index)
            rate = learning_rate(optim, done, self.state.phase_step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            total, parts = self._gradients(optim, module, batches)
            norm = self.accelerator.clip_grad_norm_(phase.trained.parameters(), optim.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            average.update(self.state.phase_step)
            self.state = replace(
                self.state,
                step=self.state.step + 1,
                phase_step=self.state.phase_step + 1,
                batches=self.state.batches + 1,
                elapsed_s=self._elapsed_s(optim, began),
            )
            step = self.state.step
            if step % config.log_every_steps == 0:
                speed = (step - started_at_step) / (time.monotonic() - started)
                metrics = {
                    "loss": total,
                    **parts,
                    "grad_norm": float(torch.as_tensor(norm)),
                    "lr": rate,
                    "steps_per_s": speed,
                }
                self._log(phase, metrics, done)
            if step % config.grid_every_steps == 0:
                with average.shown():
                    self._preview(phase, self.run / "grids" / f"step-{step:08d}.png")
            if step % config.checkpoint_every_steps == 0:
                self._save(optimizer, average)

    def _share(self, optim: OptimConfig) -> int:
        """This process's samples of a step.

        Raises:
            ConfigError: the processes cannot share a batch equally.
        """
        share, left = divmod(optim.batch_size, self.accelerator.num_processes)
        if left:
            number = self.accelerator.num_processes
            raise ConfigError(
                f"a batch of {optim.batch_size} cannot be shared by {number} processes: change batch_size"
            )
        return share

    def _gradients(
        self, optim: OptimConfig, module: nn.Module, batches: Iterator[dict[str, Tensor]]
    ) -> tuple[float, dict[str, float]]:
        """Gradients of one optimizer step; returns mean loss and its parts, 0 and none in steps that are not logged."""
        total, parts, share = torch.zeros((), device=self.accelerator.device), {}, self._share(optim)
        sizes = parts_of(share, optim.micro_batch)
        for i, size in enumerate(sizes):
            batch = {k: v.to(self.accelerator.device, non_blocking=True) for k, v in next(batches).items()}
            with self.accelerator.no_sync(module) if i < len(sizes) - 1 else nullcontext():
                with self.accelerator.autocast():
                    loss, named = module(batch)
                self.accelerator.backward(loss * (size / share))
            total += loss.detach() * (size / share)
            parts = {name: parts.get(name, 0.0) + value * (size / share) for name, value in named.items()}
        if self.state.step % self.config.log_every_steps != self.config.log_every_steps - 1:
            return 0.0, {}
        mean = cast(Tensor, self.accelerator.reduce(total, "mean"))
        return float(mean), {name: float(value) for name, value in parts.items()}

    def _elapsed_s(self, optim: OptimConfig, began: float) -> float:
        """Time in the phase.

        Under a time limit several processes use the first one's clock, so that all end the phase together. They ask it
        only now and then, because an answer waits for the device.
        """
        elapsed_s = time.monotonic() - began
        if optim.max_minutes is None or self.accelerator.num_processes == 1:
            return elapsed_s
        if self.state.phase_step % self.config.log_every_steps:
            return self.state.elapsed_s
        return float(cast(Tensor, broadcast(torch.tensor(elapsed_s, device=self.accelerator.device))))

    def _batches(self, optim: OptimConfig) -> Iterator[dict[str, Tensor]]:
        accelerator = self.accelerator
        return endless_loader(
            self.task.dataset,
            optim.batch_size,
            self.state.batches,
            self.config.loader.num_workers,
            optim.micro_batch,
            accelerator.process_index,
            accelerator.num_processes,
        )

    def _log(self, phase: Phase, metrics: dict[str, float], done: float) -> None:
        if not self.accelerator.is_main_process:
            return
        record = {"step": self.state.step, "phase": phase.name, **{k: float(f"{v:.6g}") for k, v in metrics.items()}}
        with (self.run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        self._progress.show(phase.name, self.state.step, done, metrics)

    def _preview(self, phase: Phase, path: Path) -> None:
        if self.accelerator.is_main_process:
            self.task.module.eval()
            self.task.preview(phase, path)
            self.task.module.train()

    def _save(self, optimizer: torch.optim.Optimizer | None = None, average: Average | None = None) -> None:
        """Write a checkpoint: with both arguments within a phase, without between phases."""
        if self.accelerator.is_main_process:
            config, facts = as_dict(self.config), vars(self.task.facts)
            bare = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
            means = {} if average is None else average.state()
            save_checkpoint(self.run, self.state, config, facts, self.task.saved(), means, bare)
        self.accelerator.wait_for_everyone()

    def _trim_metrics(self) -> None:
        """Remove metrics logged after the checkpoint that the run resumes from."""
        path = self.run / "metrics.jsonl"
        if self.accelerator.is_main_process and path.is_file():
            lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= self.state.step]
            path.write_text("".join(f"{line}\n" for line in lines))


def _check_same(config: TrainConfig, before: dict[str, Any]) -> None:
    now, then = (_flat(as_dict(tree)) for tree in (config, load_dict(TrainConfig, before)))
    changed = [f"{k} ({then[k]} -> {v})" for k, v in now.items() if k not in FREE_KEYS and v != then[k]]
    if changed:
        raise ConfigError(f"{config.out} was begun with another {', '.join(changed)}: choose a new --out")


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaf values of a tree, by dotted key."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out


def train(config: TrainConfig, weights: WeightStore) -> Path:
    """Train, or resume training, until the configuration's steps or minutes are done.

    Returns:
        The run's folder.
    Raises:
        ConfigError, DataError, MissingWeights: the message says what to change.
    """
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    allow_tf32()
    half = is_half(config.precision, config.device)
    accelerator = Accelerator(cpu=config.device == "cpu", mixed_precision="bf16" if half else "no")
    set_seed(config.seed)
    trainer = Trainer(config, build_task(config, weights), accelerator)
    trainer.run_all()
    return trainer.run


def _fuller(error: torch.OutOfMemoryError) -> str:
    said = str(error).splitlines()[0]
    return (
        f"{said}\nTake fewer samples at a time, optim.micro_batch=N: gradients stay the same. `python -m "
        "benchmarks.count` says how many fit. The same command goes on from the last checkpoint"
    )


@command(again="The same command goes on from the last checkpoint.")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m model.train", __doc__)
    parser.add_argument("--data", required=True, help="shards folder of a pipeline run, or s3://bucket/folder/shards")
    parser.add_argument(
        "--config",
        required=True,
        action="append",
        help="a preset of model/configs (tiny), or a YAML file; of several, the last wins",
    )
    parser.add_argument(
        "--out", type=local_path, required=True, help="the run's folder; an existing run is taken up again"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, e.g. optim.max_steps=500")
    given = parser.parse_args(arguments)
    settings = [f"data={given.data}", f"out={given.out}", *given.overrides]
    try:
        run = train(load_train(given.config, settings), WeightStore.from_environment())
    except torch.OutOfMemoryError as error:
        raise ConfigError(_fuller(error)) from error
    print(f"trained: {run}")


if __name__ == "__main__":
    raise SystemExit(main())
