from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage.data import astronaut

from model.nets.sd_vae import AutoencoderKL, modern_names
from model.nets.taef2 import FILES, Taef2Vae
from model.nets.vae import SdVae, TinyVae, VaeConfig, build_vae
from stages.core.settings import ConfigError

pytestmark = pytest.mark.slow  # networks run


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
    with pytest.raises(ConfigError, match="'vq', want sd, taef2 or tiny"):
        build_vae(VaeConfig(kind="vq"), Path)


def test_taef2_reads_files_of_the_published_layout(tmp_path: Path):
    torch.manual_seed(0)
    published = Taef2Vae([])
    for name, file in zip(("encoder", "decoder"), FILES, strict=True):
        torch.save({key: value.half() for key, value in published.net[name].state_dict().items()}, tmp_path / file)
    config = VaeConfig(kind="taef2", latent_channels=32, path=str(tmp_path))
    vae, image = build_vae(config, Path), photo()[:, :, 100:164, 200:296]
    assert not any(weights.requires_grad for weights in vae.parameters())
    latents = vae.encode(image)
    assert latents.shape == (1, 32, 8, 12)
    torch.testing.assert_close(latents, published.encode(image), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(vae.decode(latents)[:, :, 32:], vae.decode_lower_half(latents))


def test_taef2_names_what_is_wrong(tmp_path: Path):
    config = VaeConfig(kind="taef2", latent_channels=32, path=str(tmp_path))
    with pytest.raises(ConfigError, match=r"there is no .*taef2_encoder\.pth: vae\.path is the folder of"):
        build_vae(config, Path)
    torch.save({"0.weight": torch.zeros(2)}, tmp_path / FILES[0])
    with pytest.raises(ConfigError, match=r"taef2_encoder\.pth is not TAEF2"):
        build_vae(config, Path)
    with pytest.raises(ConfigError, match="latent_channels is 4, TAEF2 has 32"):
        build_vae(VaeConfig(kind="taef2", path=str(tmp_path)), Path)


def test_published_names_become_todays():
    old = {
        "encoder.mid_block.attentions.0.query.weight": torch.zeros(8, 8, 1, 1),
        "encoder.mid_block.attentions.0.proj_attn.bias": torch.zeros(8),
        "encoder.mid_block.attentions.0.group_norm.weight": torch.zeros(8),
        "encoder.conv_in.weight": torch.zeros(8, 3, 3, 3),
    }
    shapes = {name: tuple(value.shape) for name, value in modern_names(old).items()}
    assert shapes == {
        "encoder.mid_block.attentions.0.to_q.weight": (8, 8),
        "encoder.mid_block.attentions.0.to_out.0.bias": (8,),
        "encoder.mid_block.attentions.0.group_norm.weight": (8,),
        "encoder.conv_in.weight": (8, 3, 3, 3),
    }


def test_sd_equals_diffusers_with_its_weights(tmp_path: Path):
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL as Theirs

    torch.manual_seed(0)
    widths = (32, 32, 64, 64)
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    theirs = Theirs(latent_channels=4, layers_per_block=2, block_out_channels=widths, **kinds).eval()  # pyright: ignore
    save_file(theirs.state_dict(), tmp_path / "vae.safetensors")
    config = VaeConfig(path=str(tmp_path / "vae.safetensors"), block_channels=widths)
    ours, image = build_vae(config, Path), photo()[:, :, 100:164, 200:296]
    with torch.no_grad():
        expected = theirs.encode(image, return_dict=False)[0].mode()
        torch.testing.assert_close(ours.encode(image), expected * config.scale, rtol=1e-4, atol=1e-5)
        made = theirs.decode(expected, return_dict=False)[0]
        torch.testing.assert_close(ours.decode(expected * config.scale), made, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            ours.decode_lower_half(expected * config.scale), made[:, :, 32:], rtol=1e-4, atol=1e-4
        )


def test_sd_has_the_published_size():
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL as Theirs

    widths = VaeConfig().block_channels
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    with torch.device("meta"):
        theirs = Theirs(latent_channels=4, layers_per_block=2, block_out_channels=widths, **kinds)  # pyright: ignore
        ours = AutoencoderKL(4, widths)
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in ours.state_dict().items()} == shapes


@pytest.mark.parametrize("kind", ["sd", "taef2"])
def test_half_precision_is_near(kind: str):
    """A frozen auto-encoder computes in bf16 where training does."""
    torch.manual_seed(0)
    vae = SdVae(VaeConfig(block_channels=(32, 32, 64, 64)), None) if kind == "sd" else Taef2Vae([])
    image = photo()[:, :, 100:164, 200:296]
    with torch.no_grad():
        latents = vae.encode(image)
        made = vae.decode(latents)
        vae.to(torch.bfloat16)
        half, again = vae.encode(image), vae.decode(latents)
    assert half.dtype == again.dtype == torch.bfloat16
    for ours, theirs in ((half, latents), (again, made)):
        assert (ours.float() - theirs).abs().mean() < 0.1 * theirs.abs().mean()
