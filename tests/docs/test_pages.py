"""Links of the documents, their two languages, and the helpers that the other tests read them by."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, anchors, blocks, first_missing, headings, inline_code, links, pages, read


@pytest.mark.parametrize("page", pages(), ids=str)
def test_no_link_is_dead(page: Path) -> None:
    dead = []
    for link in links(read(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page.parent / path).resolve() if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            dead.append(link)
    assert dead == []


def test_every_page_is_reached_from_the_readme() -> None:
    seen, todo = set(), [Path("README.md")]
    while todo:
        page = todo.pop()
        page = page / "README.md" if (ROOT / page).is_dir() else page
        if page in seen or not (ROOT / page).is_file() or page.suffix != ".md":
            continue
        seen.add(page)
        paths = (link.partition("#")[0] for link in links(read(page)) if not re.match(r"[a-z]+:", link))
        todo += [(ROOT / page.parent / path).resolve().relative_to(ROOT) for path in paths if path]
    assert set(pages()) - seen == set()


def test_the_chinese_readme_has_the_same_commands_headings_links_and_names() -> None:
    english, chinese = read(Path("README.md")), read(Path("README.zh.md"))
    assert _code(english) == _code(chinese)
    assert [level for level, _ in headings(english)] == [level for level, _ in headings(chinese)]
    assert [link for link in links(english) if link != "README.zh.md"] == [
        link for link in links(chinese) if link != "README.md"
    ]
    assert Counter(inline_code(english)) == Counter(inline_code(chinese))
    assert _table_sizes(english) == _table_sizes(chinese)


def _code(text: str) -> list[tuple[str, list[str]]]:
    """Blocks without their comments; of the tree the paths."""
    cut = {"text": r"(?<=\S)\s.*$", "sh": r"\s+#.*$"}
    return [
        (b.language, [re.sub(cut.get(b.language, "$^"), "", line) for line in b.text.splitlines()])
        for b in blocks(text)
    ]


def _table_sizes(text: str) -> list[int]:
    return [table.count("\n") for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]


def test_headings_become_anchors_as_on_github() -> None:
    text = "# What `a.b` shows\n## Two, three\n## Two, three\n```sh\n# no heading\n```\n"
    assert anchors(text) == {"what-ab-shows", "two-three", "two-three-1"}


@pytest.mark.parametrize(
    ("printed", "missing"),
    [
        ("noise\nkept  4 clips, 30.1 s of /srv/x/out/mine\nmore\nend\n", None),
        ("kept 5 clips, 24.5 s of /srv/x/out/mine\nend\n", "kept 4 clips, 24.5 s of /home/you/out/mine"),
        ("kept 4 clips, 24.5 s of /srv/x/out/other\nend\n", "kept 4 clips, 24.5 s of /home/you/out/mine"),
        ("end\nkept 4 clips, 24.5 s of /srv/x/out/mine\n", "end"),
    ],
)
def test_shown_output_is_compared_in_counts_names_and_order(printed: str, missing: str | None) -> None:
    assert first_missing("kept 4 clips, 24.5 s of /home/you/out/mine\n...\nend\n", printed) == missing
