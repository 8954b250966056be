"""The published network's layout, without its weights: random ones of the true names and shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import HubertConfig, HubertModel

from model.nets.published_a2m import PublishedA2m, coarse_pitch, express, hear_hubert, load_published, pitch_of
from model.published_a2m import main
from stages.core.settings import ConfigError
from stages.core.weights import MissingWeights

pytestmark = pytest.mark.slow  # networks run


def published(network: PublishedA2m) -> dict[str, torch.Tensor]:
    """A state as published: the WaveNets' filters as directions, of any length, and lengths."""
    state: dict[str, torch.Tensor] = {}
    for name, value in network.state_dict().items():
        if (".wn." in name or ".enc." in name) and name.endswith("weight"):
            state[f"{name}_g"], state[f"{name}_v"] = value.norm(dim=(1, 2), keepdim=True), 3 * value
        else:
            state[name] = value
    return state


def saved(path: Path, network: PublishedA2m, **changes: torch.Tensor) -> Path:
    torch.save({"state_dict": {"model": published(network) | changes}, "global_step": 400000}, path)
    return path


def a_network(mouth: bool = True, eyes: bool = True) -> PublishedA2m:
    torch.manual_seed(0)
    return PublishedA2m(mouth, eyes)


def test_names_and_shapes_are_the_published_ones():
    """Some of every part, as `audio2motion/modules/vae.py` builds them."""
    shapes = {name: tuple(value.shape) for name, value in published(a_network()).items()}
    assert {
        "blink_embed.weight": (2, 128),
        "mel_encoder.0.weight": (128, 1024, 3),
        "mel_encoder.1.running_var": (128,),
        "pitch_embed.weight": (300, 128),
        "pitch_encoder.3.weight": (128, 128, 3),
        "mouth_amp_embed": (128,),
        "eye_amp_embed": (128,),
        "cond_proj.weight": (128, 640),
        "vae.g_pre_net.0.weight": (128, 128, 8),
        "vae.encoder.pre_net.0.weight": (256, 64, 8),
        "vae.encoder.wn.cond_layer.weight_v": (4096, 128, 1),
        "vae.encoder.wn.in_layers.7.weight_g": (512, 1, 1),
        "vae.encoder.wn.res_skip_layers.7.bias": (256,),
        "vae.encoder.out_proj.weight": (32, 256, 1),
        "vae.prior_flow.flows.0.pre.weight": (64, 8, 1),
        "vae.prior_flow.flows.6.enc.in_layers.3.weight_v": (128, 64, 3),
        "vae.prior_flow.flows.2.enc.res_skip_layers.0.weight_v": (128, 64, 1),
        "vae.prior_flow.flows.4.post.weight": (8, 64, 1),
        "vae.decoder.pre_net.0.weight": (16, 256, 4),
        "vae.decoder.wn.in_layers.3.weight_v": (512, 256, 5),
        "vae.decoder.out_proj.weight": (64, 256, 1),
    }.items() <= shapes.items()
    assert not any(name.startswith("vae.prior_flow.flows.1") for name in shapes)


@pytest.mark.parametrize(("mouth", "eyes"), [(True, True), (True, False), (False, False)])
def test_a_checkpoint_is_read_whatever_it_was_told_of(tmp_path: Path, mouth: bool, eyes: bool):
    given = a_network(mouth, eyes)
    network = load_published(saved(tmp_path / "a.ckpt", given))
    for name, value in given.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value)
    audio = np.sin(2 * np.pi * 150 * np.arange(16000) / 16000).astype(np.float32)
    hubert = np.random.default_rng(0).normal(size=(49, 1024)).astype(np.float32)
    found = express(network, audio, hubert, temperature=0.2)
    assert found.shape == (25, 64) and np.isfinite(found).all()
    assert np.array_equal(found, express(network, audio, hubert, temperature=0.2))
    assert not np.array_equal(found, express(network, audio, hubert[::-1].copy(), temperature=0.2))


def test_another_layout_is_named(tmp_path: Path):
    path = saved(tmp_path / "a.ckpt", a_network(), **{"mel_encoder.0.weight": torch.zeros(128, 13, 3)})
    with pytest.raises(MissingWeights, match=r"not PitchContourVAEModel's with HuBERT: mel_encoder.0.weight"):
        load_published(path)


def command(tmp_path: Path) -> list[str]:
    """The command on a checkpoint and 21.5 s of a tone, HuBERT in a folder `hubert`."""
    path = saved(tmp_path / "a.ckpt", a_network())
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(int(21.5 * 16000)) / 20), 16000)
    named = {"weights": path, "hubert": tmp_path / "hubert", "audio": tmp_path / "a.wav", "out": tmp_path / "exp.npy"}
    return [text for name, value in named.items() for text in (f"--{name}", str(value))]


def test_without_hubert_it_says_where_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(command(tmp_path)) == 2
    assert "facebook/hubert-large-ls960-ft" in capsys.readouterr().err


def test_hubert_is_read_as_it_is_published_and_as_it_is_saved_today(tmp_path: Path):
    torch.manual_seed(0)
    small = HubertConfig(
        hidden_size=1024, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(16,) * 7
    )
    model = HubertModel(small).eval()
    model.save_pretrained(tmp_path / "today")
    small.save_pretrained(tmp_path / "published")
    names = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
    state = {"lm_head.weight": torch.zeros(32, 1024)}
    for name, value in model.state_dict().items():
        new = next((end for end in names if name.endswith(end)), "")
        state["hubert." + name.removesuffix(new) + names.get(new, "")] = value
    torch.save(state, tmp_path / "published" / "pytorch_model.bin")
    audio = np.sin(np.arange(16000) / 20).astype(np.float32)
    with torch.no_grad():
        normal = torch.from_numpy((audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)).float()[None]
        expected = model(normal).last_hidden_state[0].numpy()
    for folder in ("today", "published"):
        np.testing.assert_allclose(hear_hubert(audio, tmp_path / folder), expected, atol=1e-4)
    del state["hubert.encoder.layers.0.attention.k_proj.weight"]
    torch.save(state, tmp_path / "published" / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"is not HuBERT: it lacks encoder\.layers\.0\.attention\.k_proj"):
        hear_hubert(audio, tmp_path / "published")


def test_hardly_a_sound_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match="399 samples"):
        hear_hubert(np.zeros(399, np.float32), tmp_path)


def test_the_command_writes_25_coefficients_a_second(tmp_path: Path):
    """With a HuBERT of the true width and step, one thin layer deep; the sound is longer than one of its blocks."""
    small = HubertConfig(
        hidden_size=1024, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(16,) * 7
    )
    HubertModel(small).save_pretrained(tmp_path / "hubert")
    assert main(command(tmp_path)) == 0
    found = np.load(tmp_path / "exp.npy")
    assert found.shape == (537, 64) and np.isfinite(found).all()  # HuBERT ends 5 ms early


def test_pitch_is_found_and_silence_has_none():
    time_s = np.arange(32000) / 16000
    voice = sum(np.sin(2 * np.pi * 140 * k * time_s) / k for k in range(1, 6)).astype(np.float32)
    voice[16000:] = 0
    found = pitch_of(voice, 100)
    assert np.allclose(found[3:47], 140, atol=2) and not found[53:].any()


def test_coarse_pitch_counts_as_published():
    given = torch.tensor([[0.0, 50.0, 140.0, 440.0, 1100.0]])
    assert coarse_pitch(given).tolist() == [[1, 1, 34, 122, 255]]
