"""Tables of settings in Markdown: key, default, range, and what the code says beside each."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from textwrap import dedent
from typing import Any

from pipeline.show.markdown import table
from stages.core.ranges import Rule, rule_of

HEAD = ["setting", "default", "range", "meaning"]


def setting_tables(config: Any) -> str:
    """A heading and a table for every part of a tree of settings; the settings of the root itself come first."""
    own = [[name, value] for name, value in _values(config) if not is_dataclass(value)]
    parts = [table(HEAD, list(_rows(config, "")))] if own else []
    for name, part in _values(config):
        if is_dataclass(part):
            purpose = (inspect.getdoc(type(part)) or "").partition("\n\nArgs:")[0].replace("\n", " ")
            rows = list(_rows(part, f"{name}."))
            parts += [
                f"## {name}",
                *([purpose] if not purpose.startswith(type(part).__name__) else []),
                table(HEAD, rows),
            ]
    return "\n\n".join(parts)


def _values(config: Any) -> list[tuple[str, Any]]:
    return [(setting.name, getattr(config, setting.name)) for setting in fields(config)]


def _rows(config: Any, prefix: str) -> Iterator[list[str]]:
    meanings = meanings_of(type(config))
    for setting in fields(config):
        value, key = getattr(config, setting.name), f"{prefix}{setting.name}"
        if is_dataclass(value):
            if prefix:  # a part of the root has a table of its own
                yield from _rows(value, f"{key}.")
        elif isinstance(value, dict):
            for part in {type(part): part for part in value.values()}.values():
                yield from _rows(type(part)(), f"{key}.NAME.")
        else:
            yield [f"`{key}`", _shown(value), _range(rule_of(setting), value), meanings.get(setting.name, "")]


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, int) and value >= 10_000:
        return f"`{value:,}`".replace(",", "_")
    return f"`{value}`" if value != "" else ""


def _range(rule: Rule, value: Any) -> str:
    if isinstance(value, bool) or (isinstance(value, str | tuple) and not rule.choices):
        return ""
    beside = f", at most `{rule.at_most}`" if rule.at_most else ""
    return f"{rule}{beside}" if isinstance(value, int | float | str) or rule != Rule() else ""


@cache
def meanings_of(kind: type) -> dict[str, str]:
    """What the source of a dataclass says of each field: its entry under `Args:`, then the comment beside it."""
    source = dedent(inspect.getsource(kind))
    lines, (tree,) = source.splitlines(), ast.parse(source).body
    found = _arguments(ast.get_docstring(tree) or "") if isinstance(tree, ast.ClassDef) else {}
    for node in tree.body if isinstance(tree, ast.ClassDef) else ():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            said = [found.get(node.target.id, ""), _comment(lines, node)]
            found[node.target.id] = " ".join(filter(None, said))
    return found


def _arguments(doc: str) -> dict[str, str]:
    """Entries of a docstring's `Args:`; one entry may name several."""
    _, _, block = doc.partition("Args:\n")
    found: dict[str, str] = {}
    for names, text in re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", block, re.MULTILINE):
        found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return found


def _comment(lines: list[str], node: ast.AnnAssign) -> str:
    """The comment behind a field, else the comment lines right above it."""
    behind = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset or 0 :].strip()
    if behind.startswith("#"):
        return behind.lstrip("# ")
    above: list[str] = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.strip().startswith("#"):
            break
        above.insert(0, line.strip("# "))
    return " ".join(above)
