"""The formats of a list: its entries, each with the line or the number where it stands."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import reprlib
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from stages.core.command import UserError
from stages.core.records import SOURCE
from stages.core.storage import BUCKETS, named, open_parquet, protocol_of, size_of
from stages.crawl import is_search
from stages.crawl.links import Unclear, find_addresses, trimmed

MAX_BYTES = 2_000_000_000
"""Largest size of a list; a million sources with all columns take 300 MB."""
MAX_SOURCES = 10_000_000
"""Largest number of sources in a list; a million take 1 GB of memory. Longer lists need several runs."""
MAX_YAML_BYTES = 50_000_000
"""Largest size of a YAML list: half a million sources, which take 2 GB and a minute; JSONL takes a quarter of both."""
MAX_YAML_DEPTH = 20
_COLUMNS = frozenset(SOURCE.names)
ALIASES = {"language": "declared_language", "url": "uri", "path": "uri", "id": "source_id"}
_DELIMITERS = ",\t;，；|"
_ABSENT = frozenset({"", "nan", "NaN", "None", "null", "NULL", "<NA>", "#N/A"})
"""What tables write for a cell without a value."""
_NO_HEADING = "(cells without a heading)"
_SHARED_BEGINNING = re.compile(r"\d{1,2}\.\d{2}\s")
"""How Douyin begins the text of a share, which may have several lines; the address stands in the last."""
_SHARE_WORDS = re.compile(r"#.*#|复制|打开|链接|观看|抖音|快手|小红书|哔哩|微博|【")
Numbered = list[tuple[int, Any]]
"""Entries of a list, each with its line or number."""


class ManifestError(UserError):
    """A manifest that cannot be used; the message names the row and the remedy."""


def read_list(path: Path) -> tuple[str, Numbered]:
    """The entries of a file, and what they are counted in."""
    try:
        if (num_bytes := size_of(path)) > MAX_BYTES:
            raise ManifestError(f"{path} has {num_bytes} bytes, at most {MAX_BYTES} are read; split it")
        match path.suffix.lower():
            case ".yaml" | ".yml":
                content = _read_yaml(_read_text(path))
                rows = content["sources"] if isinstance(content, dict) and "sources" in content else content
                if rows is not None and not isinstance(rows, list):
                    raise ManifestError(f"{path} must hold a list of sources, or a mapping with the key 'sources'")
                return "source", list(enumerate(rows or [], start=1))
            case ".csv" | ".tsv":
                return "line", _read_table(path, _read_text(path))
            case ".jsonl":
                lines = [line for line in _read_text(path).split("\n") if trimmed(line)]
                return "source", list(enumerate(map(json.loads, lines), start=1))
            case ".txt":
                text = _read_text(path)
                first = next((line for line in text.splitlines() if trimmed(line)), "")
                return "line", (_read_table if _is_header(first) else _read_addresses)(path, text)
            case ".parquet":
                return "source", list(enumerate(_read_parquet(path), start=1))
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, csv.Error, pa.ArrowException) as error:
        raise ManifestError(f"{path} is not valid {path.suffix[1:].upper()}: {short(error)}") from error
    raise ManifestError(f"{path}: a manifest is .yaml, .csv, .jsonl, .parquet, .txt or a folder, not {path.suffix!r}")


def _read_text(path: Path) -> str:
    """A text in UTF-8, UTF-16 or GB18030, as editors and spreadsheets in China save it."""
    with named(path, "read"):
        content = path.read_bytes().rstrip(b"\x1a")  # the end of a text under DOS
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        high = content[offset:200:2]
        if len(content) >= 4 and 2 * high.count(0) > len(high):
            return content.decode(encoding)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        text = content.decode("gb18030")
    except UnicodeDecodeError:
        text = None
    if text is None or any("\ue000" <= char <= "\uf8ff" for char in text):  # bytes of another encoding
        raise ManifestError(f"{path} is neither UTF-8, UTF-16 nor GB18030; save it as UTF-8 (Excel: CSV UTF-8)")
    return text


def _names(cells: Sequence[str]) -> list[str]:
    return [ALIASES.get(name, name) for name in (trimmed(cell).lower() for cell in cells)]


def _is_header(line: str) -> bool:
    """Whether a line names the columns of a table."""
    if re.fullmatch(r'"?sep=.\s*', line, re.IGNORECASE):
        return True
    names = [name for name in _names(re.split(f"[{_DELIMITERS}]", line.replace('"', ""))) if name]
    return "uri" in names and _COLUMNS.issuperset(names)


def _read_table(path: Path, text: str) -> Numbered:
    """Rows of a CSV by their line: any usual delimiter, Excel's `sep=`; blank rows and unnamed columns do not count."""
    told = re.match(r'"?sep=(.)"?\r?\n', text, re.IGNORECASE)
    header = next((line for line in text[told.end() if told else 0 :].splitlines() if trimmed(line)), "")
    header = header.replace('"', "")
    known = {mark: len(_COLUMNS.intersection(_names(header.split(mark)))) for mark in _DELIMITERS}
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=told[1] if told else max(known, key=known.__getitem__))
    names: list[str] = []
    rows: Numbered = []
    line = 1
    for cells in reader:
        start, line = line, reader.line_num + 1
        if not any(trimmed(cell) for cell in cells) or (told and start == 1):
            continue
        if not names:
            names = _names(cells)
            if not _COLUMNS.intersection(names) and any(map(_is_address, cells)):
                raise ManifestError(
                    f"{path}, line {start}: no headings; the first line of a table names its columns: uri"
                )
            check_columns([name for name in names if name], f"{path}, line {start}")
            continue
        pairs = zip_longest(names[: len(cells)], cells, fillvalue="")
        rows.append((start, {name or _NO_HEADING: cell for name, cell in pairs if trimmed(cell) not in _ABSENT}))
    return rows


