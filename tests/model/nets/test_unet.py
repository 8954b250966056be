"""Our U-Net against diffusers' with the same weights."""

from __future__ import annotations

import pytest
import torch

from model.nets.unet import UNet, UnetConfig

pytestmark = pytest.mark.slow  # networks run

CONFIG = UnetConfig(block_channels=(32, 64), attention=(True, False), layers_per_block=2, num_heads=4, num_groups=8)


def test_equals_diffusers_with_its_weights():
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    theirs = UNet2DConditionModel(
        sample_size=16,
        in_channels=12,
        out_channels=4,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=24,
        attention_head_dim=4,
        norm_num_groups=8,
    ).eval()
    ours = UNet(CONFIG, 12, 4, 24).eval()
    ours.load_state_dict(theirs.state_dict())
    latents, audio = torch.randn(2, 12, 16, 16), torch.randn(2, 50, 24)
    with torch.no_grad():
        for timestep in (0, 7):
            expected = theirs(latents, timestep, audio).sample
            torch.testing.assert_close(ours(latents, audio, timestep), expected, rtol=1e-4, atol=1e-4)


def test_reference_size_has_diffusers_parameters():
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        ours = UNet(UnetConfig(), 12, 4, 384)
        theirs = UNet2DConditionModel(in_channels=12, cross_attention_dim=384, attention_head_dim=8)
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in ours.state_dict().items()} == shapes
