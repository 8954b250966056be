"""Write the pages of docs/reference that are made of training's settings and of all commands.

python -m model.docs [--out FOLDER]
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from unittest import mock

from model.training.config import PRESETS, TrainConfig
from pipeline.docs import REFERENCE, write_pages
from pipeline.show.setting_table import setting_tables
from stages.core.command import command, commands_of, make_parser

PACKAGES = ("pipeline", "model")
WIDTH = "100"
"""Columns of the help texts."""


def render_training() -> str:
    """docs/reference/training.md as text."""
    presets = ", ".join(f"`{file.stem}`" for file in sorted(PRESETS.glob("*.yaml")))
    parts = [
        "# Settings of training",
        "Made by `python -m model.docs` from the dataclasses of `model/`: change it there.",
        f"`--config` takes a preset ({presets}) or a YAML file, and `key=value` behind the command changes single "
        "settings. The defaults below are the reference's size; a preset changes some of them.",
        setting_tables(TrainConfig()),
    ]
    return "\n\n".join(parts) + "\n"


def render_commands() -> str:
    """docs/reference/commands.md as text."""
    parts = [
        "# Commands",
        "Made by `python -m model.docs` from the help texts of the commands.",
        "A command ends with 0 if it did its work, with 1 if the machine refused or work was left, with 2 if a "
        "setting, a file or a list cannot be used as given, and with 130 after Ctrl-C. Standard error says why.",
    ]
    for package in PACKAGES:
        parts.append(f"## python -m {package}")
        parts += [f"### {name}\n\n```text\n{_help(f'{package}.{name}')}\n```" for name in commands_of(package)]
    return "\n\n".join(parts) + "\n"


def _help(module: str) -> str:
    text = io.StringIO()
    with mock.patch.dict("os.environ", COLUMNS=WIDTH), redirect_stdout(text), suppress(SystemExit):
        importlib.import_module(module).main(["--help"])
    return text.getvalue().strip()


PAGES = {"training.md": render_training, "commands.md": render_commands}


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m model.docs", __doc__)
    parser.add_argument("--out", type=Path, default=REFERENCE, help="folder of the pages (default: docs/reference)")
    write_pages(parser.parse_args(arguments).out, PAGES)


if __name__ == "__main__":
    raise SystemExit(main())
