"""Whisper's parts: mel, encoder, weights, language. The references are transformers and CTranslate2 themselves."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.audio.whisper_encoder import WhisperEncoderNetwork
from stages.audio.whisper_language import WhisperLanguage, best_guess
from stages.audio.whisper_mel import LogMel, mel_filters
from stages.audio.whisper_weights import encoder_from_ctranslate2, read_ctranslate2, rename_openai
from stages.core.weights import WeightStore
from tests.spoken import english, mandarin


@pytest.fixture(scope="module")
def language(weights: WeightStore) -> WhisperLanguage:
    return WhisperLanguage(weights, device="cpu")


def test_filters_are_those_of_slaney() -> None:
    from transformers.audio_utils import mel_filter_bank

    reference = mel_filter_bank(201, 80, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney").T
    np.testing.assert_allclose(mel_filters(80), reference, atol=1e-7)


def test_mel_has_whispers_values() -> None:
    from faster_whisper.feature_extractor import FeatureExtractor

    audio = np.concatenate([mandarin(4.0), np.zeros(16_000, np.float32)])
    reference = FeatureExtractor()(audio, padding=160)[:, :500]
    np.testing.assert_allclose(LogMel()(audio), reference, atol=2e-4)
    assert LogMel()(audio[:161]).shape == (80, 2)


def test_encoder_agrees_with_ctranslate2(weights: WeightStore, language: WhisperLanguage) -> None:
    import ctranslate2

    network = WhisperEncoderNetwork.from_state(encoder_from_ctranslate2(weights.path("whisper_base")))
    model = ctranslate2.models.Whisper(str(weights.path("whisper_base").parent), device="cpu", compute_type="float32")
    mel = LogMel()(mandarin(8.0))[None]
    reference = np.asarray(model.encode(ctranslate2.StorageView.from_array(mel)))
    with torch.inference_mode():
        states = network(torch.from_numpy(mel))
        ours = network.layer_norm(states[-1]).numpy()
    assert len(states) == 7
    np.testing.assert_allclose(ours, reference, atol=1e-3)


def test_reading_a_model_file_says_what_is_wrong(tmp_path: Path) -> None:
    wrong, short = tmp_path / "wrong.bin", tmp_path / "short.bin"
    wrong.write_bytes(struct.pack("<I", 5))
    short.write_bytes(struct.pack("<IH", 6, 2) + b"A\0" + struct.pack("<I", 3))
    with pytest.raises(ValueError, match="version 5, this reader knows 6"):
        read_ctranslate2(wrong)
    with pytest.raises(ValueError, match="ends too early"):
        read_ctranslate2(short)


def test_openai_names_lead_to_the_same_network() -> None:
    network = WhisperEncoderNetwork(num_mels=80, dim=64, hidden=128, num_layers=1, max_steps=10)
    openai = ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "positional_embedding"]
    openai += [f"blocks.0.attn.{name}.weight" for name in ("query", "key", "value", "out")]
    openai += [f"blocks.0.attn.{name}.bias" for name in ("query", "value", "out")]
    openai += [
        f"blocks.0.{name}.{part}" for name in ("attn_ln", "mlp_ln", "mlp.0", "mlp.2") for part in ("weight", "bias")
    ]
    openai += ["ln_post.weight", "ln_post.bias"]
    assert {rename_openai(name) for name in openai} == set(network.state_dict())
    with pytest.raises(ValueError, match=r"no variable 'blocks\.0\.extra\.weight'"):
        rename_openai("blocks.0.extra.weight")


def test_languages_are_heard(language: WhisperLanguage) -> None:
    assert best_guess([language(mandarin())]).language == "zh"
    guess = best_guess([language(english())])
    assert guess.language == "en"
    assert guess.margin > 0.5


def test_looks_are_averaged() -> None:
    guess = best_guess([{"zh": 0.9, "en": 0.1}, {"zh": 0.3, "ja": 0.7}])
    assert guess.language == "zh"
    assert guess.prob == pytest.approx(0.6)
    assert guess.margin == pytest.approx(0.25)
    with pytest.raises(ValueError, match="no look"):
        best_guess([])
