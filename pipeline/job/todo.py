"""The sources that a run measures, and those that it measures again."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from pipeline.job.manifest import is_there, is_url
from pipeline.job.parts import Parts
from pipeline.job.plan import STAGE_NAMES
from pipeline.job.sources import expand
from pipeline.rules.config import Config
from pipeline.rules.judge import judge, verdicts
from pipeline.rules.policy import decide
from stages.core.reasons import TRANSIENT_REASONS, UNKNOWN_FAULTS, DropReason, Verdict
from stages.core.records import SOURCE, Row


@dataclass(frozen=True)
class Todo:
    """The work of a run.

    Args:
        sources: sources to measure, including those that an earlier run found in listings.
        known: all sources by id, including those that are done.
        num_done: number of sources that need no more work.
        num_again: number of `sources` that an earlier run has measured.
    """

    sources: list[Row]
    known: dict[str, Row]
    num_done: int
    num_again: int


def find_todo(sources: list[Row], parts: Parts, config: Config) -> Todo:
    """The sources of a manifest and of its listings that the parts lack."""
    known = with_listed(sources, parts)
    done, again = wanted_sources(list(known.values()), parts, config)
    return Todo([source for name, source in known.items() if name not in done], known, len(done), len(again))


def wanted_sources(sources: list[Row], parts: Parts, config: Config) -> tuple[set[str], set[str]]:
    """Ids of the sources that need no more work, and of those to measure again.

    A source is measured again if the policy now keeps a row that it dropped, if its licence or consent is now
    sufficient, or if its fault may be gone: an unknown error, a site that could not be reached, a file that has another
    address or exists now.
    """
    measured = parts.ledger.select(["source_id", "uri", "fault_reason"])
    decided = verdicts(parts.ledger, judge(parts.ledger, config.policy, STAGE_NAMES), config.policy, STAGE_NAMES)
    for name in ("verdict", "drop_reason"):
        measured = measured.append_column(name, decided[name])
    rows = measured.to_pylist()
    listed = {source["source_id"]: source for source in sources}
    known = [row for row in rows if row["source_id"] in listed]
    again = {row["source_id"] for row in known if _is_wanted(row, listed[row["source_id"]], config)}
    return {row["source_id"] for row in known} - again, again


def _is_wanted(row: Row, source: Row, config: Config) -> bool:
    return (
        row["verdict"] == Verdict.PENDING
        or _allowed_since(row, source, config)
        or _may_be_gone(row, source["uri"], config)
    )


def _allowed_since(row: Row, source: Row, config: Config) -> bool:
    """Whether a row was dropped for its licence or consent, and the manifest now names a sufficient one."""
    refusals = (DropReason.LICENCE, DropReason.CONSENT)
    if row["drop_reason"] not in refusals:
        return False
    return decide(source | {"last_stage": STAGE_NAMES[0]}, config.policy, STAGE_NAMES)["drop_reason"] not in refusals


def _may_be_gone(row: Row, uri: str, config: Config) -> bool:
    fault = row.get("fault_reason")
    if fault == DropReason.LISTING:
        return config.run.list_again
    if fault == DropReason.LOGIN_REQUIRED:
        return config.crawl.cookies_file is not None
    if fault == DropReason.UNAVAILABLE and not is_url(uri):
        return uri != row["uri"] or is_there(uri)
    return fault in UNKNOWN_FAULTS or fault in TRANSIENT_REASONS


def with_listed(sources: list[Row], parts: Parts) -> dict[str, Row]:
    """Sources of the manifest, and those that earlier runs found in its playlists, pages and searches, by id."""
    listings = parts.ledger.filter(pc.field("fault_reason") == str(DropReason.LISTING))
    crawled = {row["source_id"]: row for row in listings.select([*SOURCE.names, "fault_reason", "entries"]).to_pylist()}
    known = {source["source_id"]: source for source in sources}
    found = sources
    while found:
        found = expand([crawled[source["source_id"]] for source in found if source["source_id"] in crawled], known)
        known |= {source["source_id"]: source for source in found}
    return known
