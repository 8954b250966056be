"""The videos of the corpus, with the truth about each and the expected verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import yaml

from manifests.demo import takes
from manifests.demo.face.animate import Framing
from manifests.demo.face.portrait import Portrait
from manifests.demo.speakers import CAST, ENGLISH_VOICE, portrait_of
from manifests.demo.takes import Scene, Take
from manifests.demo.voice import texts
from stages.core.reasons import DropReason
from stages.core.weights import WeightStore
from stages.media import write_video

LICENCES = {
    "astronaut": "public domain (NASA portrait in scikit-image; synthetic voice)",
    "painted": "CC0-1.0 (MakeHuman head, painted; synthetic voice)",
}
CONSENTS = {
    "astronaut": "public-domain photo, animated as a technical test; the voice is a machine's",
    "painted": "nobody is shown: the person is painted",
}


@dataclass(frozen=True)
class Truth:
    """Truth about one video.

    Args:
        expect: `keep` or `drop` under the default policy.
        reason: expected DropReason; those in `also` are right, too.
        offset_ms: delay of the sound against the lips.
        cuts_s: times of hard cuts.
        num_clips: least number of expected kept clips.
        opening: gap between the lips over the face's height at each frame, as it was drawn.
    """

    name: str
    file: str
    expect: str
    reason: str | None
    also: tuple[str, ...]
    speaker: str
    language: str
    text: str
    fps: str
    duration_s: float
    offset_ms: float
    cuts_s: tuple[float, ...]
    num_clips: int
    opening: tuple[float, ...]


class Studio:
    """Sets scenes: portraits are painted once."""

    def __init__(self, weights: WeightStore, seconds: float, seed: int) -> None:
        self.weights, self.seconds, self.seed = weights, seconds, seed
        self._portraits: dict[str, Portrait] = {}

    def portrait(self, speaker: str) -> Portrait:
        if speaker not in self._portraits:
            self._portraits[speaker] = portrait_of(CAST[speaker], self.weights)
        return self._portraits[speaker]

    def scene(self, speaker: str, sentences: tuple[str, ...], seed: int = 0, **changes) -> Scene:
        framing = changes.pop("framing", Framing())
        scene = Scene(self.portrait(speaker), CAST[speaker].voice, sentences, self.seconds, framing=framing)
        return replace(scene, seed=self.seed * 1000 + seed, **changes)


Direct = Callable[[Studio], Take]


@dataclass(frozen=True)
class Recipe:
    """One video: its making and the expected verdict."""

    name: str
    speaker: str
    direct: Direct
    reason: DropReason | None = None
    also: tuple[DropReason, ...] = ()
    num_clips: int = 1
    damage: Callable[[Path], None] | None = None


VERTICAL = Framing(width_px=720, height_px=1280, face_px=420.0, face_y=0.42)
ODD = Framing(width_px=541, height_px=407, face_px=205.0, face_y=0.5)
WIDE = Framing(width_px=640, height_px=480, face_px=235.0, face_x=0.42, face_y=0.5)
HALF = Framing(width_px=360, height_px=384, face_px=170.0, face_y=0.45)
NTSC = Fraction(30000, 1001)


def _clean(speaker: str, sentences: tuple[str, ...], seed: int, **changes) -> Direct:
    return lambda studio: takes.talk(studio.scene(speaker, sentences, seed, **changes))


def _long(studio: Studio) -> Take:
    """Over ten seconds without a cut, so that it gives more than one clip."""
    lines = texts.LIBRARY + texts.STUDY
    return takes.talk(studio.scene("zhao", lines, 7, seconds=max(12.5, 2 * studio.seconds), framing=WIDE))


def _two_faces(studio: Studio) -> Take:
    left = studio.scene("lin", texts.WORK, 11, framing=HALF)
    return takes.side_by_side(left, studio.scene("guo", texts.WORK, 12, framing=HALF))


def _english(studio: Studio) -> Take:
    take = takes.talk(studio.scene("guo", texts.ENGLISH, 13, voice=ENGLISH_VOICE))
    return replace(take, language="en")


def _loud_noise(studio: Studio) -> Take:
    return takes.with_noise(takes.talk(studio.scene("mei", texts.WEATHER, 14)), snr_db=2.0, seed=1)


def _music(studio: Studio) -> Take:
    take = takes.talk(studio.scene("lin", texts.FILM, 15))
    return replace(takes.with_audio(take, takes.music(len(takes.sound_of(take)))), text="", language="")


def _no_audio(studio: Studio) -> Take:
    return takes.with_audio(takes.talk(studio.scene("astronaut", texts.FILM, 16)), None)


def _hard_cut(studio: Studio) -> Take:
    near = Framing(face_px=300.0, face_x=0.44, face_y=0.52, brightness=0.72, warmth=0.12)
    half = max(4.0, studio.seconds * 0.7)
    first = takes.talk(studio.scene("lin", texts.TRAVEL, 17, seconds=half))
    return takes.cut(first, takes.talk(studio.scene("lin", texts.CAT, 18, seconds=half, framing=near)))


def _identity_change(studio: Studio) -> Take:
    first = studio.scene("astronaut", texts.STUDY, 19)
    return takes.morph(first, studio.scene("zhao", texts.STUDY, 19), seconds=0.8)


def _cut_file(path: Path) -> None:
    """Keep the first 60 % of the bytes: the index says more than there is."""
    content = path.read_bytes()
    path.write_bytes(content[: int(0.6 * len(content))])


def _text_file(path: Path) -> None:
    path.write_text("这不是视频。This is a text file that someone named .mp4.\n" * 20)


RECIPES: dict[str, Recipe] = {
    r.name: r
    for r in [
        Recipe("clean_astronaut_1", "astronaut", _clean("astronaut", texts.WEATHER, 1)),
        Recipe("clean_astronaut_2", "astronaut", _clean("astronaut", texts.LIBRARY, 2, fps=NTSC)),
        Recipe("clean_lin_1", "lin", _clean("lin", texts.WORK, 3)),
        Recipe("clean_lin_2", "lin", _clean("lin", texts.STUDY, 4, framing=VERTICAL)),
        Recipe("clean_zhao_1", "zhao", _long, num_clips=2),
        Recipe("clean_mei_1", "mei", _clean("mei", texts.TRAVEL, 5, framing=ODD)),
        Recipe("clean_mei_2", "mei", _clean("mei", texts.FILM, 6, framing=WIDE)),
        Recipe("clean_guo_1", "guo", _clean("guo", texts.CAT, 8)),
        Recipe("hard_cut", "lin", _hard_cut, num_clips=2),
        Recipe("two_faces", "lin", _two_faces, DropReason.MULTI_FACE),
        Recipe("english", "guo", _english, DropReason.LANGUAGE),
        Recipe("loud_noise", "mei", _loud_noise, DropReason.NOISE),
        Recipe("music", "lin", _music, DropReason.SPEECH),
        Recipe("no_audio", "astronaut", _no_audio, DropReason.NO_AUDIO),
        Recipe(
            "hidden_mouth",
            "zhao",
            lambda studio: takes.with_mask(studio.scene("zhao", texts.LIBRARY, 20)),
            DropReason.MOUTH_HIDDEN,
        ),
        Recipe(
            "tiny_face",
            "guo",
            _clean("guo", texts.WORK, 21, framing=Framing(640, 480, face_px=56.0, face_x=0.6)),
            DropReason.FACE_TOO_SMALL,
        ),
        Recipe(
            "identity_change",
            "astronaut",
            _identity_change,
            DropReason.IDENTITY_CHANGE,
            also=(DropReason.TOO_SHORT,),
        ),
        Recipe(
            "late_audio",
            "mei",
            lambda studio: takes.delayed(takes.talk(studio.scene("mei", texts.FILM, 22)), 400.0),
            DropReason.OUT_OF_SYNC,
        ),
        Recipe(
            "static_mouth",
            "astronaut",
            lambda studio: takes.with_photo_lips(studio.scene("astronaut", texts.TRAVEL, 23)),
            DropReason.MOUTH_STATIC,
        ),
        Recipe("truncated", "guo", _clean("guo", texts.FILM, 24), DropReason.TRUNCATED, damage=_cut_file),
        Recipe(
            "not_a_video",
            "guo",
            _clean("guo", texts.FILM, 24, seconds=4.0),
            DropReason.NOT_VIDEO,
            damage=_text_file,
        ),
        Recipe(
            "low_resolution",
            "mei",
            _clean("mei", texts.STUDY, 25, framing=Framing(256, 192, face_px=100.0, face_y=0.5)),
            DropReason.LOW_RESOLUTION,
        ),
        Recipe("low_fps", "mei", _clean("mei", texts.WORK, 26, fps=Fraction(10)), DropReason.LOW_FPS),
        Recipe(
            "no_face",
            "zhao",
            lambda studio: takes.frozen_wall(studio.scene("zhao", texts.TRAVEL, 27)),
            DropReason.NO_FACE,
        ),
    ]
}
"""All videos by name: the clean ones first."""


def make_corpus(
    folder: Path,
    weights: WeightStore,
    names: Iterable[str] | None = None,
    seconds: float = 6.0,
    seed: int = 0,
) -> dict[str, Truth]:
    """Make videos and write `videos/*.mp4`, `manifest.yaml` and `truth.json` into a folder.

    Args:
        names: keys of `RECIPES`; None for all.
        seconds: usual length of a video; at least 4.
        seed: seed of the heads' movements.
    Raises:
        KeyError: a name that is no recipe.
    """
    recipes = [RECIPES[name] for name in (RECIPES if names is None else names)]
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    studio = Studio(weights, seconds, seed)
    truths = {recipe.name: make_video(recipe, folder, studio) for recipe in recipes}
    (folder / "truth.json").write_text(
        json.dumps({name: asdict(truth) for name, truth in truths.items()}, ensure_ascii=False, indent=1)
    )
    sources = [_manifest_row(truth) for truth in truths.values()]
    text = yaml.safe_dump({"sources": sources}, allow_unicode=True, sort_keys=False)
    part = folder / "manifest.yaml.part"
    part.write_text(text)
    part.replace(folder / "manifest.yaml")
    return truths


def make_video(recipe: Recipe, folder: Path, studio: Studio) -> Truth:
    """One video, complete or damaged as the recipe says."""
    take = recipe.direct(studio)
    path = folder / "videos" / f"{recipe.name}.mp4"
    write_video(path, take.frames(), take.fps, take.audio)
    if recipe.damage is not None:
        recipe.damage(path)
    return Truth(
        name=recipe.name,
        file=str(path.relative_to(folder)),
        expect="drop" if recipe.reason else "keep",
        reason=str(recipe.reason) if recipe.reason else None,
        also=tuple(str(reason) for reason in recipe.also),
        speaker=recipe.speaker,
        language=take.language,
        text=take.text,
        fps=str(take.fps),
        duration_s=len(take.opening) / float(take.fps),
        offset_ms=take.offset_ms,
        cuts_s=take.cuts_s,
        num_clips=0 if recipe.reason else recipe.num_clips,
        opening=tuple(round(float(gap), 5) for gap in np.asarray(take.opening)),
    )


def _manifest_row(truth: Truth) -> dict[str, object]:
    look = "astronaut" if truth.speaker == "astronaut" else "painted"
    return {
        "source_id": truth.name,
        "uri": truth.file,
        "platform": "local",
        "licence": LICENCES[look],
        "consent": CONSENTS[look],
        "speaker_id": truth.speaker,
        "declared_language": truth.language or "zh",
        "tags": ["demo", "clean" if truth.expect == "keep" else truth.name],
    }
