"""A manifest by which another user gets the same bytes, or a message that they changed.

    python -m manifests.from_ledger DIR --out M.jsonl

lists the sources of which DIR's data set kept a clip, each with the hash and the format that it was made from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from stages.core.command import UserError, command, make_parser
from stages.core.reasons import Verdict
from stages.core.records import SOURCE, Row
from stages.core.storage import as_path, is_file, read_table, write_text

_EXPECTED = {"sha256": "expect_sha256", "format_id": "expect_format_id"}
_NOT_COPIED = frozenset({*_EXPECTED.values(), "parent_id"})


def kept_sources(ledger: Path) -> list[Row]:
    """Manifest rows of the sources of kept clips, by id.

    Raises:
        UserError: no such ledger, or not a ledger.
    """
    copied = [name for name in SOURCE.names if name not in _NOT_COPIED]
    if not is_file(ledger):
        raise UserError(f"{ledger} is missing: name the folder of a data set")
    try:
        table = read_table(ledger, columns=[*copied, *_EXPECTED, "verdict"])
    except pa.ArrowException as error:
        raise UserError(f"{ledger} is no ledger: {error}") from error
    table = table.filter(pc.field("verdict") == str(Verdict.KEEP)).drop(["verdict"])
    sources: dict[str, Row] = {}
    for row in table.rename_columns([*copied, *_EXPECTED.values()]).to_pylist():
        sources[row["source_id"]] = {str(column): value for column, value in row.items() if value not in (None, [])}
    return [sources[source_id] for source_id in sorted(sources)]


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m manifests.from_ledger", __doc__)
    parser.add_argument("dir", type=as_path, help="folder of a data set, with its ledger.parquet")
    parser.add_argument("--out", type=as_path, required=True, help="manifest to write, .jsonl")
    args = parser.parse_args(arguments)
    sources = kept_sources(args.dir / "ledger.parquet")
    write_text(args.out, "".join(json.dumps(source, ensure_ascii=False) + "\n" for source in sources))
    print(f"{len(sources)} sources in {args.out}")


if __name__ == "__main__":
    raise SystemExit(main())
