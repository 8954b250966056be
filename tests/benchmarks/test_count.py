from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.steps.counting import WORKSPACE_GIB, LiveBytes, count_step, needs_of
from model.training.config import TrainConfig
from stages.core.settings import load_as

SMALL = ["unet.block_channels=[16,32]", "unet.num_groups=8", "unet.cross_attention_dim=null"]


def preset(name: str, *settings: str) -> TrainConfig:
    return load_as(TrainConfig, [Path(f"model/configs/{name}.yaml")], settings)


def test_live_bytes_are_what_is_alive():
    with LiveBytes() as live:
        a = torch.zeros(1024, 256)  # 1 MiB
        b = a + 1
        view = b[:10]
        assert live.now == 2 * 2**20
        del a
        assert live.now == 2**20
        del b
        assert live.now == 2**20  # the view holds it
        del view
    assert live.now == 0 and live.most == 2 * 2**20


@pytest.mark.slow
def test_joygen_fits_an_80_gb_card():
    """What the preset promises; its micro-batch makes the paper's batch of 128 fit."""
    config = preset("joygen")
    assert config.optim.batch_size == 128 and config.optim.micro_batch is not None
    peak = count_step(config, config.optim.micro_batch).peak_bytes / 2**30
    assert 40 < peak < 80 - WORKSPACE_GIB


@pytest.mark.slow
def test_more_samples_take_more_and_weights_stay():
    config = preset("tiny", *SMALL)
    needs, many = needs_of(config), count_step(config, 6)
    assert many.peak_bytes == pytest.approx(needs.fixed_bytes + 6 * needs.sample_bytes, rel=0.05)
    assert many.flop == pytest.approx(6 * needs.flop, rel=0.01)
    assert many.resting_bytes == needs.resting_bytes
    assert needs.samples_in(WORKSPACE_GIB) == 0 < needs.samples_in(WORKSPACE_GIB + 1)


@pytest.mark.slow
def test_fewer_decoded_samples_take_less():
    whole, sparse = (count_step(preset("small", *SMALL, f"loss.pixel_every={n}"), 4) for n in (1, 4))
    assert sparse.flop < 0.8 * whole.flop and sparse.peak_bytes <= whole.peak_bytes
