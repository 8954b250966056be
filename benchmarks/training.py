"""How fast a preset trains, and where a step's time goes: `model.train`'s last phase, part by part.

    python -m benchmarks.training --data OUT/shards --config model/configs/tiny.yaml [--steps 40] [key=value ...]

Samples come from the real loader, with as many workers as the preset has. On CUDA the parts are timed to their end, and
memory and the share of the peak (`--peak-tflops`, dense, of the precision used) are told, too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from model.shards.clips import DataError
from model.shards.samples import endless_loader
from model.train import Average, make_optimizer
from model.training.config import TrainConfig
from model.training.devices import default_device, is_half
from model.training.load import build_task
from model.training.task import Phase
from stages.core.settings import ConfigError, load_as
from stages.core.weights import MissingWeights, WeightStore

WARM_UP_STEPS = 3
"""Caches, compiled kernels and the workers' first batches."""
TOP_OPERATORS = 8


@dataclass
class Clock:
    """Seconds by part of a step."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, part: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started
        return result


class Steps:
    """Steps of a phase as the trainer does them, for one process.

    Args:
        module: all networks, of which the phase trains some.
        half: compute in bf16.
    """

    def __init__(
        self,
        phase: Phase,
        module: nn.Module,
        batches: Iterator[dict[str, Tensor]],
        device: torch.device,
        half: bool,
        compiled: bool = False,
    ) -> None:
        self.phase, self.batches = phase, batches
        self.device, self.optim, self.is_half = device, phase.optim, half
        module.to(device).requires_grad_(False).train()
        self.phase.trained.requires_grad_(True)
        trained = [(name, value) for name, value in module.named_parameters() if value.requires_grad]
        self.parameters = [value for _, value in trained]
        self.optimizer = make_optimizer(self.parameters, self.optim)
        self.average = Average([name for name, _ in trained], list(self.parameters), self.optim.ema_decay)
        self.loss_of = torch.compile(self.phase.loss) if compiled else self.phase.loss

    def batch(self) -> dict[str, Tensor]:
        return {name: value.to(self.device, non_blocking=True) for name, value in next(self.batches).items()}

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_half):
            return self.loss_of(batch)[0]

    def update(self, number: int) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters, self.optim.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(number)

    def one(self, number: int, clock: Clock) -> None:
        batch = clock.run("samples", self.batch)
        loss = clock.run("forwards", lambda: self.loss(batch))
        clock.run("backwards", loss.backward)
        clock.run("update", lambda: self.update(number))


def flop_of(steps: Steps) -> float:
    """Floating-point operations of a step, forwards and backwards, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        steps.loss(steps.batch()).backward()
    steps.optimizer.zero_grad()
    return float(counter.get_total_flops())


def operators(steps: Steps) -> list[tuple[str, float]]:
    """Those that take most of a step's own time, and their shares."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if steps.device.type == "cuda" else [])]
    with profile(activities=kinds) as seen:
        steps.one(0, Clock(steps.device))
    cost = "self_device_time_total" if steps.device.type == "cuda" else "self_cpu_time_total"
    found = {event.key: float(getattr(event, cost)) for event in seen.key_averages()}
    total = sum(found.values())
    return [(name, found[name] / total) for name in sorted(found, key=lambda name: -found[name])[:TOP_OPERATORS]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="shards folder of a pipeline run")
    parser.add_argument("--config", type=Path, required=True, action="append", help="one of model/configs/*.yaml")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--peak-tflops", type=float, help="of the device, for the share that is reached")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, e.g. optim.batch_size=128")
    given = parser.parse_args()
    try:
        config = load_as(TrainConfig, given.config, [f"data={given.data}", "out=unused", *given.overrides])
        task = build_task(config, WeightStore.from_environment())
    except (ConfigError, DataError, MissingWeights) as error:
        raise SystemExit(f"benchmarks.training: {error}") from error
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    device = torch.device(config.device or default_device())
    set_seed(config.seed)
    phase = task.phases[-1]
    batches = endless_loader(task.dataset, phase.optim.batch_size, 0, config.loader.num_workers)
    half = is_half(config.precision, device.type)
    steps = Steps(phase, task.module, batches, device, half, config.compile)
    flop = flop_of(steps)
    for number in range(WARM_UP_STEPS):
        steps.one(number, Clock(device))
    clock, started = Clock(device), time.perf_counter()
    for number in range(given.steps):
        steps.one(number, clock)
    step_s = (time.perf_counter() - started) / given.steps
    samples = steps.optim.batch_size
    print(f"{steps.phase.name} on {device}, {torch.get_num_threads()} threads, batch {samples}, bf16 {steps.is_half}")
    print(f"{1 / step_s:.2f} steps/s, {samples / step_s:.1f} samples/s")
    print(f"{flop / samples / 1e9:.1f} GFLOP a sample, {flop / step_s / 1e9:.0f} GFLOP/s", end="")
    print(f", {flop / step_s / 1e12 / given.peak_tflops:.1%} of the peak" if given.peak_tflops else "")
    if device.type == "cuda":
        print(f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB at most")
    for name, seconds in clock.seconds.items():
        print(f"  {name:10} {seconds / given.steps * 1e3:8.1f} ms  {seconds / given.steps / step_s:5.0%}")
    for name, share in operators(steps):
        print(f"    {name:40.40} {share:5.0%}")


if __name__ == "__main__":
    main()
