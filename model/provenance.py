"""Read what a video says of how it was made.

    python -m model.provenance FILE      what a file says of itself

Marks and tags are for honest users: whoever re-encodes or crops a video can take them out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from model.dubbing.credentials import read_credentials
from model.dubbing.marks import read_comment
from stages.core.command import command, make_parser
from stages.core.storage import local_path


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser("python -m model.provenance", __doc__)
    parser.add_argument("file", type=local_path)
    given = parser.parse_args(arguments)
    made = read_comment(given.file)
    signed = read_credentials(given.file)
    said = {"comment": made, "c2pa": None if signed is None else asdict(signed)}
    print(json.dumps(said, indent=1, ensure_ascii=False))
    if made is None and signed is None:
        print("This file does not say how it was made; that proves nothing.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
