"""What strangers wrote, in every column that holds text, into the pages that a run leaves behind."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.rules.config import Config
from pipeline.show.card import write_card
from pipeline.show.page import write_report
from stages.core.records import Row
from tests.ledger_rows import make_rows, write_out
from tests.pipeline.test_report import Page

pytestmark = pytest.mark.slow

COLUMNS = (
    *("title", "uploader", "uri", "licence", "consent", "platform", "declared_language", "speaker_id", "extractor"),
    *("container", "video_codec", "audio_codec", "source_language", "language", "gender", "geometry_model"),
    *("drop_detail", "fault_detail", "identity_id", "format_id"),
)
PAYLOADS = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "' autofocus onfocus='document.title=\"owned\"' x='",
    "</script></style></title></textarea><script>document.title='owned'</script>",
    "<!--<script>",
    "]]><svg/onload=document.title='owned'>",
    "javascript:document.title='owned'",
    "data:text/html,<script>document.title='owned'</script>",
    "https://example.org/\"onmouseover=\"document.title='owned'",
    "<b><a href=\"javascript:document.title='owned'\">x</a></b><br><sup>y</sup>",
    "&lt;img src=x onerror=document.title='owned'&gt;",
    "{{ 7*7 }}{% import os %}${7*7}#{7*7}<%= 7*7 %>",
    "\u2028\u2029\x00\x1b]0;owned\x07\u202e\u0000\ufeff",
    "[x](javascript:document.title='owned') ![x](http://127.0.0.1:9/x) <http://127.0.0.1:9/x>",
    "\n\n---\nlicense: owned\n---\n# owned\n```\n",
    "x" * 10_000,
)


def _poisoned(rows: list[Row], payload: str | None) -> list[Row]:
    """Rows with a stranger's text in every column that they have, or with harmless text of as many values."""
    return [
        row
        | {name: f"{payload or 'harmless'}{row['source_id'][-1]}" for name in COLUMNS if name in row or name == "title"}
        for row in rows
    ]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_rows(8)


@pytest.fixture(scope="module")
def harmless(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    page = Page(write_report(write_out(tmp_path_factory.mktemp("harmless") / "out", _poisoned(rows, None))))
    return Counter(tag for tag, _ in page.elements)


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_the_report_shows_it_and_becomes_nothing_else(
    payload: str, rows: list[Row], harmless: Counter[str], tmp_path: Path
) -> None:
    page = Page(write_report(write_out(tmp_path / "out", _poisoned(rows, payload))))
    found = Counter(tag for tag, _ in page.elements)
    found["a"] = harmless["a"] = 0  # of links there are as many as addresses that may be one
    assert found == harmless
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("autofocus", "srcdoc", "style ")]
        assert (attributes.get("href") or "#").startswith(("#", "https://", "http://")), tag
        assert (attributes.get("src") or "data:image/jpeg").startswith("data:image/jpeg"), tag
    assert len(page.scripts) == 4
    figures = json.dumps(page.data("figures"))
    assert "<script" not in figures and 'onerror=\\"' not in figures and "<a " not in figures


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_the_card_keeps_its_own_shape(payload: str, rows: list[Row], tmp_path: Path) -> None:
    def shape(text: str | None, folder: str) -> list[str]:
        out = write_out(tmp_path / folder / "out", _poisoned(rows, text))
        write_card(out, json.loads((out / "stats.json").read_text()), Config())
        lines = (out / "README.md").read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if re.search(r"<script|<img|(?<!\\)\]\(javascript", line)]
        return [line for line in lines if line.startswith(("#", "---", "```", "license:"))]

    assert shape(payload, "poisoned") == shape(None, "harmless")
