"""docs/reference/filters.md names every threshold, with the default that the code has."""

from __future__ import annotations

import re
from dataclasses import asdict, fields
from pathlib import Path

from pipeline.rules.config import Config
from pipeline.rules.policy import PolicyConfig
from stages.core.settings import flattened

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "filters.md"
SETTING = re.compile(r"`([a-z_.]+)=([^`]+)`")


def _shown(value: object) -> str:
    """A default as the page writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_defaults_on_the_page_are_those_of_the_code() -> None:
    defaults = flattened(asdict(Config()), "")
    named = SETTING.findall(PAGE.read_text(encoding="utf-8"))
    wrong = []
    for key, value in named:
        keys = [group + key for group in ("", "policy.", "finalize.") if group + key in defaults]
        if not keys or _shown(defaults[keys[0]]) != value:
            wrong.append(f"{key}={value}")
    assert named
    assert wrong == []


def test_the_page_names_every_threshold_of_the_policy() -> None:
    named = {key for key, _ in SETTING.findall(PAGE.read_text(encoding="utf-8"))}
    assert {field.name for field in fields(PolicyConfig)} - named == set()
