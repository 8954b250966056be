"""Whisper encoder weights from the files that carry them, under one set of names.

The names are those of Hugging Face's `WhisperEncoder`, so the result loads into it as well as into
`stages.audio.whisper_encoder`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from stages.core.tensors import read_tensors

_FILE_VERSION = 6
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_ATTENTION = ("q_proj", "k_proj", "v_proj")


def _unpack(file: BinaryIO, kind: str) -> tuple[int, ...]:
    size = struct.calcsize(kind)
    data = file.read(size)
    if len(data) != size:
        raise ValueError("the model file ends too early")
    return struct.unpack(kind, data)


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<H")
    return file.read(length).rstrip(b"\0").decode()


def read_ctranslate2(path: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The variables of a CTranslate2 `model.bin` whose names begin with `prefix`.

    Raises:
        ValueError: the file is of another version, cut short, or holds a type that is not known.
    """
    variables: dict[str, np.ndarray] = {}
    with path.open("rb") as file:
        (version,) = _unpack(file, "<I")
        if version != _FILE_VERSION:
            raise ValueError(f"{path.name}: CTranslate2 file version {version}, this reader knows {_FILE_VERSION}")
        _string(file)  # name of the specification
        _unpack(file, "<I")  # its revision
        (num_variables,) = _unpack(file, "<I")
        for _ in range(num_variables):
            name = _string(file)
            (rank,) = _unpack(file, "<B")
            shape = _unpack(file, f"<{rank}I")
            kind, num_bytes = _unpack(file, "<BI")
            if not name.startswith(prefix):
                file.seek(num_bytes, 1)
                continue
            if kind not in _DTYPES:
                raise ValueError(f"{path.name}: {name} has a type that is not known ({kind})")
            data = file.read(num_bytes)
            if len(data) != num_bytes:
                raise ValueError("the model file ends too early")
            variables[name] = np.frombuffer(data, _DTYPES[kind]).reshape(shape)
    return variables


def encoder_from_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """Encoder weights of a CTranslate2 Whisper, float32, in Hugging Face's names.

    CTranslate2 keeps query, key and value in one matrix (`linear_0`); Whisper's keys have no bias.
    """
    raw = read_ctranslate2(path, "encoder/")
    flat = {name.removeprefix("encoder/"): value.astype(np.float32) for name, value in raw.items()}
    state = {
        "embed_positions.weight": flat["position_encodings/encodings"],
        "layer_norm.weight": flat["layer_norm/gamma"],
        "layer_norm.bias": flat["layer_norm/beta"],
    }
    for conv in ("conv1", "conv2"):
        state |= {f"{conv}.{part}": flat[f"{conv}/{part}"] for part in ("weight", "bias")}
    layer = 0
    while (there := f"layer_{layer}") + "/ffn/linear_0/weight" in flat:
        here = f"layers.{layer}"
        weights = np.split(flat[f"{there}/self_attention/linear_0/weight"], 3)
        biases = np.split(flat[f"{there}/self_attention/linear_0/bias"], 3)
        for name, weight, bias in zip(_ATTENTION, weights, biases, strict=True):
            state[f"{here}.self_attn.{name}.weight"] = weight
            if name != "k_proj":
                state[f"{here}.self_attn.{name}.bias"] = bias
        renamed = {
            "self_attention/linear_1": "self_attn.out_proj",
            "ffn/linear_0": "fc1",
            "ffn/linear_1": "fc2",
        }
        for old, new in renamed.items():
            state |= {f"{here}.{new}.{part}": flat[f"{there}/{old}/{part}"] for part in ("weight", "bias")}
        norms = {"self_attention/layer_norm": "self_attn_layer_norm", "ffn/layer_norm": "final_layer_norm"}
        for old, new in norms.items():
            state[f"{here}.{new}.weight"] = flat[f"{there}/{old}/gamma"]
            state[f"{here}.{new}.bias"] = flat[f"{there}/{old}/beta"]
        layer += 1
    return state


OPENAI_LAYER_NAMES = {
    "attn_ln": "self_attn_layer_norm",
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "mlp_ln": "final_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
}


def rename_openai(name: str) -> str:
    """Hugging Face's name of an encoder variable of OpenAI's checkpoint, given without `encoder.`.

    Raises:
        ValueError: no such variable is known.
    """
    if name == "positional_embedding":
        return "embed_positions.weight"
    module, _, part = name.rpartition(".")
    if module in ("conv1", "conv2"):
        return name
    if module == "ln_post":
        return f"layer_norm.{part}"
    blocks, _, inner = module.partition(".")
    layer, _, inner = inner.partition(".")
    if blocks != "blocks" or inner not in OPENAI_LAYER_NAMES:
        raise ValueError(f"a Whisper encoder has no variable {name!r}")
    return f"layers.{layer}.{OPENAI_LAYER_NAMES[inner]}.{part}"


def encoder_from_openai(path: Path) -> dict[str, np.ndarray]:
    """Encoder weights of OpenAI's own checkpoint (`tiny.pt`), float32, in Hugging Face's names."""
    checkpoint = read_tensors(path)["model_state_dict"]
    prefix = "encoder."
    return {
        rename_openai(name.removeprefix(prefix)): value.float().numpy()
        for name, value in checkpoint.items()
        if name.startswith(prefix)
    }
