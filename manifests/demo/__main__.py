"""`python -m manifests.demo --out DIR`: make the demo corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from manifests.demo.corpus import RECIPES, make_corpus
from stages.core.command import command, make_parser
from stages.core.weights import WeightStore


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m manifests.demo", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--seconds", type=float, default=6.0, help="usual length of a video (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="of the heads' movements")
    parser.add_argument("--only", nargs="+", choices=list(RECIPES), metavar="NAME", help=", ".join(RECIPES))
    args = parser.parse_args(arguments)
    truths = make_corpus(args.out, WeightStore.from_environment(), args.only, args.seconds, args.seed)
    for truth in truths.values():
        print(f"{truth.name:20} {truth.duration_s:5.1f} s  {truth.reason or 'keep'}")
    print(f"manifest: {args.out / 'manifest.yaml'}")


if __name__ == "__main__":
    raise SystemExit(main())
