"""Shapes and types of `model/` are checked while it is tested; shards are made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("model", "beartype.beartype")

# The hook must come before anything imports model.
from model.dubbing.dub import InferConfig, dub  # noqa: E402
from model.nets.editor import Editor  # noqa: E402
from model.training.config import TrainConfig  # noqa: E402
from model.training.task import DataFacts  # noqa: E402
from stages.core.weights import WeightStore  # noqa: E402
from stages.features import FeaturesConfig, WhisperEncoder  # noqa: E402
from stages.media import write_video  # noqa: E402
from tests.shards import write_shards  # noqa: E402
from tests.talking import FPS, moving_photo, untrained_editor  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small tensors gain nothing from a second thread, and tests that run side by side lose by it."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="session")
def encoder(weights: WeightStore) -> WhisperEncoder:
    return WhisperEncoder(FeaturesConfig(), weights)


@pytest.fixture(scope="session")
def trained(encoder: WhisperEncoder, weights: WeightStore) -> tuple[Editor, TrainConfig, DataFacts]:
    return untrained_editor(weights, encoder)


@pytest.fixture(scope="session")
def dubbed(
    tmp_path_factory: pytest.TempPathFactory, trained: tuple[Editor, TrainConfig, DataFacts], weights: WeightStore
) -> Path:
    """`plain.mp4`, and what it was dubbed to: `marked.mp4`, and `bare.mp4` without what can be seen."""
    made = tmp_path_factory.mktemp("dubbed")
    voice = 0.2 * np.sin(np.arange(8 * 640) / 9).astype(np.float32)
    write_video(made / "plain.mp4", moving_photo(8), FPS, voice)
    for name, seen in (("marked", True), ("bare", False)):
        config = InferConfig(visible_mark=seen, signing=made / "signing", names=("a-run", None))
        dub(made / "plain.mp4", made / "plain.mp4", made / f"{name}.mp4", trained, None, weights, config)
    return made
