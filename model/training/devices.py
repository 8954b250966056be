"""Device and precision of the networks."""

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
        device: name of a device; None for `default_device`.
    """
    return precision == "bf16" or (precision == "auto" and (device or default_device()).startswith("cuda"))


def allow_tf32() -> None:
    """Allow float32 matrix products to round inputs to 10 bits, as convolutions do by torch's default."""
    import torch

    torch.set_float32_matmul_precision("high")


@contextmanager
def inference(device_type: str) -> Iterator[None]:
    """Context for inference: no gradients, and bf16 on CUDA.

    Args:
        device_type: `type` of the `torch.device`.
    """
    import torch

    with torch.no_grad(), torch.autocast(device_type, torch.bfloat16, enabled=device_type == "cuda"):
        yield
