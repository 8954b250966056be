"""Lists of sources: YAML, CSV, JSONL, Parquet, or simply a folder of media files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from yt_dlp.utils import MEDIA_EXTENSIONS

from pipeline.records import SOURCE, Row
from pipeline.storage import (
    BUCKETS,
    Forbidden,
    UnknownStorage,
    as_path,
    is_dir,
    is_file,
    is_remote,
    protocol_of,
    read_table,
    read_text,
    walk_files,
)

MEDIA_SUFFIXES = frozenset({*MEDIA_EXTENSIONS.video, "m2ts", "mpeg", "mts", "rmvb", "ts", "vob"})
_ALIASES = {"language": "declared_language", "url": "uri", "path": "uri", "id": "source_id"}


class ManifestError(Exception):
    """A manifest that cannot be used; the message names the row and the way out."""


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
    return re.match(r"https?://", uri) is not None


def missing_files(sources: list[Row]) -> list[str]:
    """Local paths at which no file can be found; their sources will end in the ledger as unavailable."""
    return [s["uri"] for s in sources if protocol_of(s["uri"]) is None and not is_there(s["uri"])]


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
        match path.suffix.lower():
            case ".yaml" | ".yml":
                content = yaml.safe_load(read_text(path, "utf-8-sig"))
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
            case ".parquet":
                return read_table(path).to_pylist()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error
    except (yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        raise ManifestError(f"{path} is not valid {path.suffix[1:].upper()}: {error}") from error
    raise ManifestError(f"{path}: a manifest is .yaml, .csv, .jsonl, .parquet or a folder, not {path.suffix!r}")


def _source(entry: Any, base: Path, where: str) -> Row:
    if isinstance(entry, str):
        entry = {"uri": entry}
    if not isinstance(entry, dict):
        raise ManifestError(f"{where}: expected a URL, a path or a mapping, got {entry!r}")
    row = {_ALIASES.get(str(key), str(key)): value for key, value in entry.items() if value not in (None, "")}
    unknown = row.keys() - set(SOURCE.names)
    if unknown:
        raise ManifestError(f"{where}: unknown columns {sorted(unknown)}; known are {', '.join(SOURCE.names)}")
    if "uri" not in row:
        raise ManifestError(f"{where}: no uri")
    tags = row.pop("tags", [])
    tags = re.split(r"[;,]\s*", tags) if isinstance(tags, str) else tags
    if not isinstance(tags, list):
        raise ManifestError(f"{where}: tags must be a list or text, got {tags!r}")
    row = dict[str, Any]((key, _text(value, f"{where}: {key}")) for key, value in row.items())
    row["tags"] = [_text(tag, f"{where}: tags") for tag in tags]
    uri = row["uri"]
    if not is_url(uri):
        row["uri"] = _address(uri, base, where)
    row.setdefault("platform", "web" if is_url(uri) else protocol_of(row["uri"]) or "local")
    row.setdefault("source_id", _id_of(uri))
    row["source_id"] = re.sub(r"[^\w.-]+", "_", row["source_id"])
    return row


def _address(uri: str, base: Path, where: str) -> str:
    """An absolute path, or the address of an object in a bucket."""
    protocol = protocol_of(uri)
    if protocol is None:
        path = as_path(uri)
        return str(path if path.is_absolute() else base / str(path))
    if protocol not in BUCKETS:
        raise ManifestError(
            f"{where}: {uri}: media are read from http(s)://, a path or {', '.join(sorted(BUCKETS))}://"
        )
    try:
        return str(as_path(uri))
    except UnknownStorage as error:
        raise ManifestError(f"{where}: {error}") from error


def _text(value: Any, where: str) -> str:
    """A scalar as text. YAML reads a bare `no` as false, so a truth value is never what was meant."""
    if isinstance(value, bool | list | dict):
        raise ManifestError(f"{where} must be text, in quotes if need be; got {value!r}")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ManifestError(f"{where} {text!r} is not valid UTF-8; rename it") from error
    return text


def _id_of(uri: str) -> str:
    """A readable name, made unique by the address: `clip-1f3a9c2e`."""
    stem = re.sub(r"[^\w]+", "-", Path(uri.split("?", maxsplit=1)[0]).stem).strip("-")[:60]
    return f"{stem}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}"
