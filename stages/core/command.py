"""Where the commands print."""

from __future__ import annotations

import sys

from rich.console import Console


def make_console() -> Console:
    """A console that keeps tables readable where there is no terminal to ask for a width."""
    return Console(width=None if sys.stdout.isatty() else 120)
