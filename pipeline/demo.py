"""Run the main job on a corpus made on the spot: videos, data set, report, model, dubbed video.

    python -m pipeline.demo --out out/demo

Each step is a command a user would type, and is shown; a second run reuses what is there.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import soundfile
from rich.console import Console

from manifests.demo.corpus import make_corpus
from manifests.demo.voice import texts
from manifests.demo.voice.speech import Voice, speak
from stages.core.command import command, make_console, make_parser
from stages.core.records import AUDIO_RATE_HZ
from stages.core.storage import local_path
from stages.core.weights import WeightStore


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m pipeline.demo", __doc__)
    parser.add_argument(
        "--out", type=local_path, default=Path("out/demo"), help="on this machine: models are trained there too"
    )
    args = parser.parse_args(arguments)
    console, out = make_console(), args.out
    start_s = time.monotonic()
    corpus = out / "corpus"
    if not (corpus / "manifest.yaml").is_file():
        console.rule("1/5 making a small corpus of synthetic speakers")
        make_corpus(corpus, WeightStore.from_environment())
    steps = [
        ("2/5 manifest to data set", ["pipeline/run.py", "--manifest", corpus / "manifest.yaml", "--out", out]),
        ("3/5 audio to motion", _train(out, "a2m")),
        ("4/5 editor, tiny preset", _train(out, "tiny")),
    ]
    for title, words in steps:
        _run(console, title, words)
    video, audio, dubbed = _trained_on(out), out / "speech.wav", out / "dubbed.mp4"
    soundfile.write(audio, speak(texts.LIBRARY, Voice("cmn+Annie", 175), max_s=8.0).audio, AUDIO_RATE_HZ)
    infer = ["-m", "model.infer", "--run", out / "runs/tiny", "--a2m", out / "runs/a2m"]
    _run(console, "5/5 another voice for a speaker", [*infer, "--video", video, "--audio", audio, "--out", dubbed])
    console.rule(f"done in {(time.monotonic() - start_s) / 60:.1f} min")
    for path, what in [
        (out / "report.html", "what was kept, what was dropped and why"),
        (out / "shards", "the data set; its card is README.md beside it"),
        (out / "runs/tiny", "the trained model: metrics.jsonl and sample grids"),
        (dubbed, f"{video.name} speaking with another voice"),
    ]:
        console.print(f"open {path}  [dim]{what}[/dim]", soft_wrap=True, highlight=False)


def _train(out: Path, preset: str) -> list[str | Path]:
    train: list[str | Path] = ["-m", "model.train", "--data", out / "shards"]
    return [*train, "--config", preset, "--out", out / "runs" / preset]


def _run(console: Console, title: str, arguments: list[str | Path]) -> None:
    console.rule(title)
    words = [str(word) for word in arguments]
    console.print(f"$ python {' '.join(words)}", style="dim", soft_wrap=True, highlight=False)
    subprocess.run([sys.executable, *words], check=True)


def _trained_on(out: Path) -> Path:
    """A video whose speaker is in the training split: minutes of training do not generalise further."""
    kept = pq.read_table(out / "ledger.parquet", columns=["uri", "split"], filters=[("verdict", "=", "keep")])
    return Path(min(row["uri"] for row in kept.to_pylist() if row["split"] == "train"))


if __name__ == "__main__":
    raise SystemExit(main())
