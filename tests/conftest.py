"""Fixtures that every test may use; what costs seconds is made once a session."""

from __future__ import annotations

import pytest

from pipeline.weights import WeightStore


@pytest.fixture(scope="session")
def weights() -> WeightStore:
    """The machine's own store: `make test` has fetched what can be had before the first test runs."""
    return WeightStore.from_environment()
