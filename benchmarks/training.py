"""Training speed of a preset, and the time of a step by part, in `model.train`'s last phase.

    python -m benchmarks.training --data OUT/shards --config tiny [--steps 40] [key=value ...]

Samples come from the real loader, with as many workers as the preset has. On CUDA the parts are timed to their end, and
memory and the share of the peak (`--peak-tflops`, dense, of the precision used) are reported, too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from accelerate.utils import set_seed
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.steps.steps import Clock, Steps
from model.shards.samples import endless_loader
from model.training.config import load_train
from model.training.devices import default_device, is_half
from model.training.load import build_task
from stages.core.command import command, make_parser
from stages.core.weights import WeightStore

WARM_UP_STEPS = 3
"""Steps before timing, which fill caches, compile kernels and start the workers."""
TOP_OPERATORS = 8


def flop_of(steps: Steps) -> float:
    """Floating-point operations of a step, forwards and backwards, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        steps.loss(steps.batch()).backward()
    steps.optimizer.zero_grad()
    return float(counter.get_total_flops())


def operators(steps: Steps) -> list[tuple[str, float]]:
    """Operators that take most of a step's own time, and their shares."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if steps.device.type == "cuda" else [])]
    with profile(activities=kinds) as seen:
        steps.one(0, Clock(steps.device))
    cost = "self_device_time_total" if steps.device.type == "cuda" else "self_cpu_time_total"
    found = {event.key: float(getattr(event, cost)) for event in seen.key_averages()}
    total = sum(found.values())
    return [(name, found[name] / total) for name in sorted(found, key=lambda name: -found[name])[:TOP_OPERATORS]]


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.training", __doc__)
    parser.add_argument("--data", required=True, help="shards folder of a pipeline run")
    parser.add_argument("--config", required=True, action="append", help="a preset (tiny), or a YAML file")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--peak-tflops", type=float, help="of the device, for the share that is reached")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, e.g. optim.batch_size=128")
    given = parser.parse_args(arguments)
    config = load_train(given.config, [f"data={given.data}", "out=unused", *given.overrides])
    task = build_task(config, WeightStore.from_environment())
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
    raise SystemExit(main())
