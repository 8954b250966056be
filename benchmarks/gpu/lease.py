"""The time limit of a part on a machine, and its results, which are written at once to `gpu.json` and a table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

SMALL = ("unet.block_channels=[32,64]", "unet.attention=[true,false]", "unet.layers_per_block=1", "unet.num_heads=4")
"""Settings of a small editor for a CPU, on which the true size takes minutes a step."""
SMALL_VAE = "vae.block_channels=[32,32,32,32]"


@dataclass
class Lease:
    """Settings of a part.

    Args:
        part: its name.
        device: cuda or cpu; on a CPU everything is small.
        out: folder of the results.
        seconds: the part's time; it is killed some time after.
        shards: folder of a pipeline run's shards; None for drawn ones.
    """

    part: str
    device: str
    out: Path
    seconds: float
    shards: Path | None = None
    _began: float = field(default_factory=time.monotonic)

    @property
    def small(self) -> bool:
        return self.device == "cpu"

    @property
    def left_s(self) -> float:
        return self.seconds - (time.monotonic() - self._began)

    @property
    def work(self) -> Path:
        """Folder for temporary files of a part."""
        folder = self.out / "work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def tell(self, what: str, **values: Any) -> None:
        """Record a result. Numbers keep four digits; `ok` says whether it is as expected."""
        add(self.out, {"part": self.part, "what": what, **{name: _short(value) for name, value in values.items()}})

    def skip(self, what: str, why: str) -> None:
        self.tell(what, skipped=why)

    def lacks(self, what: str, *packages: str) -> bool:
        """Whether a needed package is missing, which is then reported."""
        missing = [name for name in packages if find_spec(name.split(".")[0]) is None]
        if missing:
            self.skip(what, f"not installed: {', '.join(missing)}")
        return bool(missing)

    def attempt(self, what: str, work: Callable[[], None]) -> None:
        """Run one item of a part; an error is recorded as a result, and the next item still runs."""
        if self.left_s < 0:
            self.skip(what, "out of time")
            return
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever a strange machine does wrong costs this thing only
            self.tell(what, failed=f"{type(error).__name__}: {error}"[:600])
        if self.device == "cuda":
            torch.cuda.empty_cache()


def results(out: Path) -> list[dict[str, Any]]:
    """All results so far."""
    file = out / "gpu.json"
    return json.loads(file.read_text()) if file.is_file() else []


def add(out: Path, result: dict[str, Any]) -> None:
    """Append a result, and rewrite the table."""
    print(json.dumps(result, ensure_ascii=False), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    every = [*results(out), result]
    for name, text in (("gpu.json", json.dumps(every, indent=1, ensure_ascii=False)), ("gpu.md", table(every))):
        part = out / f"{name}.part"
        part.write_text(text)
        part.replace(out / name)


def table(every: list[dict[str, Any]]) -> str:
    """The results in Markdown, a row each."""
    lines = ["| part | what | result |", "|---|---|---|"]
    for result in every:
        values = {name: value for name, value in result.items() if name not in ("part", "what")}
        shown = "; ".join(f"{name} {value}" for name, value in values.items()).replace("|", "/").replace("\n", " ")
        lines.append(f"| {result['part']} | {result['what']} | {shown} |")
    return "\n".join([*lines, ""])


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def timed(device: str, work: Callable[[], Any], seconds: float) -> float:
    """Seconds that `work` takes on the average, over as many times as fit; once before it counts, on CUDA thrice."""
    for _ in range(3 if device == "cuda" else 1):
        work()
    synchronize(device)
    began, number = time.perf_counter(), 0
    while number < 1 or time.perf_counter() - began < seconds:
        work()
        number += 1
        if number % 4 == 0:
            synchronize(device)
    synchronize(device)
    return (time.perf_counter() - began) / number
