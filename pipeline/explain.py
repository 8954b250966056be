"""Say why a clip was kept or dropped: each measurement beside its threshold.

    python -m pipeline.explain --out DIR CLIP [--picture FILE.png] [policy.key=value ...]

CLIP is a `row_id` of the ledger. For a `source_id` every row is printed in a line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.rules.config import stored_config
from pipeline.show.findings import Explanation, UnknownClip, explain, facts, other_measurements, verdict_text
from pipeline.show.text import printable
from stages.core.command import command, make_console, make_parser
from stages.core.records import Row
from stages.core.storage import as_path

if TYPE_CHECKING:
    from rich.console import Console


def print_explanation(explanation: Explanation, console: Console) -> None:
    """Print the facts about a row, every rule in the plan's order, and the other measurements."""
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 2))
    for name, text in facts(explanation):
        head.add_row(Text(name, style="dim"), Text(text))
    console.print(head)
    table = Table(title="Every check, in order", title_justify="left", show_edge=False, pad_edge=False)
    for name, width in (("stage", 8), ("measured", 27), ("", 16), ("threshold", 9), ("margin", 16), ("", None)):
        justify = "right" if name == "margin" else "left"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis", max_width=width)
    shown = [finding for finding in explanation.findings if finding.state != "not measured"]
    for finding in shown:
        style = {"passes": None, "fails": "red", "decides": "bold red"}[finding.state]
        margin = "" if finding.margin is None else f"{finding.margin:+.3g}"
        if finding.share is not None:
            margin += f" ({finding.share:+.0%})"
        end = "" if finding.state == "passes" else f"{finding.state}: {finding.reason}"
        cells = (finding.stage, finding.name, finding.value, finding.limit, margin, end)
        if finding.is_condition:
            cells = ("", f"where {finding.name}", finding.value, finding.limit, "", "")
        table.add_row(*(Text(printable(cell)) for cell in cells), style=style)
    console.print(table)
    unmeasured = dict.fromkeys(f.name for f in explanation.findings if f not in shown and not f.is_condition)
    if unmeasured:
        console.print(f"Not measured: {', '.join(unmeasured)}.", highlight=False)
    for stage, text in other_measurements(explanation.row).items():
        console.print(Text(f"{stage}: {text}"))
    versions = json.loads(explanation.row.get("versions", "{}"))
    console.print(Text("made by " + ", ".join(f"{name} {_version(value)}" for name, value in versions.items())))


def _version(value: object) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)


def print_rows(rows: list[Row], console: Console) -> None:
    """Print one line for each row of a source."""
    for row in rows:
        console.print(f"{row['row_id']}  {printable(verdict_text(row))}", highlight=False, markup=False, soft_wrap=True)


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m pipeline.explain", __doc__)
    parser.add_argument("--out", required=True, help="folder of a run, or s3://bucket/folder")
    parser.add_argument("--picture", type=Path, help="PNG to draw: frames with the measurements beside them")
    parser.add_argument("clip", help="row_id or source_id of the ledger")
    parser.add_argument("overrides", nargs="*", metavar="policy.key=value", help="judge by another policy")
    args = parser.parse_intermixed_args(arguments)
    out = as_path(args.out)
    explanation = explain(out, args.clip, stored_config(out, args.overrides).policy)
    if isinstance(explanation, list):
        print_rows(explanation, make_console())
        if args.picture:
            raise UnknownClip(f"{args.clip} has {len(explanation)} rows; name one of them for a picture")
        return
    print_explanation(explanation, make_console())
    if args.picture:
        from pipeline.show.picture import draw_picture

        draw_picture(out, explanation, args.picture)
        print(f"Drawn in {args.picture}")


if __name__ == "__main__":
    raise SystemExit(main())
