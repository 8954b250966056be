"""Run the main job: a list of sources in, a data set out.

    python pipeline/run.py --manifest M --out DIR [--config C.yaml] [key=value ...]

M is a YAML, CSV, JSONL or Parquet list of sources, or a folder of media files. The same file runs on a Ray cluster:
`ray job submit --working-dir . -- python pipeline/run.py ...`. Running it again on the same DIR does what is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a file: import the packages beside this folder, not the modules in it
    sys.path[0] = str(ROOT)

from rich.console import Console

from pipeline import preview
from pipeline.dataset.stats import print_funnel
from pipeline.finalize import finalize
from pipeline.job.manifest import missing_files, read_manifest
from pipeline.job.parts import alone, next_generation, read_parts
from pipeline.job.plan import STAGE_NAMES, STAGES
from pipeline.job.tally import Progress
from pipeline.job.todo import find_todo
from pipeline.rules.config import Config, config_files, config_hash, differing_keys, load_config, store_config
from stages.core.command import Stopped, command, make_console, make_parser
from stages.core.records import Row
from stages.core.settings import ConfigError
from stages.core.storage import as_path, is_file, protocol_of
from stages.core.weights import WeightStore
from stages.crawl import check_crawl_config

JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Environment variable that `ray job submit` sets for a job."""
MIN_ERRORS = 3
"""Unknown errors up to this number never stop a run, however few sources it has."""


class TooManyErrors(Stopped):
    """More sources failed for unknown reasons than `run.max_error_ratio` allows."""


def run(sources: list[Row], out: Path, config: Config, weights: WeightStore, console: Console) -> None:
    """Measure every source that is not done yet and append its rows to `out/parts`.

    Raises:
        TooManyErrors: unknown errors beyond `run.max_error_ratio` of the sources.
    """
    from pipeline.job.stream import Stream

    todo = find_todo(sources, read_parts(out), config)
    if todo.num_done:
        again = f", {todo.num_again} of them again: newly wanted, or their fault may be gone" if todo.num_again else ""
        console.print(f"{todo.num_done} sources are done already; {len(todo.sources)} to do{again}.")
    if not todo.sources:
        return
    with (
        Stream(out, config, weights, next_generation(out)) as stream,
        Progress(console, len(todo.sources), todo.num_done) as progress,
    ):
        for state in stream.measure(todo.sources, todo.known):
            progress.show(state.tally.counts, state.num_done, state.num_sources)
            _stop_on_errors(len(state.tally.failed_sources), todo.num_done + state.num_sources, config)


def _stop_on_errors(num_failed: int, num_sources: int, config: Config) -> None:
    if num_failed > max(MIN_ERRORS, config.run.max_error_ratio * num_sources):
        raise TooManyErrors(
            f"{num_failed} of {num_sources} sources failed for unknown reasons "
            f"(run.max_error_ratio={config.run.max_error_ratio:g}). Their tracebacks stand in the parts, column "
            "fault_detail; run.strict=true raises the first."
        )


def prepare(out: Path, args_config: Path | None, overrides: list[str]) -> Config:
    """The run's configuration: that of DIR, then `--config`, then overrides; stored in DIR.

    Raises:
        ConfigError: an unusable key, or a measuring key that differs from what DIR was made with.
    """
    earlier = config_files(out)
    config = load_config([*earlier, *([args_config] if args_config else [])], overrides)
    _check_pools(config)
    check_crawl_config(config.crawl)
    if earlier:
        differing = differing_keys(load_config(earlier), config)
        if differing:
            changes = "\n  ".join(differing)
            raise ConfigError(f"{out} was measured with other settings; use a new --out, or undo:\n  {changes}")
    if is_file(out):
        raise ConfigError(f"--out {out} is a file; name a folder")
    if config.run.mode == "full":  # a preview changes nothing in DIR
        store_config(out, config)
    return config


def _check_pools(config: Config) -> None:
    planned = tuple(name for pool in config.run.pools.values() for name in pool.stages)
    if planned != STAGE_NAMES:
        raise ConfigError(f"run.pools must hold every stage once and in order: {', '.join(STAGE_NAMES)}")


def _check_place(out: str) -> None:
    """Refuse a relative place in a submitted job: Ray deletes the copy of the working directory that it runs in."""
    if protocol_of(out) is None and not Path(out).is_absolute():
        raise ConfigError(
            f"--out {out} is relative, and a Ray job's own folder is deleted after it: "
            "name an absolute path on storage that every node sees, or a bucket"
        )


@command(again="Nothing that was done is lost: run the same command again to go on.")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python pipeline/run.py", __doc__)
    parser.add_argument("--manifest", required=True, help="YAML, CSV, JSONL, Parquet, or a folder of media")
    parser.add_argument(
        "--out", required=True, help="folder of the data set, or s3://bucket/folder; resumed if it exists"
    )
    parser.add_argument("--config", type=Path, help="YAML with any of the keys of DIR/config.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. policy.languages=[zh,en]")
    args = parser.parse_args(arguments)
    console = make_console()
    plain: Any = {"highlight": False, "markup": False, "soft_wrap": True}  # paths as they are
    if JOB_VARIABLE in os.environ:
        _check_place(args.out)
    out = as_path(args.out).resolve()
    sources = read_manifest(as_path(args.manifest))
    config = prepare(out, args.config, args.overrides)
    store = WeightStore.from_environment()
    for name in sorted({name for stage in STAGES for name in stage.weights(config)}):
        store.path(name)
    absent = missing_files(sources)
    if absent:
        shown = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        number = f"{len(absent)} of {len(sources)} files"
        console.print(f"{number} are not there and will be listed as unavailable: {shown}", **plain)
    console.print(f"{len(sources)} sources · config {config_hash(config)} · {out}", **plain)
    os.environ.setdefault("PYANNOTE_METRICS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # else the stream's thread restarts Ray after Ctrl-C
    if config.run.mode == "metadata":
        preview.show(preview.preview(sources, config, store, out), console, out / "preview.jsonl")
        return
    with alone(out, "run"):
        run(sources, out, config, store, console)
        stats = finalize(out, config)
    print_funnel(stats, console)
    console.print(f"Open {out / 'report.html'}", **plain)


if __name__ == "__main__":
    raise SystemExit(main())
