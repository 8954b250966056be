"""Cost of each record in each stage, over a folder of videos: the distributions for `benchmarks.scale`.

    python -m benchmarks.stages --manifest FOLDER --out events.jsonl [policy.key=value ...]

All stages run in this process, on one thread each, without Ray. Times are CPU seconds, so that other load matters less.
Sources are run without being counted until every stage has loaded its models.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import torch

from pipeline.job.manifest import read_manifest
from pipeline.job.plan import STAGE_NAMES, STAGES
from pipeline.job.step import Event, Runner
from pipeline.rules.config import load_config
from stages.core.command import command, make_parser
from stages.core.weights import WeightStore


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.stages", __doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    sources = read_manifest(args.manifest)
    with tempfile.TemporaryDirectory() as folder, args.out.open("w", encoding="utf-8") as file:
        events: list[Event] = []
        runner = Runner(
            STAGES, load_config([], args.overrides), WeightStore.from_environment(), Path(folder), events.append
        )
        numbers = {source["source_id"]: number for number, source in enumerate(sources)}
        for source in sources:
            if {event.stage for event in events} == set(STAGE_NAMES):
                break
            for _ in runner.run(source):
                pass
        for source in sources:
            events.clear()
            num_bytes = sum(_payload_bytes(row) for row in runner.run(source))
            length_s = max((event.hours * 3600 for event in events), default=0.0)
            described = [asdict(event) | {"source_id": numbers[source["source_id"]]} for event in events]
            file.write(json.dumps({"length_s": length_s, "row_bytes": num_bytes, "events": described}) + "\n")
            file.flush()


def _payload_bytes(row: dict) -> int:
    lists = [row[key] for key in ("face_jpeg", "depth") if key in row]
    arrays = [row[key].nbytes for key in ("whisper", "landmarks", "audio_pcm16") if key in row]
    return sum(len(item) for items in lists for item in items) + sum(arrays)


if __name__ == "__main__":
    raise SystemExit(main())
