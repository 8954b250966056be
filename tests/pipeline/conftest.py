"""One Ray, one corpus and one run of it for all tests of whole runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from manifests.demo.corpus import make_corpus
from pipeline import run
from pipeline.job.stream import start_ray
from pipeline.rules.config import Config
from stages.core.weights import WeightStore
from tests.object_store import ObjectStore
from tests.runs import CORPUS, command, made_once


@pytest.fixture(scope="session")
def _ray_ends() -> Iterator[None]:
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def shared_ray(store: ObjectStore, _ray_ends: None) -> None:
    """The Ray of the session; its workers find the store as this process does."""
    if not ray.is_initialized():
        start_ray(Config())


@pytest.fixture(scope="module")
def own_ray() -> None:
    """None runs, so that a run starts its own."""
    ray.shutdown()


@pytest.fixture(scope="session")
def corpus(weights: WeightStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "corpus", lambda folder: make_corpus(folder, weights, names=CORPUS))


@pytest.fixture(scope="module")
def corpus_run(corpus: Path, shared_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of the corpus, with pools as they are by default; not to be written to."""

    def make(folder: Path) -> None:
        assert run.main(command(corpus / "manifest.yaml", folder, "run.strict=true")) == 0

    return made_once(tmp_path_factory, "corpus-run", make)
