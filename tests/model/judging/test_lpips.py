"""LPIPS against torchmetrics, with random weights in the place of AlexNet's: no package carries those."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import lpips as theirs

from model.judging.lpips import Lpips, alexnet_features, lpips, published_channels


def test_the_distance_is_torchmetrics(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    features = alexnet_features().eval().requires_grad_(False)
    # torchvision, from which it takes the layers, is not installed beside a CPU torch.
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda _name, _pretrained: features)
    reference = theirs._LPIPS(net="alex")
    random = np.random.default_rng(0)
    a, b = (random.integers(0, 256, (3, 128, 256, 3), np.uint8) for _ in range(2))
    signed = [torch.from_numpy(v.transpose(0, 3, 1, 2).copy()).float() / 127.5 - 1 for v in (a, b)]
    ours = lpips(Lpips(features, published_channels()), a, b)
    assert ours == pytest.approx(reference(*signed).mean().item(), rel=1e-5)
    assert ours > 0.001
    assert lpips(Lpips(features, published_channels()), a, a) == 0
