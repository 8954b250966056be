"""From listings to sources: the entries of a playlist, page or search become rows of the next round."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest

from pipeline.job.manifest import id_of
from stages.core.reasons import DropReason
from stages.core.records import Row
from stages.crawl import host_of
from stages.crawl.links import canonical, same_video

MAX_DEPTH = 3
"""Largest depth of nested listings: a user page of playlists of multi-part videos. Deeper ones are crawler traps."""
_INHERITED = ("platform", "licence", "consent", "speaker_id", "declared_language", "tags")


def entries_of(listing: Row) -> list[Row]:
    """Source rows of a crawled listing; they inherit the columns that the manifest gives the listing."""
    inherited = {column: listing[column] for column in _INHERITED if listing.get(column) is not None}
    return [
        inherited | {"source_id": id_of(uri), "uri": canonical(uri), "parent_id": listing["source_id"]}
        for uri in listing.get("entries") or ()
    ]


def expand(rows: Iterable[Row], known: Mapping[str, Row]) -> list[Row]:
    """The sources found in a round, each video once.

    Args:
        rows: crawled rows of any kind; only listings are read.
        known: all sources so far, by id; their videos are left out, so lists that name each other end.
    """
    seen = {same_video(row["uri"]) for row in known.values()}
    found: list[Row] = []
    for row in rows:
        if row.get("fault_reason") != DropReason.LISTING or _depth(row, known) >= MAX_DEPTH:
            continue
        for entry in entries_of(row):
            video = same_video(entry["uri"])
            if video not in seen and entry["source_id"] not in known:
                seen.add(video)
                found.append(entry)
    return found


def _depth(row: Row, known: Mapping[str, Row]) -> int:
    """Number of listings from the manifest to a row, including the row."""
    depth = 1
    while depth < MAX_DEPTH and (parent := known.get(row.get("parent_id") or "")) is not None:
        row, depth = parent, depth + 1
    return depth


def spread_hosts(sources: Iterable[Row]) -> list[Row]:
    """The sources ordered with hosts in turn, so that workers do not all wait for one host."""
    by_host: dict[str, list[Row]] = defaultdict(list)
    for source in sources:
        by_host[host_of(source["uri"])].append(source)
    return [source for source in chain.from_iterable(zip_longest(*by_host.values())) if source is not None]
