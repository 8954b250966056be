"""A process that has imported the pipeline and forks a child for every file, to say what the child took and became.

    python -m tests.hostile.worker < paths > outcomes     (JSON, one a line)

A child that is killed, by its limits or by a decoder, costs nobody else; what it took is told by the kernel.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from pathlib import Path

from pipeline.job.plan import STAGES
from pipeline.job.step import Runner
from pipeline.rules.config import Config
from pipeline.rules.policy import PolicyConfig
from stages import crawl, hear, probe, scan, track  # noqa: F401 - once, here, rather than in every child
from stages.core.records import ROW
from stages.core.rows import table_from_rows
from stages.core.weights import WeightStore

CPU_LIMIT_S = 60
LENIENT = PolicyConfig(
    min_height_px=16, min_clip_s=0.1, min_speech_s=0.0, min_shot_face_ratio=0.0, min_dnsmos_bak=0.0, min_dnsmos_sig=0.0
)
"""So that a file goes as far as it can."""


def outcomes(uri: str, out: Path) -> list[list[str | None]]:
    """Stage, reason and detail of every row that a source becomes on its way from crawl to track."""
    stages = STAGES[: [stage.name for stage in STAGES].index("track") + 1]
    runner = Runner(stages, Config(policy=LENIENT), WeightStore.from_environment(), out, lambda event: None)
    rows = [
        {name: value for name, value in row.items() if name in ROW.names}
        for row in runner.run({"source_id": "x", "uri": uri, "tags": []})
    ]
    table_from_rows(rows)  # as the stream does: no number may be too large for its column
    return [[row["last_stage"], row.get("drop_reason"), row.get("drop_detail")] for row in rows]


def serve() -> None:
    for line in sys.stdin:
        reader, writer = os.pipe()
        idle_bytes = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with tempfile.TemporaryDirectory() as out, os.fdopen(writer, "w") as file:
                json.dump(outcomes(json.loads(line), Path(out)), file)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as file:
            told = file.read()
        _, status, used = os.wait4(child, 0)
        print(
            json.dumps(
                {
                    "rows": json.loads(told) if told else [],
                    "status": status,
                    "cpu_s": used.ru_utime + used.ru_stime,
                    "peak_bytes": max(0, used.ru_maxrss * 1024 - idle_bytes),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    serve()
