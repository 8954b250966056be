"""Films made, put through the pipeline's own stages in this process, and written down."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.wild.films.clips import Clip, strangers
from benchmarks.wild.films.recipes import RECIPES, Cast, Recipe
from benchmarks.wild.score import Piece, Result, Truth
from pipeline.job.plan import STAGES
from pipeline.job.step import Runner
from pipeline.rules.config import Config
from stages.core.reasons import Verdict
from stages.core.records import STAGE_COLUMNS, Row
from stages.core.weights import WeightStore

LAST_STAGE = "sync"
"""Last stage that is run; later ones filter nothing here."""
SHARE = 12
"""Films that a process measures before it reports: a minute or two, long against loading the models."""


@dataclass(frozen=True)
class Order:
    """One film to be made and measured."""

    recipe: str
    cast: Cast
    path: Path


def make_runner(config: Config, out: Path) -> Runner:
    last = [stage.name for stage in STAGES].index(LAST_STAGE)
    return Runner(STAGES[: last + 1], config, WeightStore.from_environment(), out, lambda _: None)


def find_recipe(name: str) -> Recipe:
    """The recipe of this name, for a fault of a video or for a way to store one."""
    if name in RECIPES:
        return RECIPES[name]
    from benchmarks.wild.films.technical import TECHNICAL

    return TECHNICAL[name]


def plan_films(
    clips: list[Clip], names: Sequence[str], per_recipe: int, seed: int, config: Config, folder: Path
) -> tuple[list[Order], list[str]]:
    """Which clips play in which films, and the recipes that find no cast; the same for the same seed.

    Clips take turns, so that each is in about as many films as any other.
    """
    orders, missing = [], []
    for at, name in enumerate(names):
        recipe, made = find_recipe(name), 0
        for turn in range(len(clips)):
            number = (seed + at + turn) % len(clips)
            others = strangers(clips[number], clips[number + 1 :] + clips[:number], config)
            if len(others) < recipe.num_others or made == per_recipe:
                continue
            skip = (seed + at) % max(1, len(others))
            cast = Cast(clips[number], (*others[skip:], *others[:skip]), config.policy.languages, seed * 1000 + at)
            orders.append(Order(name, cast, folder / f"{name}-{clips[number].name}.mp4"))
            made += 1
        if not made:
            missing.append(name)
    return orders, missing


def measure_films(orders: Sequence[Order], config: Config, out: Path, jobs: int) -> Iterator[Result]:
    """As they are done; with several processes a share at a time, for which one loads the models."""
    if jobs == 1:
        runner = make_runner(config, out)
        yield from (measure_film(order, runner) for order in orders)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        shares = [orders[k : k + SHARE] for k in range(0, len(orders), SHARE)]
        for results in pool.map(partial(_measure_all, config=config, out=out), shares):
            yield from results


def _measure_all(orders: Sequence[Order], config: Config, out: Path) -> list[Result]:
    return list(measure_films(orders, config, out, 1))


def measure_film(order: Order, runner: Runner) -> Result:
    """Makes it, unless it is there, and lets the stages judge it."""
    recipe, cast = find_recipe(order.recipe), order.cast
    film = recipe.film(cast)
    if not order.path.is_file():
        film.write(order.path)
    names = (cast.clip.name, *(other.name for other in cast.others[: recipe.num_others]))
    truth = Truth.of(film, recipe.name, recipe.parameters, names, order.path.name)
    rows = runner.run({"source_id": order.path.stem, "uri": str(order.path), "platform": "local"})
    return Result(truth, tuple(piece_of(row, film.duration_s) for row in rows))


def piece_of(row: Row, duration_s: float) -> Piece:
    start_s = row.get("start_s", row.get("shot_start_s", 0.0))
    end_s = row.get("end_s", row.get("shot_end_s", duration_s))
    reason = row["drop_reason"] if row["verdict"] == Verdict.DROP else None
    names = [name for schema in STAGE_COLUMNS.values() for name in schema.names]
    names = [name for name in names if isinstance(row.get(name), int | float | str | np.floating)]
    measured = {name: float(row[name]) if isinstance(row[name], np.floating) else row[name] for name in names}
    measured.pop("media_path", None)
    detail = {"drop_stage": row.get("drop_stage"), "drop_detail": row.get("drop_detail")}
    return Piece(float(start_s), float(end_s), reason, row.get("shot_start_s"), measured | detail)


def write_result(result: Result, file: Any) -> None:
    file.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
    file.flush()


def read_results(path: Path) -> list[Result]:
    """The results of a run; of a film measured twice, the last."""
    found: dict[str, Result] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        data = json.loads(line)
        truth = Truth.from_json(data["truth"])
        found[truth.path] = Result(truth, tuple(Piece(**piece) for piece in data["pieces"]))
    return list(found.values())