def _is_address(text: str) -> bool:
    try:
        return bool(find_addresses(text))
    except Unclear:
        return True


def _read_addresses(path: Path, text: str) -> Numbered:
    """The addresses of a text by their line: alone, several on a line, or within the text that an app shares."""
    addresses: Numbered = []
    begun: int | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line, where = trimmed(raw), f"{path}, line {number}"
        if not line:
            continue
        if is_search(line) or protocol_of(line) in BUCKETS or re.match(r"file:/", line, re.IGNORECASE):
            addresses.append((number, line))
            continue
        try:
            found = [] if re.match(r"#(\s|#|$)", line) else find_addresses(line)
        except Unclear as error:
            raise ManifestError(f"{where}: {error}") from error
        if line.startswith("#"):
            if not found or any(line[1:].startswith(mark) for mark in ("http", *found)):
                continue
            if not _SHARE_WORDS.search(line[1:] if line.count("#") == 1 else line):
                raise ManifestError(
                    f"{where} begins with # and holds an address: begin a comment with '# ', or write the address alone"
                )
        if not found and (begun is not None or _SHARED_BEGINNING.match(line)):
            begun = begun or number
            continue
        if not found:
            raise ManifestError(
                f"{where}: no address in {line[:80]!r}; a comment begins with '# ', files are listed by a CSV or YAML"
            )
        begun = None
        addresses += [(number, address) for address in found]
    if begun is not None:
        raise ManifestError(f"{path}, line {begun}: no address in or below this line")
    return addresses


def _read_yaml(text: str) -> Any:
    """Parse YAML rows; aliases and deep nesting are refused.

    A few nested aliases stand for billions of entries, and deep nesting overflows the stack of the fast parser.
    """
    if len(text) > MAX_YAML_BYTES:
        raise yaml.YAMLError(f"over {MAX_YAML_BYTES} characters; write so long a list as JSONL or Parquet")
    loader, depth = getattr(yaml, "CSafeLoader", yaml.SafeLoader), 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > MAX_YAML_DEPTH:
            raise yaml.YAMLError(f"aliases (*name), and more than {MAX_YAML_DEPTH} levels, are not read")
    return yaml.load(text, Loader=loader)  # noqa: S506 - both are safe loaders


def _read_parquet(path: Path) -> list[Any]:
    with open_parquet(path) as file:
        if file.metadata.num_rows > MAX_SOURCES:
            raise ManifestError(f"{path} has {file.metadata.num_rows} rows, at most {MAX_SOURCES} are read; split it")
        check_columns(file.schema_arrow.names, str(path))
        return file.read().to_pylist()


def check_columns(names: Sequence[str], where: str) -> None:
    """Raises ManifestError for columns that no source has, or that stand twice, be it under another name."""
    named = [ALIASES.get(name, name) for name in names]
    unknown = set(named) - _COLUMNS
    if unknown:
        raise ManifestError(f"{where}: unknown columns {short(sorted(unknown))}; known are {', '.join(SOURCE.names)}")
    if len(set(named)) < len(named):
        raise ManifestError(f"{where}: a column stands twice among {short(named)}")


def short(value: Any) -> str:
    """A value shortened for a message; it may be a million characters long or nested a thousand times."""
    return str(value)[:500] if isinstance(value, Exception) else reprlib.repr(value)
