"""FID's formula against SciPy, its network against another implementation, on features and weights made here."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from model.judging.frechet import FEATURES, Inception, Moments, features_of, frechet_distance, load_inception
from stages.core.weight_files import WEIGHTS
from stages.core.weights import MissingWeights, WeightStore, sha256_of


def moments_of(features: np.ndarray, parts: int = 1) -> Moments:
    moments = Moments(features.shape[1])
    for part in np.array_split(features, parts):
        moments.add(part)
    return moments


@pytest.mark.parametrize("number", [200, 12], ids=["many", "fewer pictures than features"])
def test_the_distance_is_the_papers(number: int):
    random = np.random.default_rng(0)
    a, b = random.normal(size=(number, 24)), 0.5 + random.normal(size=(number, 24)) @ random.normal(size=(24, 24))
    covariances = [np.cov(features, rowvar=False) for features in (a, b)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(moments_of(a), moments_of(b, parts=5)) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(moments_of(a), moments_of(a)) == pytest.approx(0, abs=1e-6)


def made_state() -> dict[str, torch.Tensor]:
    """Weights by a formula, in the published file's form."""
    state = Inception().state_dict()
    names = sorted(name for name in state if not name.endswith("num_batches_tracked"))
    for k, name in enumerate(names):
        value = state[name]
        angle = torch.arange(value.numel(), dtype=torch.float64) * (1 + k % 7) * 0.7 + k
        wave = torch.sin(angle).reshape(value.shape).float()
        if name.endswith("conv.weight"):
            value.copy_(wave * math.sqrt(2 / value[0].numel()))
        elif name.endswith("running_var"):
            value.copy_(1 + 0.5 * wave)
        else:
            value.copy_(0.2 * wave + name.endswith("bn.weight"))
    return {
        **{name: state[name] for name in names},
        "fc.weight": torch.zeros(1008, FEATURES),
        "fc.bias": torch.zeros(1008),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("weights")
    torch.save(made_state(), made / WEIGHTS["inception"].file)
    return made


@pytest.mark.slow
def test_the_network_is_fids_own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The features that torch-fidelity 0.4.0 gives for these weights and this picture."""
    declared = replace(WEIGHTS["inception"], sha256=sha256_of(folder / WEIGHTS["inception"].file))
    monkeypatch.setitem(WEIGHTS, "inception", declared)
    place = np.add.outer(np.arange(256) * 3, np.arange(256) * 5)[..., None]
    picture = (place * np.array([1, 2, 3]) // 7 % 256).astype(np.uint8)[None]
    features = features_of(load_inception(WeightStore(tmp_path, folder, fetch=False)), picture)
    assert features.shape == (1, FEATURES)
    theirs = [0.26948315, 0.33960086, 0.25803906, 0.0, 0.5331285]
    np.testing.assert_allclose(features[0, [0, 100, 500, 1000, 2047]], theirs, atol=1e-5)


def test_another_file_is_refused(folder: Path, tmp_path: Path):
    with pytest.raises(MissingWeights, match="wrong SHA-256, want 6726825d"):
        load_inception(WeightStore(tmp_path, folder, fetch=False))
