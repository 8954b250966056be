"""The paper's comparison, on one's own shards: JoyGen's editor, MuseTalk's (no depth) and Wav2Lip, trained alike.

    python -m benchmarks.compare --data OUT/shards --out runs/compare [--samples 4000] [--split test] [--full]

All three are trained by `model.train` on the split train, for the same number of target frames and from nothing; the
tiny presets unless `--full`. Earlier phases, of the tiny auto-encoder and the sync expert, follow the presets and
are reported. Then `model.evaluate` judges each on the clips of the splits left out, and the real video by the
same means. An existing run is resumed. Writes OUT/compare.json and OUT/compare.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.evaluate import EvaluateConfig, evaluate
from model.train import train
from model.training.config import TrainConfig
from model.training.devices import default_device
from model.training.load import load_trained
from model.training.progress import Progress
from stages.core.command import command, make_parser
from stages.core.settings import load_as
from stages.core.storage import local_path, write_text
from stages.core.weights import WeightStore

CONFIGS = Path("model/configs")
METHODS = {
    "Wav2Lip": (["wav2lip"], ["tiny-wav2lip"]),
    "MuseTalk": (["musetalk"], ["musetalk", "tiny"]),
    "JoyGen": (["joygen"], ["tiny"]),
}
"""Presets of the full and of the tiny size, by method; later ones win."""


def settings_of(name: str, full: bool, data: str, out: Path, samples: int, overrides: list[str]) -> TrainConfig:
    """A method's configuration for so many target frames, without a time limit."""
    presets = METHODS[name][0 if full else 1]
    files = [CONFIGS / f"{preset}.yaml" for preset in presets]
    config = load_as(TrainConfig, files, [f"data={data}", f"out={out / name.lower()}", *overrides])
    frames = config.wav2lip.num_frames if config.task == "wav2lip" else 1
    steps = max(1, round(samples / (config.optim.batch_size * frames)))
    before = {key: replace(getattr(config, key), max_minutes=None) for key in ("vae_optim", "expert_optim")}
    return replace(config, optim=replace(config.optim, max_steps=steps, max_minutes=None), **before)


def compare(
    data: str,
    out: Path,
    samples: int,
    splits: list[str],
    weights: WeightStore,
    judged: EvaluateConfig,
    full: bool = False,
    overrides: list[str] | None = None,
) -> dict[str, Any]:
    """Train and judge all three.

    Returns:
        By method, and for the real video: means over all clips of the splits of every number that `evaluate` gives.
    """
    found: dict[str, list[dict[str, Any]]] = {"real video": []}
    trained: dict[str, dict[str, Any]] = {}
    means: dict[str, dict[str, float | None]] = {"real video": {}}
    for name in METHODS:
        config = settings_of(name, full, data, out, samples, overrides or [])
        run = train(config, weights)
        device = config.device or default_device()
        model = load_trained(run, "editor", weights, device)
        trained[name] = {
            "steps": config.optim.max_steps,
            "parameters": sum(value.numel() for value in model[0].parameters()),
        }
        results = [evaluate(model, data, split, weights, judged, Progress(active=True)) for split in splits]
        for row, key in ((name, "ours"), ("real video", "real")):
            found[row] = [clip[key] for result in results for clip in result["clips"]]
            # Some numbers are defined for a whole split only.
            means[row] = _numbers(results[0][key]) if len(splits) == 1 else _means(found[row])
    return {"samples": samples, "splits": splits, "trained": trained, "means": means, "clips": found}


def _means(clips: list[dict[str, Any]]) -> dict[str, float | None]:
    """Mean of every numeric score over the clips that have it."""
    out: dict[str, float | None] = {}
    for name in _numbers(clips[0]):
        known = [clip[name] for clip in clips if clip.get(name) is not None]
        out[name] = float(np.mean(known)) if known else None
    return out


def _numbers(scores: dict[str, Any]) -> dict[str, float | None]:
    return {name: value for name, value in scores.items() if value is None or isinstance(value, int | float)}


def as_markdown(result: dict[str, Any]) -> str:
    names = list(next(iter(result["means"].values())))
    rows = [["", *names], ["---"] * (len(names) + 1)]
    for method, means in result["means"].items():
        cells = ["-" if (value := means.get(name)) is None else f"{value:.3f}" for name in names]
        rows.append([method, *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.compare", __doc__)
    parser.add_argument("--data", required=True, help="shards folder of a pipeline run")
    parser.add_argument("--out", type=local_path, required=True)
    parser.add_argument("--samples", type=int, default=4000, help="target frames that each is trained on")
    parser.add_argument("--split", action="append", choices=("train", "val", "test"), help="judged; test by default")
    parser.add_argument("--full", action="store_true", help="the published sizes, for a large GPU")
    parser.add_argument("--max-clips", type=int, default=EvaluateConfig.max_clips, help="judged, of each split")
    parser.add_argument("--max-frames", type=int, default=EvaluateConfig.max_frames, help="judged, of each clip")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of all three")
    given = parser.parse_args(arguments)
    judged = EvaluateConfig(max_clips=given.max_clips, max_frames=given.max_frames)
    weights = WeightStore.from_environment()
    splits = given.split or ["test"]
    result = compare(given.data, given.out, given.samples, splits, weights, judged, given.full, given.overrides)
    table = as_markdown(result)
    write_text(given.out / "compare.json", json.dumps(result, indent=1))
    write_text(given.out / "compare.md", table)
    print(table)
    for name, facts in result["trained"].items():
        print(f"{name}: {facts['steps']} steps, {facts['parameters'] / 1e6:.1f} M parameters")


if __name__ == "__main__":
    raise SystemExit(main())
