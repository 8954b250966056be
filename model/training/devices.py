"""Where networks run, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def default_device() -> str:
    import torch

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
    import torch

    torch.set_float32_matmul_precision("high")


@contextmanager
def inference(device_type: str) -> Iterator[None]:
    """No gradients, and bf16 on CUDA: what a trained network is used in.

    Args:
        device_type: `type` of the `torch.device`.
    """
    import torch

    with torch.no_grad(), torch.autocast(device_type, torch.bfloat16, enabled=device_type == "cuda"):
        yield
