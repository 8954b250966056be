"""Steps of training as the trainer does them, part by part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from model.train import Average, make_optimizer
from model.training.task import Phase


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
