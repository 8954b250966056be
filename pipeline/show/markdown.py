"""Tables in Markdown."""

from __future__ import annotations

import re

import pyarrow as pa

from pipeline.show.text import printable


def column_table(schema: pa.Schema) -> str:
    """Markdown table of each column's name, type, unit and meaning."""
    rows = []
    for field in schema:
        about = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        rows.append([f"`{field.name}`", f"`{_type(field.type)}`", about.get("unit", ""), about.get("description", "")])
    return table(["column", "type", "unit", "meaning"], rows)


def _type(kind: pa.DataType) -> str:
    """Arrow's name of a type, without the names it gives to list items."""
    return re.sub(r"<(item|element): ", "<", str(kind)).replace("halffloat", "float16")


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table of raw texts."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def cell(text: str) -> str:
    """Text escaped for a table cell."""
    return printable(text, " ").replace("|", "\\|")
