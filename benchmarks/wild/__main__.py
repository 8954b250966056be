"""Recall and precision of the filters on the faults of crawled video.

    python -m benchmarks.wild --clips FOLDER --out DIR [--kinds cuts sync] [--per-kind 4] [policy.key=value ...]

Films with known faults are composed from clean clips, and measured by the pipeline's stages. DIR/results.jsonl holds
truth and measurements of each film: a second run resumes where the first one ended, and `--score` only scores them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch

from benchmarks.wild.films.clips import Clip, find_clips, make_clips
from benchmarks.wild.films.recipes import KINDS, RECIPES, TECHNICAL_KIND
from benchmarks.wild.measure import make_runner, measure_films, plan_films, read_results, write_result
from benchmarks.wild.sheet import write_sheet
from benchmarks.wild.tables import report
from pipeline.rules.config import Config, load_config
from stages.core.command import UserError, command, make_parser
from stages.core.weights import WeightStore


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.wild", __doc__)
    parser.add_argument("--clips", type=Path, help="folder of videos of people who speak; none: synthetic speakers")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", metavar="NAME", help=f"kinds or recipes; kinds: {', '.join(KINDS)}")
    parser.add_argument("--per-kind", type=int, default=2, help="films of each recipe (default: 2)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a clip that is used (default: 8)")
    parser.add_argument("--languages", nargs="+", default=["zh"], help="that clean clips may speak (default: zh)")
    parser.add_argument("--trust", action="store_true", help="take every clip for clean, whatever the policy says")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--score", action="store_true", help="only score DIR/results.jsonl")
    parser.add_argument("--sheets", type=Path, help="write a picture of one film of each recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    languages = ",".join(args.languages)
    config = load_config([], [f"policy.languages=[{languages}]", *args.overrides])
    results = args.out / "results.jsonl"
    if not args.score:
        films = args.out / "films"
        films.mkdir(parents=True, exist_ok=True)
        clips = _clips(args, config)
        orders, missing = plan_films(clips, _names(args.kinds), args.per_kind, args.seed, config, films)
        for name in missing:
            print(f"{name}: no clip of another person to make it with")
        known = {result.truth.path for result in read_results(results)} if results.is_file() else set()
        wanted = [order for order in orders if order.path.name not in known]
        with results.open("a", encoding="utf-8") as file:
            for number, result in enumerate(measure_films(wanted, config, args.out, args.jobs)):
                write_result(result, file)
                said = ", ".join(f"{p.start_s:.1f}-{p.end_s:.1f} {p.reason or 'kept'}" for p in result.pieces)
                print(f"{number + 1}/{len(wanted)} {result.truth.path}: {said}", flush=True)
    found = read_results(results)
    if args.sheets:
        shown = {result.truth.recipe: args.out / "films" / result.truth.path for result in found}
        write_sheet(list(shown.items()), args.sheets)
    text = report(found, config.policy.min_clip_s)
    (args.out / "scores.md").write_text(text, encoding="utf-8")
    print(text)


def _names(kinds: list[str] | None) -> list[str]:
    """Recipes of these kinds or names; all but the technical ones if none is named.

    Raises:
        SystemExit: there is no such kind or name.
    """
    if kinds is None:
        return list(RECIPES)
    recipes = RECIPES
    if TECHNICAL_KIND in kinds:
        from benchmarks.wild.films.technical import TECHNICAL

        recipes = RECIPES | TECHNICAL
    known = {name for recipe in recipes.values() for name in (recipe.kind, recipe.name)}
    if unknown := set(kinds) - known:
        raise UserError(f"no kind or recipe {', '.join(sorted(unknown))}; kinds: {', '.join(KINDS)}")
    return [name for name, recipe in recipes.items() if recipe.kind in kinds or name in kinds]


def _clips(args: argparse.Namespace, config: Config) -> list[Clip]:
    folder = args.clips
    if folder is None:
        make_clips(args.out / "corpus", WeightStore.from_environment(), args.seconds)
        folder = args.out / "corpus" / "videos"
    clips = []
    for clip, found in find_clips(
        folder, args.out / "clips", make_runner(config, args.out), args.seconds, trust=args.trust
    ):
        if clip is not None:
            clips.append(clip)
            print(f"{clip.name}: {clip.num_frames / float(clip.fps):.1f} s, {found}", flush=True)
        else:
            print(f"not used: {found}", flush=True)
    if not clips:
        raise UserError(f"{folder}: no clean clip")
    return clips


if __name__ == "__main__":
    raise SystemExit(main())
