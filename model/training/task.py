"""Interface of a training task: a data set, a module, and the phases of its training in order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torch.utils.data import Dataset

from model.shards.clips import ClipTable, LoaderConfig, token_width
from model.training.config import OptimConfig

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Args:
        trained: module whose parameters are trained.
        loss: module that computes a batch's loss and the parts to be logged from `trained`; it is compiled, and wrapped
            for several processes.
    """

    name: str
    optim: OptimConfig
    trained: nn.Module
    loss: nn.Module


@dataclass(frozen=True)
class DataFacts:
    """Facts about the shards that a trained model depends on."""

    whisper_model: str
    whisper_dim: int
    geometry_model: str
    exp_dim: int

    @staticmethod
    def of(table: ClipTable) -> DataFacts:
        return DataFacts(table.whisper_model, table.whisper_dim, table.geometry_model, table.exp_dim)


def audio_shape(config: LoaderConfig, facts: DataFacts) -> tuple[int, int]:
    """Audio tokens of a frame, and their width.

    Raises:
        DataError: the shards' features have another number of layers.
    """
    return config.audio_steps * config.audio_layers, token_width(config, facts.whisper_model, facts.whisper_dim)


@runtime_checkable
class Task(Protocol):
    """A training task."""

    @property
    def dataset(self) -> Dataset[Batch]: ...
    @property
    def module(self) -> nn.Module: ...

    facts: DataFacts
    phases: list[Phase]

    def start(self) -> None: ...
    def saved(self) -> dict[str, Tensor]: ...
    def preview(self, _phase: Phase, path: Path, /) -> None: ...
