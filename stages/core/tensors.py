"""Torch files as plain data: a pickle can run any code, so only safe types are read."""

from __future__ import annotations

import pickle  # for the name of its error
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.core.weights import MissingWeights


class UnsafeWeights(MissingWeights):
    """A model file that would run code when it is read, or that holds no tensors."""


def read_tensors(path: Path, classes: Sequence[type] = ()) -> dict[str, Any]:
    """A torch file on the CPU: tensors, numbers, texts and containers of these.

    Args:
        classes: classes of other objects that it may hold.
    Raises:
        UnsafeWeights: it holds another type, which is named; none of its code was run.
    """
    import torch

    try:
        with torch.serialization.safe_globals(list(classes)):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        why = next((line for line in str(error).splitlines() if "GLOBAL" in line or "global" in line), str(error))
        raise UnsafeWeights(
            f"{path} is not read: it is damaged, or holds more than tensors, which may be code: {why.strip()[:300]}\n"
            "Take the file from its publisher, or save it as .safetensors where you trust it."
        ) from error
    if not isinstance(content, dict):
        raise UnsafeWeights(f"{path} holds a {type(content).__name__}, not named tensors")
    return content
