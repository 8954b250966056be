"""From listings to sources: what a playlist, page or search was expanded to becomes rows of the next round."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest

from pipeline.job.manifest import id_of
from stages.core.reasons import DropReason
from stages.core.records import Row
from stages.crawl import host_of

MAX_DEPTH = 3
"""Listings within listings: a user page of playlists of multi-part videos. Deeper is a trap for crawlers."""
_INHERITED = ("platform", "licence", "consent", "speaker_id", "declared_language", "tags")


def entries_of(listing: Row) -> list[Row]:
    """Source rows of a crawled listing; they say of themselves what the manifest said of the listing."""
    inherited = {column: listing[column] for column in _INHERITED if listing.get(column) is not None}
    return [
        inherited | {"source_id": id_of(uri), "uri": uri, "parent_id": listing["source_id"]}
        for uri in listing.get("entries") or ()
    ]


def expand(rows: Iterable[Row], known: Mapping[str, Row]) -> list[Row]:
    """The sources that a round has found, each address once.

    Args:
        rows: crawled rows of any kind; only listings are looked at.
        known: all sources so far, by id; what they name is not named again, so that lists that name each other end.
    """
    seen = {row["uri"] for row in known.values()}
    found: list[Row] = []
    for row in rows:
        if row.get("fault_reason") != DropReason.LISTING or _depth(row, known) >= MAX_DEPTH:
            continue
        for entry in entries_of(row):
            if entry["uri"] not in seen and entry["source_id"] not in known:
                seen.add(entry["uri"])
                found.append(entry)
    return found


def _depth(row: Row, known: Mapping[str, Row]) -> int:
    """Listings on the way from the manifest to a row, itself included."""
    depth = 1
    while depth < MAX_DEPTH and (parent := known.get(row.get("parent_id") or "")) is not None:
        row, depth = parent, depth + 1
    return depth


def spread_hosts(sources: Iterable[Row]) -> list[Row]:
    """The same sources with the hosts in turn, so that workers do not all wait for one of them."""
    by_host: dict[str, list[Row]] = defaultdict(list)
    for source in sources:
        by_host[host_of(source["uri"])].append(source)
    return [source for source in chain.from_iterable(zip_longest(*by_host.values())) if source is not None]
