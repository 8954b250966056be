"""Text of strangers, made safe to show."""

from __future__ import annotations


def printable(text: str, instead: str = "") -> str:
    """Text without control characters, including those that change the reading direction.

    Args:
        instead: replacement of each.
    """
    return "".join(c if c.isprintable() else instead for c in text)
