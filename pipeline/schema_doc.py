"""Write docs/schema.md from the code that defines it.

python -m pipeline.schema_doc > docs/schema.md
"""

from __future__ import annotations

import re

import pyarrow as pa

from pipeline.rules.policy import CHECKS
from stages.core.reasons import REASON_TEXT, DropReason
from stages.core.records import (
    AUDIO_RATE_HZ,
    CLIP_FPS,
    CROP_PX,
    DECIDED,
    PAYLOAD,
    ROW,
    SCHEMA_VERSION,
    SHARD_ONLY,
    SOURCE,
    STAGE_COLUMNS,
    VERDICT,
    shard_schema,
)

_ANY_WIDTH = 1


def render() -> str:
    """docs/schema.md as text."""
    shard = shard_schema(_ANY_WIDTH, _ANY_WIDTH)
    hidden = ", ".join(f"`{field.name}`" for field in ROW if field.name not in shard.names)
    parts = [
        "# Columns",
        "Made by `python -m pipeline.schema_doc > docs/schema.md` from `stages/core/records.py`: change it there.",
        f"Schema version {SCHEMA_VERSION}. A row starts as a source (one video file), becomes one row per shot after "
        "`scan` and one per clip after `track`; columns that nothing has measured are null. Clips have "
        f"{CLIP_FPS} frames a second, crops are {CROP_PX} px square, sound is {AUDIO_RATE_HZ} Hz mono.",
        "| file | rows | columns |\n|---|---|---|\n"
        "| `parts/*.parquet` | every row ever measured; later parts supersede earlier ones | all below |\n"
        "| `ledger.parquet` | every source, shot or clip that counts | all but the payload, and "
        f"{', '.join(f'`{name}`' for name in DECIDED.names)} |\n"
        f"| `shards/{{train,val,test}}-*.parquet` | kept clips | all but {hidden} |",
        "## Verdict\n\n" + column_table(VERDICT),
        "## Source, from the manifest\n\n" + column_table(SOURCE),
        *(f"## Measured by `{stage}`\n\n{column_table(schema)}" for stage, schema in STAGE_COLUMNS.items()),
        "## Payload of a clip\n\n" + column_table(PAYLOAD),
        "## Added by finalize\n\n" + column_table(DECIDED),
        "## Added in shards\n\n" + column_table(SHARD_ONLY),
        "In shards the lists of `exp_coeff` have their model's width. `whisper` has bytes (int8) for a step, "
        "one for each number; with `finalize.exact_whisper=true` half floats, and no `whisper_step`. With "
        "`finalize.depth=false` `depth` is left out.",
        "## Drop reasons\n\n" + _reasons(),
    ]
    return "\n\n".join(parts) + "\n"


def _reasons() -> str:
    rows = []
    for reason in DropReason:
        stages = dict.fromkeys(check.stage for check in CHECKS if check.reason == reason)
        judged = ", ".join(f"`{stage}`" for stage in stages) or "a fact, not a threshold"
        rows.append([f"`{reason}`", REASON_TEXT[reason], judged])
    return table(["reason", "meaning", "judged by a threshold after"], rows)


def column_table(schema: pa.Schema) -> str:
    """Markdown: name, type, unit and meaning of each column."""
    rows = []
    for field in schema:
        about = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        rows.append([f"`{field.name}`", f"`{_type(field.type)}`", about.get("unit", ""), about.get("description", "")])
    return table(["column", "type", "unit", "meaning"], rows)


def _type(kind: pa.DataType) -> str:
    """Arrow's name of a type, without the names it gives to list items."""
    return re.sub(r"<(item|element): ", "<", str(kind)).replace("halffloat", "float16")


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table of raw texts."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def cell(text: str) -> str:
    """Text that stays in its cell."""
    return "".join(c if c.isprintable() else " " for c in text).replace("|", "\\|")


if __name__ == "__main__":
    print(render(), end="")
