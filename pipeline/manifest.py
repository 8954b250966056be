"""Lists of sources: YAML, CSV, JSONL, Parquet, or simply a folder of media files."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from yt_dlp.utils import MEDIA_EXTENSIONS

from pipeline.records import SOURCE, Row
from stages.crawl import is_remote

MEDIA_SUFFIXES = frozenset({*MEDIA_EXTENSIONS.video, "m2ts", "mpeg", "mts", "rmvb", "ts", "vob"})
_ALIASES = {"language": "declared_language", "url": "uri", "path": "uri", "id": "source_id"}


class ManifestError(Exception):
    """A manifest that cannot be used; the message names the row and the way out."""


def read_manifest(path: Path) -> list[Row]:
    """Source rows, with absolute local paths and a unique `source_id` each.

    Raises:
        ManifestError: no such file, unknown format or column, a row without `uri`, a repeated id, or no source at all.
    """
    if path.is_dir():
        rows = _read_folder(path)
    elif path.is_file():
        rows = _read_list(path)
    else:
        raise ManifestError(f"no such manifest: {path}")
    if not rows:
        raise ManifestError(f"{path} lists no source")
    base = (path if path.is_dir() else path.parent).resolve()
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
    return is_remote(uri)


def _check_scheme(uri: str, where: str) -> None:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", uri)
    if scheme and scheme[1] not in ("http", "https", "file"):
        raise ManifestError(f"{where}: {scheme[1]}:// is not supported; a source is http(s), a search, or a path")


def missing_files(sources: list[Row]) -> list[str]:
    """Local paths at which no file can be found; their sources will end in the ledger as unavailable."""
    return [s["uri"] for s in sources if not is_url(s["uri"]) and not os.path.isfile(s["uri"])]  # noqa: PTH113 - never raises


def _read_folder(folder: Path) -> list[Any]:
    def stop(error: OSError) -> None:
        raise ManifestError(f"folder {folder} cannot be read: {error}") from error

    files = sorted(Path(parent, name) for parent, _, names in os.walk(folder, onerror=stop) for name in names)
    media = [p for p in files if p.suffix.lower().removeprefix(".") in MEDIA_SUFFIXES]
    if not media:
        raise ManifestError(f"folder {folder} holds no media file (of {len(files)} files)")
    return [{"uri": str(p.relative_to(folder)), "platform": "local"} for p in media]


def _read_list(path: Path) -> list[Any]:
    try:
        match path.suffix.lower():
            case ".yaml" | ".yml":
                content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
                rows = content["sources"] if isinstance(content, dict) and "sources" in content else content
                if rows is not None and not isinstance(rows, list):
                    raise ManifestError(f"{path} must hold a list of sources, or a mapping with the key 'sources'")
                return rows or []
            case ".csv":
                with path.open(newline="", encoding="utf-8-sig") as file:
                    return list(csv.DictReader(file, restkey="(cells without a heading)"))
            case ".jsonl":
                lines = path.read_text(encoding="utf-8-sig").split("\n")
                return [json.loads(line) for line in lines if line.strip()]
            case ".parquet":
                return pq.read_table(path).to_pylist()
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
    _check_scheme(uri, where)
    if not is_url(uri):
        row["uri"] = str(base / uri.removeprefix("file://"))
    row.setdefault("platform", "web" if is_url(uri) else "local")
    row.setdefault("source_id", id_of(uri))
    row["source_id"] = re.sub(r"[^\w.-]+", "_", row["source_id"])
    return row


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


def id_of(uri: str) -> str:
    """A readable name, made unique by the address: `clip-1f3a9c2e`."""
    stem = re.sub(r"[^\w]+", "-", Path(uri.split("?", maxsplit=1)[0]).stem).strip("-")[:60]
    return f"{stem}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}"
