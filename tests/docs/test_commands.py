"""Every command that a document shows can be given: its module, options and settings exist."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import pytest

from model.training.config import TrainConfig
from pipeline.rules.config import Config, load_config
from stages.core.settings import flattened, load_as
from tests.docs.pages import ROOT, Command, commands, inline_code, pages, read

pytestmark = pytest.mark.slow  # it imports every command

PROGRAMS = {"export", "ls", "pip", "ray", "source"}
"""Not ours: taken as they are."""
LAUNCHERS = {("accelerate", "launch"), ("torchrun",)}
TRAINING = ("model.", "benchmarks.count", "benchmarks.compare", "benchmarks.training")
"""Commands whose settings are those of a training run."""
_SETTING = re.compile(r"[a-z]\w*(\.\w+)*=")
_DATED = ("docs/lab/", "CHANGELOG.md")
"""Pages that may name settings of their day."""

SHOWN = [command for page in pages() for command in commands(page)]


class Parsing(BaseException):
    """A command is about to parse its arguments."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


@cache
def parser_of(module: str) -> argparse.ArgumentParser:
    """What a command parses its arguments by: its `main` is called and stopped there."""

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        raise Parsing(parser)

    main = importlib.import_module(module).main
    kinds = ("parse_args", "parse_known_args", "parse_intermixed_args")
    stopping = mock.patch.multiple(argparse.ArgumentParser, **dict.fromkeys(kinds, stop))
    with stopping, mock.patch.object(sys, "argv", [module]), pytest.raises(Parsing) as stopped:
        main()
    return stopped.value.parser


def check(words: Sequence[str]) -> None:
    """Fails for a command that could not be given.

    Raises:
        ValueError: what is wrong with it.
    """
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if not words:
        return
    if words[0] == "make":
        _check_make(words[1:])
    elif words[0] == "python" or tuple(words[:1]) in LAUNCHERS or tuple(words[:2]) in LAUNCHERS:
        _check_python(words[2:] if tuple(words[:2]) in LAUNCHERS else words[1:])
    elif words[0] == "ray" and "--" in words:
        check(words[words.index("--") + 1 :])
    elif words[0] not in PROGRAMS:
        raise ValueError(f"unknown program {words[0]}")


def _check_make(words: Sequence[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    unknown = [word for word in words if "=" not in word and word not in targets]
    if unknown:
        raise ValueError(f"the Makefile has no {', '.join(unknown)}")


def _check_python(words: Sequence[str]) -> None:
    name, arguments = (words[1], words[2:]) if words[0] == "-m" else (_module_of(words[0]), words[1:])
    folder = ROOT / name.replace(".", "/")
    if name in ("pipeline", "model"):
        name, arguments = f"{name}.{arguments[0]}", arguments[1:]
    elif folder.is_dir():
        name = f"{name}.__main__"
    parser = parser_of(name)
    with mock.patch.object(parser, "error", _fail):
        parser.parse_intermixed_args(list(arguments))
    settings = [word for word in arguments if _SETTING.match(word)]
    if name.startswith(TRAINING):
        load_as(TrainConfig, (), settings)
    else:
        load_config((), settings)
    for option, value in pairwise(arguments):
        if option == "--config" and not _is_preset(name, value):
            raise ValueError(f"no file {value}")


def _fail(message: str) -> NoReturn:
    raise ValueError(message)


def _module_of(file: str) -> str:
    if not (ROOT / file).is_file():
        raise ValueError(f"no file {file}")
    return Path(file).with_suffix("").as_posix().replace("/", ".")


def _is_preset(name: str, value: str) -> bool:
    return (ROOT / value).is_file() or (name.startswith("model.") and (ROOT / f"model/configs/{value}.yaml").is_file())


@pytest.mark.parametrize("command", SHOWN, ids=lambda command: command.where)
def test_a_shown_command_can_be_given(command: Command) -> None:
    check(command.words)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("make nothing", "Makefile"),
        ("cargo run", "unknown program"),
        ("python pipeline/runs.py", "no file"),
        ("python -m pipeline.suggest --out d --keys x", "unrecognized arguments"),
        ("python -m pipeline.suggest", "required"),
        ("python -m pipeline.suggest --out d policy.min_face=3", "min_face"),
        ("python -m model.train --data d --out r --config none", "no file none"),
        ("python -m model.train --data d --out r --config model/configs/tiny.yaml optim.step=3", "step"),
        ("ray job submit -- python pipeline/run.py --manifest m", "required"),
    ],
)
def test_a_wrong_command_is_found(line: str, fault: str) -> None:
    with pytest.raises(Exception, match=fault):
        check(line.split())


def test_every_setting_that_is_named_exists() -> None:
    trees: list[dict[str, Any]] = [asdict(Config()), asdict(TrainConfig())]
    tops = {name for tree in trees for name, value in tree.items() if isinstance(value, dict)}
    keys = {key for tree in trees for key in flattened(tree, "")}
    keys |= {key.rsplit(".", depth)[0] for key in keys for depth in range(1, key.count(".") + 1)}
    keys |= {re.sub(r"^run\.pools\.\w+", "run.pools.NAME", key) for key in keys}
    unknown = [
        f"{page}: {name}"
        for page in pages()
        if not page.as_posix().startswith(_DATED)
        for code in inline_code(read(page))
        for name in re.findall(r"(?<![\w./])([a-z]\w*\.[\w.]*\w)(?:=|$|(?=[ ,]))", code)
        if name.split(".")[0] in tops
        and not name.endswith((".NAME", ".key", ".py", ".md", ".yaml"))
        and name not in keys
    ]
    assert unknown == []
