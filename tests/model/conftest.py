"""Shapes and types of `model/` are checked while it is tested; shards are made once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("model", "beartype.beartype")

from tests.shards import write_shards  # noqa: E402 - the hook must come before anything imports model


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small tensors gain nothing from a second thread, and tests that run side by side lose by it."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"))
