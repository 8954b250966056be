from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from model.config import VaeConfig
from model.vae import TinyVae, _modern_names, build_vae
from pipeline.config import ConfigError


def photo() -> torch.Tensor:
    return torch.from_numpy(astronaut()[None].copy()).permute(0, 3, 1, 2) / 127.5 - 1


def psnr_db(vae: TinyVae, image: torch.Tensor) -> float:
    with torch.no_grad():
        return float(10 * torch.log10(4 / (vae.decode(vae.encode(image)) - image).square().mean()))


def test_starts_as_principal_components():
    vae = TinyVae(VaeConfig(kind="tiny", latent_channels=16, width=16))
    before = psnr_db(vae, photo())
    vae.start_from(photo())
    patches = photo()[0].unfold(1, 8, 8).unfold(2, 8, 8).permute(1, 2, 0, 3, 4).reshape(-1, 192).double().numpy()
    centred = patches - patches.mean(0)
    energy = np.linalg.svd(centred, compute_uv=False) ** 2
    best = 10 * np.log10(4 * patches.size / energy[16:].sum())
    assert before < 12 < 24 < psnr_db(vae, photo()) == pytest.approx(best, abs=0.05)


def test_latents_are_about_unit_variance():
    vae = TinyVae(VaeConfig(kind="tiny", latent_channels=16, width=16))
    vae.start_from(photo())
    latents = vae.encode(photo())
    assert latents.shape == (1, 16, 64, 64)
    assert 0.3 < float(latents.detach().std()) < 3


def test_lower_half_is_the_whole_images():
    torch.manual_seed(0)
    vae = TinyVae(VaeConfig(kind="tiny", latent_channels=4, width=16))
    for weights in vae.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    latents = torch.randn(2, 4, 32, 32)
    torch.testing.assert_close(vae.decode_lower_half(latents), vae.decode(latents)[:, :, 128:], rtol=1e-4, atol=1e-4)


def test_unknown_kind():
    with pytest.raises(ConfigError, match="'vq', want sd or tiny"):
        build_vae(VaeConfig(kind="vq"), None)


def test_published_names_become_todays():
    old = {
        "encoder.mid_block.attentions.0.query.weight": torch.zeros(8, 8, 1, 1),
        "encoder.mid_block.attentions.0.proj_attn.bias": torch.zeros(8),
        "encoder.mid_block.attentions.0.group_norm.weight": torch.zeros(8),
        "encoder.conv_in.weight": torch.zeros(8, 3, 3, 3),
    }
    shapes = {name: tuple(value.shape) for name, value in _modern_names(old).items()}
    assert shapes == {
        "encoder.mid_block.attentions.0.to_q.weight": (8, 8),
        "encoder.mid_block.attentions.0.to_out.0.bias": (8,),
        "encoder.mid_block.attentions.0.group_norm.weight": (8,),
        "encoder.conv_in.weight": (8, 3, 3, 3),
    }
