"""What every command has in common: where it prints, and how it ends when something is wrong."""

from __future__ import annotations

import ast
import runpy
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from stages.core.reasons import DISK_FULL, Dropped

if TYPE_CHECKING:
    from rich.console import Console

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
"""Exit codes: the machine refused; the person who typed the command can mend it; stopped by Ctrl-C."""

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


def commands_of(package: str) -> dict[str, str]:
    """The commands of a package, each with the first line of its docstring; no module is imported."""
    found = {}
    for file in sorted((Path(__file__).parents[2] / package).glob("*.py")):
        source = file.read_text(encoding="utf-8")
        if file.stem != "__main__" and "__main__" in source:
            found[file.stem] = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    return found


def run_named(package: str, arguments: Sequence[str]) -> None:
    """`python -m PACKAGE`: lists the commands of a package; with a name, runs that one.

    Raises:
        UserError: there is no command of that name.
    """
    commands = commands_of(package)
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, commands))
        print(f"python -m {package} COMMAND ...; --help after a command shows its options\n")
        print("\n".join(f"  {name:{width}}  {line}" for name, line in commands.items()))
        return
    name = arguments[0]
    if name not in commands:
        near = get_close_matches(name, commands) or list(commands)
        raise UserError(f"no command {name!r} in {package}; there is {', '.join(near)}")
    sys.argv = [name, *arguments[1:]]
    runpy.run_module(f"{package}.{name}", run_name="__main__", alter_sys=True)


def make_parser(prog: str, doc: str | None) -> ArgumentParser:
    """The parser of a command, which its module's docstring describes.

    Args:
        prog: as it is typed: `python -m pipeline.suggest`.
    """
    return ArgumentParser(prog=prog, description=doc, formatter_class=RawDescriptionHelpFormatter)


def make_console() -> Console:
    """A console that keeps tables readable where there is no terminal to ask for a width."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120)
