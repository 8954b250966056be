"""Lists of sources: YAML, CSV, JSONL, Parquet, plain text with a URL a line, or simply a folder of media files."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yt_dlp.utils import MEDIA_EXTENSIONS

from pipeline.lists.formats import ALIASES, ManifestError, Numbered, check_columns, read_list, short
from stages.core.records import Row
from stages.core.spans import read_spans
from stages.core.storage import (
    BUCKETS,
    Forbidden,
    UnknownStorage,
    as_path,
    is_dir,
    is_file,
    is_remote,
    protocol_of,
    walk_files,
)
from stages.crawl import host_of, is_search, without_password
from stages.crawl import is_remote as is_online
from stages.crawl.links import (
    Unclear,
    canonical,
    find_addresses,
    is_bare,
    looks_remote,
    path_of_file_address,
    platform_of_host,
    same_video,
    trimmed,
)

MEDIA_SUFFIXES = frozenset({*MEDIA_EXTENSIONS.video, "m2ts", "mpeg", "mts", "rmvb", "ts", "vob"})
_NARROW_SPANS = str.maketrans("；，：－", ";,:-")


def read_manifest(path: Path) -> list[Row]:
    """Source rows, with absolute local paths or addresses and a unique `source_id` each; one row a video.

    Raises:
        ManifestError: no such file, unknown format or column, a row without `uri`, an address that is not clear, rows
            that contradict each other, or no source at all.
    """
    folder, unit = is_dir(path), "source"
    if folder:
        entries = _read_folder(path)
    elif is_file(path):
        unit, entries = read_list(path)
    else:
        raise ManifestError(f"no such manifest: {path}")
    if not entries:
        raise ManifestError(f"{path} lists no source")
    base = (path if folder else path.parent).resolve()
    return _one_a_video(path, [_source(entry, base, f"{path}, {unit} {number}", folder) for number, entry in entries])


@dataclass(frozen=True)
class _Listed:
    """A source row, where it stands, and whether it has a name of its own."""

    row: Row
    where: str
    named: bool

    def rank(self) -> tuple[bool, bool]:
        """Which of the rows of one video is kept: the lowest."""
        return not self.named, self.row["uri"].endswith("?p=1")  # without a part it stands for all parts


def _one_a_video(path: Path, listed: list[_Listed]) -> list[Row]:
    """The rows without those that repeat a video; rows with names of their own are all kept."""
    kept: dict[str, _Listed] = {}
    by_video: dict[str, str] = {}
    for new in listed:
        uri = new.row["uri"]
        video = same_video(uri).removesuffix("?p=1") if is_url(uri) else uri
        old = kept.get(by_video.get(video, ""))
        name = new.row["source_id"]
        if old is not None and not (old.named and new.named and old.row["source_id"] != name):
            told = {*old.row, *new.row} - {"uri", "source_id"}
            columns = sorted(column for column in told if old.row.get(column) != new.row.get(column))
            if columns:
                raise ManifestError(
                    f"{new.where}: the same video as in {old.where.removeprefix(f'{path}, ')}, with another "
                    f"{', '.join(columns)}; remove one of the two, or give each a source_id of its own"
                )
            if new.rank() >= old.rank():
                continue
            del kept[old.row["source_id"]]
        if name in kept:
            other = kept[name].row["uri"]
            raise ManifestError(f"{path}: source_id {name!r} stands twice ({other} and {uri})")
        kept[name], by_video[video] = new, name
    return [one.row for one in kept.values()]


def is_url(uri: str) -> bool:
    """Whether a source is fetched: an http(s) address or a search such as `bilisearch10:口型`; else it is a path."""
    return is_online(uri)


def missing_files(sources: list[Row]) -> list[str]:
    """Local paths at which no file can be found; their sources will end in the ledger as unavailable."""
    paths = (s["uri"] for s in sources if not is_url(s["uri"]) and protocol_of(s["uri"]) is None)
    return [path for path in paths if not is_there(path)]


def is_there(uri: str) -> bool:
    """Whether a file lies at a path or in a bucket; a URL has to be tried."""
    protocol = protocol_of(uri)
    if protocol is None:
        return os.path.isfile(uri)  # noqa: PTH113 - never raises
    try:
        return protocol in BUCKETS and is_file(as_path(uri))
    except Forbidden:
        return False


def _read_folder(folder: Path) -> Numbered:
    def stop(error: OSError) -> None:
        raise ManifestError(f"folder {folder} cannot be read: {error}") from error

    if is_remote(folder):
        files = [Path(name) for name in walk_files(folder)]
    else:
        walk = os.walk(folder, onerror=stop)
        files = sorted(Path(parent, name).relative_to(folder) for parent, _, names in walk for name in names)
    media = [p for p in files if p.suffix.lower().removeprefix(".") in MEDIA_SUFFIXES]
    if not media:
        raise ManifestError(f"folder {folder} holds no media file (of {len(files)} files)")
    return [(number, {"uri": str(p)}) for number, p in enumerate(media, start=1)]


def platform_of(uri: str) -> str:
    """Platform of a URL, by its domain; `web` for a search, the kind of store for an object in a bucket."""
    if not is_url(uri):
        return protocol_of(uri) or "local"
    return platform_of_host(host_of(uri)) or "web"


def _is_absent(value: Any) -> bool:
    """Whether a cell is empty: none, blank, or not a number, as pandas writes what is missing."""
    return value is None or value != value or (isinstance(value, str) and not trimmed(value))  # noqa: PLR0124 - NaN


def _source(entry: Any, base: Path, where: str, is_path: bool) -> _Listed:
    if isinstance(entry, str):
        entry = {"uri": entry}
    if not isinstance(entry, dict):
        raise ManifestError(f"{where}: expected a URL, a path or a mapping, got {short(entry)}")
    given = [(ALIASES.get(str(key), str(key)), value) for key, value in entry.items() if not _is_absent(value)]
    check_columns([name for name, _ in given], where)
    row = dict(given)
    if "uri" not in row:
        raise ManifestError(f"{where}: no uri")
    spans, span_names = row.pop("spans", None), row.pop("span_names", None)
    tags = row.pop("tags", [])
    tags = re.split(r"[;,；，、]\s*", tags) if isinstance(tags, str) else tags
    if not isinstance(tags, list):
        raise ManifestError(f"{where}: tags must be a list or text, got {short(tags)}")
    row = dict[str, Any]((key, _text(value, f"{where}: {key}")) for key, value in row.items())
    row = {key: value if key in ("uri", "source_id") else trimmed(value) for key, value in row.items()}
    row["tags"] = [trimmed(_text(tag, f"{where}: tags")) for tag in tags if not _is_absent(tag)]
    uri, row["uri"] = (row["uri"], _path(row["uri"], base)) if is_path else _place(row["uri"], base, where)
    _text(row["uri"], f"{where}: uri")  # escapes may stand for any bytes
    is_named = "source_id" in row
    row.setdefault("platform", platform_of(row["uri"]))
    row.setdefault("source_id", id_of(without_password(uri)))
    row["source_id"] = re.sub(r"[^\w.-]+", "_", row["source_id"])
    if spans is not None:
        try:
            spans = spans.translate(_NARROW_SPANS) if isinstance(spans, str) else spans
            found = read_spans(spans, span_names, row["source_id"])
        except ValueError as error:
            raise ManifestError(f"{where}: spans: {error}") from error
        row["spans"] = [[start_s, end_s] for start_s, end_s, _ in found]
        row["span_names"] = [_text(name, f"{where}: span_names") for _, _, name in found]
    elif span_names is not None:
        raise ManifestError(f"{where}: span_names without spans")
    return _Listed(row, where, is_named)


def _place(text: str, base: Path, where: str) -> tuple[str, str]:
    """What a cell names: the text that a name is made of, and the address or absolute path.

    Raises:
        ManifestError: no one address, or one that may as well be a path.
    """
    cell = trimmed(text)
    if is_search(cell):
        return text, cell
    protocol = protocol_of(cell)
    if protocol in BUCKETS:
        try:
            return text, str(as_path(cell))
        except UnknownStorage as error:
            raise ManifestError(f"{where}: {error}") from error
    try:
        if re.match(r"file:/", cell, re.IGNORECASE):
            literal = _path(cell, base)
            return text, literal if is_there(literal) else path_of_file_address(cell)
        found = _found(cell, base)
    except Unclear as error:
        raise ManifestError(f"{where}: {error}") from error
    if found is not None:
        spelled = found if is_url(found) else canonical(found)
        return spelled, canonical(found)
    if protocol is not None:
        raise ManifestError(
            f"{where}: {protocol}:// is not supported ({without_password(cell)}); a source is http(s)://, a search, "
            f"a path, or lies in a bucket ({', '.join(sorted(BUCKETS))})"
        )
    exact = cell != text and is_there(_path(text, base))
    return text, _path(text if exact else cell, base)


def _found(cell: str, base: Path) -> str | None:
    """The address in a cell; None for a path.

    Raises:
        Unclear: several, or a path as well.
    """
    addresses = find_addresses(cell)
    has_scheme = re.search(r"https?[:：][/／]{2}", cell, re.IGNORECASE) is not None
    if not has_scheme and re.match(r"\.{0,2}/(?!/)", cell):
        return None
    if not addresses:
        if looks_remote(cell) and not is_there(_path(cell, base)):
            raise Unclear(f"{cell[:80]!r} is no address and no file; write https://... or, for a path, ./...")
        return None
    if not has_scheme and is_there(_path(cell, base)):
        if is_bare(cell):
            raise Unclear(f"{cell[:80]!r} is an address and a file; write https://... or, for the file, ./...")
        return None
    if not has_scheme and not is_bare(cell) and Path(cell).suffix[1:].lower() in MEDIA_SUFFIXES:
        return None
    if len({same_video(address) for address in addresses}) > 1:
        raise Unclear(f"{len(addresses)} addresses in one cell ({short(addresses)}); give each a row of its own")
    address = addresses[0]
    if has_scheme and platform_of(canonical(address)) == "web" and cell.startswith(address) and cell != address:
        if re.search(r"\s|[，。、；！？（）【】《》]", cell):
            raise Unclear(
                f"it is not clear where the address in {cell[:80]!r} ends; write it alone, with %20 for blanks"
            )
        return cell
    return address


def _path(text: str, base: Path) -> str:
    path = as_path(text)
    return str(path if path.is_absolute() else base / str(path))


def _text(value: Any, where: str) -> str:
    """A scalar as text. YAML reads a bare `no` as false, so a truth value is never what was meant."""
    if isinstance(value, bool | list | dict | bytes):
        raise ManifestError(f"{where} must be text, in quotes if need be; got {short(value)}")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ManifestError(f"{where} {short(text)} is not valid UTF-8; rename it") from error
    return text


def id_of(uri: str) -> str:
    """A readable name, made unique by the address: `clip-1f3a9c2e`."""
    stem = re.sub(r"[^\w]+", "-", Path(uri.split("?", maxsplit=1)[0]).stem).strip("-")[:60]
    return f"{stem}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}"
