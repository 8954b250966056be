"""Train the lip-sound expert on shards, and measure it on people left out.

    python -m model.sync --data OUT/shards [OUT/parts ...] [--out stages/lipsync/lip_sound.npz] [--report report.json]

The delay of a training video's sound is unknown, up to 200 ms. So the expert is trained, estimates the delay of every
source, and is trained again with the sources moved by their delays. The absolute zero is unknown: the median of the
sources is taken for it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from model.lip_expert.fit import Features, SyncTrainConfig, chance_of, read_takes, train
from stages.core.command import command, make_parser
from stages.lipsync.lip_sound import EMBEDDED


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m model.sync", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of shards or parts")
    parser.add_argument("--out", type=Path, default=EMBEDDED)
    parser.add_argument("--report", type=Path, help="write a .json: how it does on people it was not trained on")
    args = parser.parse_args(arguments)
    config = SyncTrainConfig()
    takes = read_takes(args.data, config)
    features = [Features.of(take) for take in takes]
    expert = replace(train(features, config), chance=chance_of(features, config))
    expert.save(args.out)
    print(json.dumps({**expert.made, "chance": round(expert.chance, 4), "bytes": args.out.stat().st_size}))
    if args.report:
        from model.lip_expert.report import report

        args.report.write_text(json.dumps(report(features, config), indent=1), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
