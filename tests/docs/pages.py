"""What the documents hold: pages, blocks of code, headings, links, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {"out", "runs", "shared"}
"""Folders of the checkout that hold what runs made."""
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the page that it begins on."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """One command of an `sh` block, in words, without its comment."""

    where: str
    words: tuple[str, ...]


def pages() -> list[Path]:
    """Every Markdown page of the project."""
    found = [path.relative_to(ROOT) for path in ROOT.rglob("*.md")]
    return sorted(path for path in found if not path.parts[0].startswith(".") and path.parts[0] not in NOT_OURS)


def read(page: Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text)


def headings(text: str) -> list[tuple[int, str]]:
    """Level and title."""
    return [(len(marks), title) for marks, title in re.findall(r"^(#+) (.+)$", prose(text), re.MULTILINE)]


def anchors(text: str) -> set[str]:
    """What GitHub makes of a page's headings; of equal ones the later get a number."""
    slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for _, title in headings(text)]
    return {f"{slug}-{slugs[:i].count(slug)}" if slug in slugs[:i] else slug for i, slug in enumerate(slugs)}


def links(text: str) -> list[str]:
    return _LINK.findall(_CODE.sub("", prose(text)))


def inline_code(text: str) -> list[str]:
    return [" ".join(code.split()) for code in _CODE.findall(prose(text))]


def commands(page: Path) -> Iterator[Command]:
    """Every command of a page's `sh` blocks; a backslash joins lines."""
    for block in blocks(read(page)):
        if block.language == "sh":
            for number, line in _logical_lines(block):
                words = tuple(shlex.split(line, comments=True))
                if words:
                    yield Command(f"{page}:{number}", words)


def _logical_lines(block: Block) -> Iterator[tuple[int, str]]:
    held = ""
    for number, line in enumerate(block.text.splitlines(), start=block.line + 1):
        held += line.removesuffix("\\")
        if not line.endswith("\\"):
            yield number, held
            held = ""


def steps(text: str) -> list[tuple[str, str]]:
    """Each `sh` block with the `text` block of its output right below, or with nothing."""
    found = [*blocks(text), Block("", "", 0)]
    return [
        (block.text, below.text if below.language == "text" and _adjoin(block, below) else "")
        for block, below in pairwise(found)
        if block.language == "sh"
    ]


def _adjoin(block: Block, below: Block) -> bool:
    return below.line == block.line + block.text.count("\n") + 2


def stable(line: str) -> str:
    """A line of output without what differs between two runs: measured numbers, hashes, where the folder lies."""
    line = re.sub(r"/\S*?/(?=(?:out|runs|my_videos)/)", "", line)
    line = re.sub(r"\b[0-9a-f]{12}\b", "HASH", line)
    line = re.sub(r"[+-]?\d+\.\d+(?:e-?\d+)?|\([+-]\d+%\)", "#", line)
    return " ".join(line.split())


def first_missing(shown: str, printed: str) -> str | None:
    """The first line of a shown output that was not printed, in this order; `...` stands for any lines."""
    rest = iter([stable(line) for line in printed.splitlines()])
    wanted = [line for line in shown.splitlines() if line.strip() not in ("", "...")]
    return next((line for line in wanted if stable(line) not in rest), None)
