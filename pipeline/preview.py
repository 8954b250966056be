"""List what a run would fetch, and how much of it there is. Nothing is fetched.

    python -m pipeline.preview --manifest M [--out FILE.jsonl] [key=value ...]

Playlists, user pages and searches are expanded. FILE gets one line per source: title, length, format and size, or the
reason why there is nothing to fetch.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.job.manifest import read_manifest
from pipeline.job.plan import STAGES
from pipeline.job.sources import expand, spread_hosts
from pipeline.job.step import Runner
from pipeline.job.tombstones import Gatekeeper
from pipeline.rules.config import Config, load_config
from pipeline.show.text import printable
from stages.core.command import command, make_console, make_parser
from stages.core.reasons import DropReason
from stages.core.records import Row
from stages.core.storage import as_path, write_text
from stages.core.weights import WeightStore
from stages.crawl import Crawler, Gate, HostGate, check_crawl_config

NUM_THREADS = 16
"""Number of threads, which wait for sites; the gate limits how many ask one host."""
_COLUMNS = ("source_id", "uri", "parent_id", "platform", "title", "uploader", "duration_s", "format_id", "num_bytes")


def preview(
    sources: list[Row], config: Config, weights: WeightStore, out: Path | None = None, gate: Gate | None = None
) -> Iterator[Row]:
    """Every source and every entry of a listing, with what its site reports.

    Args:
        out: data set whose forgotten sources are left out.
    Yields:
        Rows with `title`, `duration_s`, `format_id`, `num_bytes` as far as known, or `fault_reason` and `fault_detail`;
        listings have the reason LISTING, and sources that the policy refuses a `drop_reason`.
    """
    here = Path()  # nothing is written
    crawler = Crawler(config.crawl, here, gate or HostGate(config.crawl))
    wanted = Gatekeeper(crawler.look, out) if out is not None else crawler.look
    look = replace(STAGES[0], build=lambda _config, _weights, _out: wanted)
    runner = Runner((look,), config, weights, here, lambda _event: None)
    known: dict[str, Row] = {}
    while sources:
        known |= {source["source_id"]: source for source in sources}
        seen: list[Row] = []
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            for rows in pool.map(lambda source: list(runner.run(source)), spread_hosts(sources)):
                seen += rows
                yield from rows
        sources = expand(seen, known)


def print_totals(rows: list[Row], console: Console) -> None:
    """Print totals of what can be fetched, by platform, and of what cannot, by reason."""
    table = Table(title="What would be fetched", title_justify="left", show_edge=False, pad_edge=False)
    for name in ("platform", "sources", "hours", "GB", "of unknown size", "not to be had"):
        table.add_column(name, justify="left" if name in ("platform", "not to be had") else "right")
    by_platform: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_platform[row.get("platform", "web")].append(row)
    for platform, members in [*sorted(by_platform.items()), ("all", rows)]:
        wanted = [row for row in members if _refusal(row) is None]
        hours = sum(row.get("duration_s") or 0.0 for row in wanted) / 3600
        num_bytes = sum(row.get("num_bytes") or 0 for row in wanted)
        unknown = sum(row.get("num_bytes") is None for row in wanted)
        reasons = Counter(reason for row in members if (reason := _refusal(row)) is not None)
        not_to_be_had = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common())
        table.add_row(platform, str(len(wanted)), f"{hours:.2f}", f"{num_bytes / 1e9:.3f}", str(unknown), not_to_be_had)
    console.print(table)


def _refusal(row: Row) -> str | None:
    """Why a source would not be fetched: a fault, or what the policy says of its row in the manifest."""
    return row.get("fault_reason") or row.get("drop_reason")


def _detail(row: Row) -> str:
    return row.get("fault_detail") or row.get("drop_detail") or ""


def as_line(row: Row) -> str:
    facts = {column: row[column] for column in _COLUMNS if row.get(column) is not None}
    fault = {"reason": reason, "detail": _detail(row)} if (reason := _refusal(row)) else {}
    return json.dumps(facts | fault, ensure_ascii=False)


def show(found: Iterator[Row], console: Console, listing: Path | None = None) -> None:
    """Print what a preview yields, line by line, then the totals; `listing` gets the lines as JSON."""
    rows: list[Row] = []
    for row in found:
        rows.append(row)
        length = f"{row['duration_s']:.0f} s" if row.get("duration_s") else "? s"
        size = f"{row['num_bytes'] / 1e6:.1f} MB" if row.get("num_bytes") else "? MB"
        text = f"{length}  {size}  {row.get('format_id') or '-'}  {row.get('title') or ''}"
        if reason := _refusal(row):
            text = f"{reason}: {(_detail(row).splitlines() or [''])[-1]}"
        console.print(f"{row['source_id']}  {printable(text, ' ')}", highlight=False, markup=False, soft_wrap=True)
    print_totals(rows, console)
    if any(row.get("fault_reason") == DropReason.RATE_LIMITED for row in rows):
        console.print("Some sites asked us to slow down: raise crawl.host_interval_s, or try again later.")
    if listing is not None:
        write_text(listing, "".join(as_line(row) + "\n" for row in rows))
        console.print(f"Listed in {listing}", highlight=False, markup=False, soft_wrap=True)


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m pipeline.preview", __doc__)
    parser.add_argument("--manifest", type=as_path, required=True, help="a list of sources, or a folder of media")
    parser.add_argument("--out", type=as_path, help="JSON lines, one per source")
    parser.add_argument("--config", type=Path, help="YAML with any of the keys of a run's configuration")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. crawl.cookies_file=cookies.txt")
    args = parser.parse_args(arguments)
    config = load_config([args.config] if args.config else [], args.overrides)
    check_crawl_config(config.crawl)
    found = preview(read_manifest(args.manifest), config, WeightStore.from_environment())
    show(found, make_console(), args.out)


if __name__ == "__main__":
    raise SystemExit(main())
