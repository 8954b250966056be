"""What every command has in common: where it prints, and how it ends when something is wrong."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

from stages.core.reasons import Dropped

if TYPE_CHECKING:
    from rich.console import Console

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
"""Exit codes: the machine refused; the person who typed the command can mend it; stopped by Ctrl-C."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

P = ParamSpec("P")


class UserError(Exception):
    """What the person who typed a command can mend; the message names the thing and the way out."""


class Stopped(Exception):
    """The work cannot go on, for a reason that no setting mends."""


def command(again: str = "") -> Callable[[Callable[P, int | None]], Callable[P, int]]:
    """Makes a `main` that raises into one that says what is wrong in one line and returns an exit code.

    Args:
        again: printed where the machine refused or the user stopped the work: what is lost, and how to go on.
    """

    def decorate(main: Callable[P, int | None]) -> Callable[P, int]:
        @wraps(main)
        def run(*args: P.args, **kwargs: P.kwargs) -> int:
            try:
                return main(*args, **kwargs) or 0
            except (UserError, Dropped) as error:
                return _end(MISUSED, f"error: {error}")
            except FileNotFoundError as error:
                return _end(MISUSED, f"error: {_trouble(error)}\n{again}".rstrip())
            except KeyboardInterrupt:
                return _end(INTERRUPTED, f"\nStopped. {again}".rstrip())
            except (OSError, MemoryError, Stopped) as error:
                return _end(FAILED, f"error: {_trouble(error)}\n{again}".rstrip())

        return run

    return decorate


def _end(code: int, message: str) -> int:
    print(message, file=sys.stderr)
    return code


def _trouble(error: OSError | MemoryError | Stopped) -> str:
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"the disk is full; free some space for {error.filename or 'the output'}"
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"no such file: {error.filename}"
    return str(error) or "out of memory"


def make_console() -> Console:
    """A console that keeps tables readable where there is no terminal to ask for a width."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120)
