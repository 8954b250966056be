"""Lists of sources: YAML, CSV, JSONL, Parquet, plain text with a URL a line, or simply a folder of media files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from yt_dlp.utils import MEDIA_EXTENSIONS

from stages.core.command import UserError
from stages.core.records import SOURCE, Row
from stages.core.spans import read_spans
from stages.core.storage import (
    BUCKETS,
    Forbidden,
    UnknownStorage,
    as_path,
    is_dir,
    is_file,
    is_remote,
    open_parquet,
    protocol_of,
    read_text,
    size_of,
    walk_files,
)
from stages.crawl import is_remote as is_online
from stages.crawl import without_password

MEDIA_SUFFIXES = frozenset({*MEDIA_EXTENSIONS.video, "m2ts", "mpeg", "mts", "rmvb", "ts", "vob"})
PLATFORMS = {
    "acfun.cn": "acfun",
    "b23.tv": "bilibili",
    "bilibili.com": "bilibili",
    "bilibili.tv": "bilibili",
    "douyin.com": "douyin",
    "iesdouyin.com": "douyin",
    "ixigua.com": "ixigua",
    "tiktok.com": "tiktok",
    "vimeo.com": "vimeo",
    "weibo.cn": "weibo",
    "weibo.com": "weibo",
    "xiaohongshu.com": "xiaohongshu",
    "xhslink.com": "xiaohongshu",
    "youku.com": "youku",
    "youtu.be": "youtube",
    "youtube.com": "youtube",
}
"""Platform of each domain, with those of short links; any other domain is `web`."""
_URL = re.compile(r"https?://[^\s<>\"'，。、；！？（）【】《》「」“”]+")
MAX_BYTES = 2_000_000_000
"""Largest size of a list; a million sources with all columns take 300 MB."""
MAX_SOURCES = 10_000_000
"""Largest number of sources in a list; a million take 1 GB of memory. Longer lists need several runs."""
MAX_YAML_BYTES = 50_000_000
"""Largest size of a YAML list: half a million sources, which take 2 GB and a minute; JSONL takes a quarter of both."""
MAX_YAML_DEPTH = 20
_COLUMNS = frozenset(SOURCE.names)
_ALIASES = {"language": "declared_language", "url": "uri", "path": "uri", "id": "source_id"}


class ManifestError(UserError):
    """A manifest that cannot be used; the message names the row and the remedy."""


def read_manifest(path: Path) -> list[Row]:
    """Source rows, with absolute local paths or addresses and a unique `source_id` each.

    Raises:
        ManifestError: no such file, unknown format or column, a row without `uri`, a repeated id, or no source at all.
    """
    if is_dir(path):
        rows = _read_folder(path)
    elif is_file(path):
        rows = _read_list(path)
    else:
        raise ManifestError(f"no such manifest: {path}")
    if not rows:
        raise ManifestError(f"{path} lists no source")
    base = (path if is_dir(path) else path.parent).resolve()
    sources = [_source(row, base, f"{path}, source {number}") for number, row in enumerate(rows, start=1)]
    seen: dict[str, str] = {}
    for source in sources:
        name = source["source_id"]
        if name in seen:
            raise ManifestError(f"{path}: source_id {name!r} stands twice ({seen[name]} and {source['uri']})")
        seen[name] = source["uri"]
    return sources


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


def _read_folder(folder: Path) -> list[Any]:
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
    return [{"uri": str(p)} for p in media]


def _read_list(path: Path) -> list[Any]:
    try:
        if (num_bytes := size_of(path)) > MAX_BYTES:
            raise ManifestError(f"{path} has {num_bytes} bytes, at most {MAX_BYTES} are read; split it")
        match path.suffix.lower():
            case ".yaml" | ".yml":
                content = _read_yaml(read_text(path, "utf-8-sig"))
                rows = content["sources"] if isinstance(content, dict) and "sources" in content else content
                if rows is not None and not isinstance(rows, list):
                    raise ManifestError(f"{path} must hold a list of sources, or a mapping with the key 'sources'")
                return rows or []
            case ".csv":
                text = io.StringIO(read_text(path, "utf-8-sig"), newline="")
                return list(csv.DictReader(text, restkey="(cells without a heading)"))
            case ".jsonl":
                lines = read_text(path, "utf-8-sig").split("\n")
                return [json.loads(line) for line in lines if line.strip()]
            case ".txt":
                return _read_addresses(path)
            case ".parquet":
                return _read_parquet(path)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, csv.Error, pa.ArrowException) as error:
        raise ManifestError(f"{path} is not valid {path.suffix[1:].upper()}: {_short(error)}") from error
    raise ManifestError(f"{path}: a manifest is .yaml, .csv, .jsonl, .parquet, .txt or a folder, not {path.suffix!r}")


def _read_addresses(path: Path) -> list[Any]:
    """The distinct addresses of a text, one a line, alone or within the text that an app shares."""
    addresses: dict[str, None] = {}
    for number, line in enumerate(read_text(path, "utf-8-sig").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _URL.search(line)
        if found is None:
            raise ManifestError(f"{path}, line {number}: no address in {line.strip()[:80]!r}")
        addresses[found.group().rstrip(".,;:!?)]")] = None
    return list(addresses)


def platform_of(uri: str) -> str:
    """Platform of a URL, by its domain; `web` for a search, the kind of store for an object in a bucket."""
    if not is_url(uri):
        return protocol_of(uri) or "local"
    host = re.match(r"https?://(?:[^/?#@]*@)?([^/?#:]*)", uri)
    if host is None:
        return "web"
    name = f".{host.group(1).lower()}"
    return next((site for domain, site in PLATFORMS.items() if name.endswith(f".{domain}")), "web")


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
        _check_columns(file.schema_arrow.names, str(path))
        return file.read().to_pylist()


def _check_columns(names: Sequence[str], where: str) -> None:
    """Raises ManifestError for columns that no source has, or that stand twice, be it under another name."""
    named = [_ALIASES.get(name, name) for name in names]
    unknown = set(named) - _COLUMNS
    if unknown:
        raise ManifestError(f"{where}: unknown columns {_short(sorted(unknown))}; known are {', '.join(SOURCE.names)}")
    if len(set(named)) < len(named):
        raise ManifestError(f"{where}: a column stands twice among {_short(named)}")


def _short(value: Any) -> str:
    """A value shortened for a message; it may be a million characters long or nested a thousand times."""
    return str(value)[:500] if isinstance(value, Exception) else reprlib.repr(value)


def _source(entry: Any, base: Path, where: str) -> Row:
    if isinstance(entry, str):
        entry = {"uri": entry}
    if not isinstance(entry, dict):
        raise ManifestError(f"{where}: expected a URL, a path or a mapping, got {_short(entry)}")
    given = [(_ALIASES.get(str(key), str(key)), value) for key, value in entry.items() if value not in (None, "")]
    _check_columns([name for name, _ in given], where)
    row = dict(given)
    if "uri" not in row:
        raise ManifestError(f"{where}: no uri")
    spans, span_names = row.pop("spans", None), row.pop("span_names", None)
    tags = row.pop("tags", [])
    tags = re.split(r"[;,]\s*", tags) if isinstance(tags, str) else tags
    if not isinstance(tags, list):
        raise ManifestError(f"{where}: tags must be a list or text, got {_short(tags)}")
    row = dict[str, Any]((key, _text(value, f"{where}: {key}")) for key, value in row.items())
    row["tags"] = [_text(tag, f"{where}: tags") for tag in tags]
    uri = row["uri"]
    if not is_url(uri):
        row["uri"] = _address(uri, base, where)
    row.setdefault("platform", platform_of(row["uri"]))
    row.setdefault("source_id", id_of(without_password(uri)))
    row["source_id"] = re.sub(r"[^\w.-]+", "_", row["source_id"])
    if spans is not None:
        try:
            found = read_spans(spans, span_names, row["source_id"])
        except ValueError as error:
            raise ManifestError(f"{where}: spans: {error}") from error
        row["spans"] = [[start_s, end_s] for start_s, end_s, _ in found]
        row["span_names"] = [_text(name, f"{where}: span_names") for _, _, name in found]
    elif span_names is not None:
        raise ManifestError(f"{where}: span_names without spans")
    return row


def _address(uri: str, base: Path, where: str) -> str:
    """An absolute path, or the address of an object in a bucket."""
    protocol = protocol_of(uri)
    if protocol is None:
        path = as_path(uri)
        return str(path if path.is_absolute() else base / str(path))
    if protocol not in BUCKETS:
        raise ManifestError(
            f"{where}: {protocol}:// is not supported ({without_password(uri)}); a source is http(s)://, a search, "
            f"a path, or lies in a bucket ({', '.join(sorted(BUCKETS))})"
        )
    try:
        return str(as_path(uri))
    except UnknownStorage as error:
        raise ManifestError(f"{where}: {error}") from error


def _text(value: Any, where: str) -> str:
    """A scalar as text. YAML reads a bare `no` as false, so a truth value is never what was meant."""
    if isinstance(value, bool | list | dict | bytes):
        raise ManifestError(f"{where} must be text, in quotes if need be; got {_short(value)}")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ManifestError(f"{where} {_short(text)} is not valid UTF-8; rename it") from error
    return text


def id_of(uri: str) -> str:
    """A readable name, made unique by the address: `clip-1f3a9c2e`."""
    stem = re.sub(r"[^\w]+", "-", Path(uri.split("?", maxsplit=1)[0]).stem).strip("-")[:60]
    return f"{stem}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}"
