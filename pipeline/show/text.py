"""Text of strangers, made fit to show."""

from __future__ import annotations


def printable(text: str, instead: str = "") -> str:
    """Text without control characters, among them those that turn the reading direction.

    Args:
        instead: what stands in the place of each.
    """
    return "".join(c if c.isprintable() else instead for c in text)
