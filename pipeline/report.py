"""Write the report: one page of what a run kept, what it dropped and why.

    python -m pipeline.report --out DIR

reads DIR's ledger, statistics and configuration and writes DIR/report.html. The page needs and allows no network: its
security policy admits only its own scripts, by hash. Titles come from strangers and are shown as text.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.show.page import write_report
from stages.core.command import command, make_parser
from stages.core.storage import as_path


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m pipeline.report", __doc__)
    parser.add_argument("--out", required=True, help="folder of a run, or s3://bucket/folder")
    args = parser.parse_args(arguments)
    print(write_report(as_path(args.out)))


if __name__ == "__main__":
    raise SystemExit(main())
