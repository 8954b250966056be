"""The commands that make, judge and change a data set: `python -m pipeline` lists them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stages.core.command import command, run_named


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    run_named("pipeline", sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    raise SystemExit(main())
