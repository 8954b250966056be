"""Fixtures that every test may use; what costs seconds is made once a session."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.core.storage import as_path
from stages.core.weights import WeightStore
from tests.object_store import BUCKET, ObjectStore

SLOW_FIXTURES = {"weights", "store", "remote", "site", "run_source", "reader", "corpus", "shared_ray", "own_ray"}
"""They run networks, a server or a cluster."""
OTHER_LANES = ("cluster", "gpu", "hostile", "tutorial")


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow by what it asks for is marked so: `make quick` leaves it out."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if SLOW_FIXTURES.intersection(fixtures) or any(item.get_closest_marker(lane) for lane in OTHER_LANES):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def weights() -> WeightStore:
    """The machine's own store: `make test` has fetched what can be had before the first test runs."""
    return WeightStore.from_environment()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An S3 server for the session; this process and its children are set to use it, as its owner."""
    server = ObjectStore(tmp_path_factory.mktemp("store"))
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        server.make_bucket()
        yield server
    server.stop()


@pytest.fixture
def remote(store: ObjectStore) -> Path:
    """An empty folder in the server's bucket."""
    return as_path(f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}")
