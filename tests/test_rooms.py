"""The two rules of the house: what lies at its top is called, and imports run one way. Lazy imports count."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from pipeline.job.plan import STAGE_NAMES

ROOT = Path(__file__).resolve().parents[1]
HOUSES = ("tests", "benchmarks", "model", "pipeline", "manifests", "stages")
"""Each may import those behind it."""
ROOMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "benchmarks": {
        "wild": ("wild/films",),
        "wild/films": ("known",),
        "gpu": ("steps", "known"),
        "steps": (),
        "known": (),
    },
    "model": {
        "judging": ("dubbing",),
        "dubbing": ("training",),
        "training": ("nets",),
        "nets": ("shards",),
        "lip_expert": ("shards",),
        "shards": (),
    },
    "pipeline": {
        "show": ("dataset",),
        "dataset": ("job",),
        "job": ("rules", "lists"),
        "lists": (),
        "rules": (),
        "setup": (),
    },
    "manifests": {"demo": ("demo/face",), "demo/face": ("demo/voice",), "demo/voice": ()},
    "stages": {
        "fit": ("face3d",),
        "lipsync": ("face3d",),
        "face3d": ("face",),
        "face": ("audio", "media", "shots"),
        "crawl": ("media",),
        "audio": ("core",),
        "media": ("core",),
        "shots": ("core",),
        "core": (),
    },
}
"""The rooms of each house. A room may import those that it names, and all that these may import."""
MAX_FILES = 12
STAGE_ROOMS = ("crawl",)
"""Stages that are a room and no file."""


@cache
def modules() -> dict[str, Path]:
    """Every Python file of the project, by the name that it is imported by."""
    found = {}
    for house in HOUSES:
        for path in sorted((ROOT / house).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(name: str) -> frozenset[str]:
    """Files of the project that a file imports: at its top, in functions and for type checkers."""
    return frozenset(target for node in ast.walk(_parsed(name)) for target in _targets(node)) - {name}


@cache
def _parsed(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


def _targets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules())
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "a relative import: name the file in full"
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            if whole in modules():
                yield whole
            elif node.module in modules():
                yield str(node.module)


def house_of(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def room_of(name: str) -> str:
    """The folder within the house; empty for what lies at its top."""
    return modules()[name].parent.relative_to(ROOT / house_of(name)).as_posix().removeprefix(".")


def allowed(house: str, room: str) -> set[str]:
    """Rooms that one may import, itself included."""
    return {room}.union(*(allowed(house, below) for below in ROOMS[house][room]))


def edges(house: str) -> Iterator[tuple[str, str]]:
    """Importer and imported, both of this house."""
    for name in modules():
        if house_of(name) == house:
            yield from ((name, target) for target in sorted(imports(name)) if house_of(target) == house)


def circles() -> list[tuple[str, ...]]:
    """Files that import each other, by whatever detour: of each such group its members."""
    reach = {name: set(imports(name)) for name in modules()}
    grows = True
    while grows:
        grows = False
        for name, found in reach.items():
            further = set().union(*(reach[target] for target in found)) - found
            if further:
                reach[name] = found | further
                grows = True
    groups = {tuple(sorted(other for other in reach[n] if n in reach[other])) for n in reach if n in reach[n]}
    return sorted(groups)


def test_imports_are_found_wherever_they_stand() -> None:
    assert "pipeline.show.picture" in imports("pipeline.explain")  # in a function
    assert "stages.fit.points" in imports("stages.fit.solver")  # for type checkers
    assert "pipeline.show.charts" in imports("pipeline.show.page")  # as a module
    assert "stages.crawl" in imports("pipeline.job.plan")  # a folder with an __init__.py


def test_houses_import_one_way() -> None:
    wrong = [
        f"{name} imports {target}"
        for name in modules()
        for target in sorted(imports(name))
        if HOUSES.index(house_of(target)) < HOUSES.index(house_of(name))
    ]
    assert wrong == []


def test_no_file_imports_itself_by_a_detour() -> None:
    assert circles() == []


@pytest.mark.parametrize("house", ROOMS)
def test_every_room_is_in_the_table(house: str) -> None:
    rooms = {room_of(name) for name in modules() if house_of(name) == house} - {""}
    assert rooms <= set(ROOMS[house])
    assert rooms == set(ROOMS[house])


@pytest.mark.parametrize("house", ROOMS)
def test_rooms_import_one_way_and_never_the_top(house: str) -> None:
    wrong = [
        f"{name} imports {target}"
        for name, target in edges(house)
        if room_of(name) and room_of(target) not in allowed(house, room_of(name))
    ]
    assert wrong == []


@pytest.mark.parametrize("house", ROOMS)
def test_a_room_holds_a_dozen_files_at_most(house: str) -> None:
    folders = [folder for folder in (ROOT / house).rglob("*") if folder.is_dir() and folder.name != "__pycache__"]
    sizes = {folder: sum(file.is_file() for file in folder.iterdir()) for folder in folders}
    assert {folder: size for folder, size in sizes.items() if size > MAX_FILES} == {}


def test_the_top_of_stages_holds_stages_and_none_imports_another() -> None:
    top = [name for name in modules() if house_of(name) == "stages" and not room_of(name)]
    assert {name.removeprefix("stages.") for name in top} == set(STAGE_NAMES) - set(STAGE_ROOMS)
    assert [f"{name} imports {target}" for name, target in edges("stages") if name in top and target in top] == []


@pytest.mark.parametrize("house", ["pipeline", "model"])
def test_the_top_of_a_house_holds_commands(house: str) -> None:
    top = [name for name in modules() if house_of(name) == house and not room_of(name)]
    assert top
    assert [name for name in top if not _is_command(name)] == []


def _is_command(name: str) -> bool:
    tree = _parsed(name)
    has_main = any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
    return has_main and ast.unparse(tree.body[-1]) == "if __name__ == '__main__':\n    raise SystemExit(main())"
