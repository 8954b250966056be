from __future__ import annotations

import torch

from model.nets.editor import Editor, EditorLoss, LossConfig
from model.nets.unet import UnetConfig
from model.nets.vae import TinyVae, VaeConfig

WIDTH, TOKENS = 8, 50


def editor(depth: bool = True) -> Editor:
    torch.manual_seed(0)
    unet = UnetConfig(
        (16, 32), (False, True), layers_per_block=1, num_heads=2, num_groups=8, use_depth=depth, lower_half=True
    )
    return Editor(unet, TinyVae(VaeConfig(kind="tiny", latent_channels=4, width=8)), 4, WIDTH, TOKENS).eval()


def batch(number: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    pictures = {n: torch.randint(0, 256, (number, 3, 256, 256), dtype=torch.uint8) for n in ("target", "reference")}
    mouth = torch.zeros(number, 1, 256, 256, dtype=torch.uint8)
    mouth[:, :, 180:200, 100:150] = 1
    return {**pictures, "audio": torch.randn(number, TOKENS, WIDTH), "mouth": mouth}


def depth_of(places: list[int]) -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    return {
        "depth": torch.randint(0, 256, (len(places), 1, 256, 256), dtype=torch.uint8),
        "depth_of": torch.tensor(places),
    }


@torch.no_grad()
def test_a_missing_depth_is_a_black_one():
    network, pictures, some = editor(), batch(), depth_of([2, 0])
    black = torch.zeros(3, 1, 256, 256, dtype=torch.uint8)
    whole = {**pictures, "depth": black, "depth_of": torch.arange(3)}
    torch.testing.assert_close(network(pictures).image, network(whole).image)
    black[some["depth_of"]] = some["depth"]
    torch.testing.assert_close(network({**pictures, **some}).image, network(whole).image)
    assert not torch.allclose(network(pictures).image, network(whole).image)


@torch.no_grad()
def test_an_editor_without_depth_never_looks_at_it():
    network, pictures = editor(depth=False), batch()
    torch.testing.assert_close(network({**pictures, **depth_of([0, 1, 2])}).image, network(pictures).image)


@torch.no_grad()
def test_a_samples_loss_is_its_own():
    """So that a batch taken in parts, or shared by processes, has the same gradients."""
    loss, pictures = EditorLoss(editor(), LossConfig(mouth=1.0)), batch()
    pictures["mouth"][1] = 0
    alone = [float(loss({n: v[i : i + 1] for n, v in pictures.items()})[0]) for i in range(3)]
    torch.testing.assert_close(float(loss(pictures)[0]), sum(alone) / 3, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_pixels_of_every_second_sample():
    network, pictures = editor(), batch(4)
    whole, part = (EditorLoss(network, LossConfig(mouth=1.0, pixel_every=n))(pictures)[1] for n in (1, 2))
    half = EditorLoss(network, LossConfig(mouth=1.0))({n: v[::2] for n, v in pictures.items()})[1]
    for name, like in (("latent", whole), ("pixel", half), ("mouth", half)):
        torch.testing.assert_close(part[name], like[name])
    assert not torch.allclose(part["pixel"], whole["pixel"])
