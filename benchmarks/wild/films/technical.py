"""Clean clips in other files: containers, codecs, rates, late starts. Nothing is wrong with what they show."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.wild.films.film import Film
from benchmarks.wild.films.recipes import TECHNICAL_KIND, Cast, Recipe
from benchmarks.wild.films.variants import VARIANTS, Clip, Variant, write_variant
from stages.core.records import AUDIO_RATE_HZ


def _stored(cast: Cast, variant: Variant) -> Film:
    film = cast.clip.film()
    if variant.keep < 1:
        film = film.label("truncated", "corrupt")
    elif variant.uneven or variant.bit_rate or variant.lost:  # pictures that stand still, blocks, holes in the sound
        film = film.label("low_fps", "low_resolution", "mouth_hidden", "noise", "jitter", may_keep=True)
    return film.written_by(partial(_write, variant=variant))


def _write(path: Path, film: Film, variant: Variant) -> None:
    times_s = np.arange(film.num_frames) / float(film.fps)
    write_variant(path, Clip(np.stack(list(film.frames())), times_s, film.audio, AUDIO_RATE_HZ), variant)


TECHNICAL: dict[str, Recipe] = {
    recipe.name: recipe
    for variant in VARIANTS
    for recipe in [Recipe(re.sub(r"\W+", "_", variant.name), TECHNICAL_KIND, partial(_stored, variant=variant))]
}
"""One film a variant, by name."""
