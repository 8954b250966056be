"""The generated pages of docs/reference are those that the code makes today, and leave nothing out."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from model import docs as model_docs
from model.training.config import TrainConfig
from pipeline import docs
from pipeline.docs import REFERENCE
from pipeline.rules.config import Config
from pipeline.show.setting_table import meanings_of, setting_tables
from stages.core.ranges import ranged, settings_of
from stages.core.reasons import DropReason
from stages.core.records import ROW
from stages.core.weight_files import WEIGHTS

PAGES = {**docs.PAGES, **model_docs.PAGES}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_current(name):
    assert (REFERENCE / name).read_text(encoding="utf-8") == PAGES[name](), "run python -m model.docs, pipeline.docs"


def test_docs_tell_of_every_column_reason_and_weight():
    columns, weights = docs.render_columns(), docs.render_weights()
    assert [name for name in ROW.names if f"| `{name}` |" not in columns] == []
    assert [reason for reason in DropReason if f"| `{reason}` |" not in columns] == []
    assert [name for name in WEIGHTS if f"| `{name}` |" not in weights] == []


@pytest.mark.parametrize(("config", "page"), [(Config(), "settings.md"), (TrainConfig(), "training.md")])
def test_every_setting_has_a_line_and_a_meaning(config, page):
    text = (REFERENCE / page).read_text(encoding="utf-8")
    lines = {
        line.split("`")[1]: line.rsplit(" | ", 1)[1].strip(" |") for line in text.splitlines() if line[:3] == "| `"
    }
    keys = {key for key, *_ in settings_of(config) if not key.startswith("run.pools.")}
    assert keys <= set(lines)
    assert [key for key in keys if not lines[key]] == []


@dataclass(frozen=True)
class Part:
    """What it is.

    Args:
        side_px: of the picture,
            in pixels.
        a, b: both.
    """

    side_px: int = ranged(3, low=1)  # why three
    a: bool = False
    # a long reason,
    # over two lines
    b: float = 0.5
    names: tuple[str, ...] = ("x", "y")


@dataclass(frozen=True)
class Tree:
    """The root."""

    seed: int = 0  # of chance
    part: Part = field(default_factory=Part)


def test_meanings_come_from_the_docstring_and_the_comments():
    assert meanings_of(Part) == {
        "side_px": "of the picture, in pixels. why three",
        "a": "both.",
        "b": "both. a long reason, over two lines",
        "names": "",
    }


def test_settings_are_shown_with_default_and_range():
    text = setting_tables(Tree())
    assert "| `seed` | `0` | at least 0 | of chance |" in text
    assert "## part\n\nWhat it is.\n" in text
    assert "| `part.side_px` | `3` | at least 1 | of the picture, in pixels. why three |" in text
    assert "| `part.a` | `false` |  | both. |" in text
    assert "| `part.names` | `[x, y]` |  |  |" in text
