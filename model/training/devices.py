"""Where networks run, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def is_half(precision: str, device: str | None) -> bool:
    """Whether training computes in bf16.

    Args:
        precision: auto (bf16 on CUDA), bf16 or fp32.
        device: None is `default_device`.
    """
    return precision == "bf16" or (precision == "auto" and (device or default_device()).startswith("cuda"))


def allow_tf32() -> None:
    """float32 matrix products may round their inputs to 10 bits, as convolutions do by torch's own default."""
    torch.set_float32_matmul_precision("high")


@contextmanager
def inference(device: torch.device) -> Iterator[None]:
    """No gradients, and bf16 on CUDA: what a trained network is used in."""
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        yield
