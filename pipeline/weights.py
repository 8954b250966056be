"""Fetch and verify model files.

`python -m pipeline.weights` fetches what the embedded defaults need and prints the table; `--all` fetches the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stages.core.command import command, make_parser
from stages.core.weight_files import WEIGHTS
from stages.core.weights import MissingWeights, WeightStore


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser("python -m pipeline.weights", __doc__)
    parser.add_argument("--all", action="store_true", help="also the optional ones: what joygen.yaml wants")
    args = parser.parse_args(arguments)
    store = WeightStore.from_environment()
    problems = []
    for weight in WEIGHTS.values():
        if not (weight.mirrors or (args.all and weight.url) or store.has(weight.name)):
            state = "optional"
        else:
            try:
                store.path(weight.name)
                state = "ok"
            except MissingWeights as error:
                state = "missing"
                problems.append(str(error))
        print(f"{state:8} {weight.name:24} {weight.licence:44} {weight.purpose}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
