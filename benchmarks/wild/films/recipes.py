"""Table of the faults of crawled video, and of harmless look-alikes; each line makes one film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.wild.films import covers, people, pictures, sounds
from benchmarks.wild.films.clips import Clip
from benchmarks.wild.films.film import Film


@dataclass(frozen=True)
class Cast:
    """Clips and settings that a film is made of.

    Args:
        others: clips with another face and another voice.
        languages: wanted ones; any other must be dropped.
    """

    clip: Clip
    others: tuple[Clip, ...]
    languages: tuple[str, ...]
    seed: int

    @property
    def other(self) -> Clip:
        return self.others[0]

    def random(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


@dataclass(frozen=True)
class Recipe:
    """One line of the table.

    Args:
        kind: name by which runs choose recipes.
        make: composes the film from a cast and `parameters`.
        num_others: clips of other people that it needs.
    """

    name: str
    kind: str
    make: Callable[..., Film]
    parameters: dict[str, Any] = field(default_factory=dict)
    num_others: int = 0

    def film(self, cast: Cast) -> Film:
        return self.make(cast, **self.parameters)


EVENT = 0.44
"""Start of an event of one second, as a share of the clip.

The rest on both sides of an 8 s clip is longer than the shortest clip.
"""
KEEP_SNR_DB, DROP_SNR_DB = 20.0, 10.0
"""At 20 dB a disturbance is a quiet background, at 10 it is plainly heard in every pause."""
KEEP_OFFSET_MS, DROP_OFFSET_MS = 120.0, 200.0
"""Loudness follows the lips by up to 120 ms on real speakers; beyond five frames nobody takes them for one."""


def _clean(cast: Cast, crf: int = 18) -> Film:
    return replace(cast.clip.film(), crf=crf)


def _with_audio(cast: Cast, audio: np.ndarray, *reasons: str, may_keep: bool = False) -> Film:
    return replace(cast.clip.film(), audio=audio).label(*reasons, may_keep=may_keep)


def _noise(cast: Cast, sound: str, snr_db: float) -> Film:
    makers: dict[str, sounds.Maker] = {"white": sounds.white, "traffic": sounds.traffic, "music": sounds.music}
    makers["babble"] = sounds.babble([other.audio for other in cast.others] or [cast.clip.audio])
    speech = cast.clip.audio
    audio = sounds.mixed(speech, makers[sound](len(speech), cast.random()), snr_db)
    border = DROP_SNR_DB < snr_db <= KEEP_SNR_DB and sound in ("music", "babble")
    if snr_db >= KEEP_SNR_DB and not border:
        return _with_audio(cast, audio)
    voices = ("multi_speaker",) if sound == "babble" else ()
    return _with_audio(cast, audio, "noise", "speech", "language", *voices, may_keep=border)


def _offset(cast: Cast, late_ms: float) -> Film:
    audio = sounds.shifted(cast.clip.audio, late_ms)
    reasons = ("out_of_sync",) if abs(late_ms) > KEEP_OFFSET_MS else ()
    film = _with_audio(cast, audio, *reasons, may_keep=KEEP_OFFSET_MS < abs(late_ms) <= DROP_OFFSET_MS)
    return replace(film, offset_ms=late_ms)


def _room(cast: Cast, rt60_s: float) -> Film:
    reasons = ("noise", "speech") if rt60_s > 0.5 else ()
    audio = sounds.reverberant(cast.clip.audio, rt60_s, cast.random())
    return _with_audio(cast, audio, *reasons, may_keep=0.5 < rt60_s < 1.0)


def _clipped(cast: Cast, gain_db: float) -> Film:
    reasons = ("noise", "speech") if gain_db > 10 else ()
    return _with_audio(cast, sounds.clipped(cast.clip.audio, gain_db), *reasons)


def _silence(cast: Cast, level: float) -> Film:
    audio = (level * cast.random().normal(size=len(cast.clip.audio))).astype(np.float32)
    return _with_audio(cast, audio, "speech", "noise")


def _two_voices(cast: Cast) -> Film:
    audio = sounds.alternating(cast.clip.audio, cast.other.audio, cast.random())
    return _with_audio(cast, audio, "multi_speaker", "out_of_sync")


def _foreign(cast: Cast) -> Film:
    _, audio = sounds.foreign(cast.languages, len(cast.clip.audio), cast.seed)
    return _with_audio(cast, audio, "language", "out_of_sync")


def _code_switched(cast: Cast) -> Film:
    audio = sounds.code_switched(cast.languages, len(cast.clip.audio), cast.seed)
    return _with_audio(cast, audio, "language", "multi_speaker", "out_of_sync")


def _chant(cast: Cast) -> Film:
    audio = sounds.chant(len(cast.clip.audio), cast.random())
    return _with_audio(cast, audio, "noise", "speech", "language", "multi_speaker", "out_of_sync")


def _inset(cast: Cast, ratio: float, moves: bool, *, small: bool = False, may_keep: bool = False) -> Film:
    film = people.inset(cast.clip, cast.other, ratio, moves=moves)
    return film if small else film.label("multi_face", may_keep=may_keep)


def _covered(cast: Cast, thing: str, seconds: float) -> Film:
    drawn = covers.hand(cast.clip) if thing == "hand" else covers.microphone()
    begin_s = EVENT * cast.clip.num_frames / float(cast.clip.fps) - covers.ENTER_S / 2
    return covers.covered(cast.clip, drawn, begin_s, begin_s + seconds + covers.ENTER_S)


def _masked(cast: Cast, colour: tuple[int, int, int]) -> Film:
    return covers.masked(cast.clip, colour, 0.5 * cast.clip.num_frames / float(cast.clip.fps), np.inf)


def _event_s(cast: Cast) -> float:
    return 0.5 * cast.clip.num_frames / float(cast.clip.fps)


def _swapped(cast: Cast, seconds: float) -> Film:
    return people.swapped(cast.clip, cast.other, _event_s(cast), seconds)


def _held(cast: Cast, share: float) -> Film:
    length = round(share * cast.clip.num_frames)
    first = min(round(EVENT * cast.clip.num_frames), cast.clip.num_frames - length)
    return pictures.held(cast.clip, first, first + length)


def _tilted(cast: Cast, roll_deg: float) -> Film:
    return pictures.tilted(cast.clip, roll_deg).label("pose", "face_lost", "no_face")


def _slides(cast: Cast) -> Film:
    return pictures.slides([cast.clip, *cast.others[:2]], 2.0)


def _enlarged(cast: Cast, face_px: float) -> Film:
    film = pictures.enlarged(cast.clip, face_px)
    return film.label("face_too_small", "low_resolution", "mouth_hidden", "no_face")


def _low_rate(cast: Cast, crf: int, *, may_keep: bool) -> Film:
    film = replace(cast.clip.film(), crf=crf)
    reasons = ("coarse", "low_resolution", "face_too_small", "mouth_hidden", "jitter", "no_face")
    return film.label(*reasons, may_keep=may_keep)


def _subtitled(cast: Cast, height: float, *reasons: str) -> Film:
    return pictures.subtitled(cast.clip, height).label(*reasons)


def _levels(kind: str, levels: tuple[float, ...]) -> list[Recipe]:
    return [
        Recipe(f"{kind}_{level:g}db", "noise", _noise, {"sound": kind, "snr_db": level}, int(kind == "babble"))
        for level in levels
    ]


def _offsets() -> list[Recipe]:
    sizes = (40, 80, 120, 200, 400, 600)
    return [
        Recipe(f"{'late' if sign > 0 else 'early'}_{size}ms", "offset", _offset, {"late_ms": float(sign * size)})
        for size in sizes
        for sign in (1, -1)
    ]


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in [
        # To be kept.
        Recipe("clean", "mild", _clean),
        Recipe("coded_again", "mild", _clean, {"crf": 30}),
        Recipe("jpeg", "mild", lambda cast: pictures.jpeg(cast.clip, 40)),
        Recipe("zoom_and_pan", "mild", lambda cast: pictures.moved(cast.clip, 0.08, 0.04)),
        Recipe("pause", "mild", lambda cast: pictures.pausing(cast.clip, 1.0)),
        Recipe("flashes", "mild", lambda cast: pictures.flashes(cast.clip)),
        Recipe("lamp", "mild", lambda cast: pictures.lamp(cast.clip, 2.0, 3.0)),
        Recipe("letterbox", "mild", lambda cast: pictures.letterboxed(cast.clip)),
        Recipe("subtitles_below", "mild", lambda cast: _subtitled(cast, 1.25)),
        # Cuts.
        Recipe("cut", "cuts", lambda cast: pictures.joined(cast.clip, cast.other), num_others=1),
        Recipe("jump_cut", "cuts", lambda cast: pictures.jump_cut(cast.clip, _event_s(cast) - 0.4, 0.8)),
        *[
            Recipe(
                f"dissolve_{seconds:g}s",
                "cuts",
                lambda cast, seconds: pictures.joined(cast.clip, cast.other, seconds),
                {"seconds": seconds},
                num_others=1,
            )
            for seconds in (0.2, 0.5, 1.0)
        ],
        # Other faces.
        Recipe(
            "second_person", "faces", lambda cast: people.second_person(cast.clip, cast.other, _event_s(cast)), {}, 1
        ),
        Recipe("side_by_side", "faces", lambda cast: people.side_by_side(cast.clip, cast.other), {}, 1),
        Recipe("picture_in_picture", "faces", _inset, {"ratio": 0.45, "moves": True}, 1),
        Recipe("poster", "faces", _inset, {"ratio": 0.5, "moves": False, "may_keep": True}, 1),
        Recipe("small_photo", "faces", _inset, {"ratio": 0.16, "moves": False, "small": True}, 1),
        # The mouth.
        Recipe("hand_1s", "mouth", _covered, {"thing": "hand", "seconds": 1.0}),
        Recipe("hand_3s", "mouth", _covered, {"thing": "hand", "seconds": 3.0}),
        Recipe("microphone_2s", "mouth", _covered, {"thing": "microphone", "seconds": 2.0}),
        Recipe("mask_blue", "mouth", _masked, {"colour": (150, 190, 215)}),
        Recipe("mask_pink", "mouth", _masked, {"colour": (225, 170, 165)}),
        Recipe("subtitles_on_chin", "mouth", lambda cast: _subtitled(cast, 0.84, "mouth_hidden")),
        Recipe("tilted_45", "pose", _tilted, {"roll_deg": 45.0}),
        # Who it is.
        Recipe("swap_at_once", "identity", _swapped, {"seconds": 0.0}, 1),
        Recipe("swap_blended", "identity", _swapped, {"seconds": 0.3}, 1),
        # Lips and sound.
        Recipe("dubbed", "sync", lambda cast: people.dubbed(cast.clip, cast.other), {}, 1),
        *_offsets(),
        # Sound.
        *_levels("white", (20, 10, 5, 0)),
        *_levels("traffic", (20, 10, 5, 0)),
        *_levels("music", (20, 10, 5, 0)),
        *_levels("babble", (20, 10, 5, 0)),
        Recipe("clipped_6db", "recording", _clipped, {"gain_db": 6.0}),
        Recipe("clipped_24db", "recording", _clipped, {"gain_db": 24.0}),
        *[Recipe(f"room_{rt60_s:g}s", "recording", _room, {"rt60_s": rt60_s}) for rt60_s in (0.4, 0.8, 1.5)],
        Recipe("silence", "voice", _silence, {"level": 3e-4}),
        Recipe("chant", "voice", _chant),
        Recipe("two_voices", "voice", _two_voices, num_others=1),
        Recipe("foreign", "language", _foreign),
        Recipe("code_switched", "language", _code_switched),
        # No living picture.
        Recipe("held_2s", "still", lambda cast: _held(cast, 2.0 * float(cast.clip.fps) / cast.clip.num_frames)),
        Recipe("photo", "still", lambda cast: pictures.held(cast.clip, 0, cast.clip.num_frames)),
        Recipe("slides", "still", _slides, num_others=1),
        Recipe("screen", "still", lambda cast: pictures.screen(cast.clip, 48.0)),
        Recipe(
            "cartoon",
            "still",
            lambda cast: pictures.cartoon(cast.clip).label(
                "coarse", "no_face", "face_lost", "mouth_hidden", "jitter", "pose"
            ),
        ),
        # Coding.
        Recipe("low_rate_40", "quality", _low_rate, {"crf": 40, "may_keep": True}),
        Recipe("low_rate_50", "quality", _low_rate, {"crf": 50, "may_keep": False}),
        Recipe("enlarged_64px", "quality", _enlarged, {"face_px": 64.0}),
        Recipe("enlarged_32px", "quality", _enlarged, {"face_px": 32.0}),
    ]
}
"""All films by name."""

TECHNICAL_KIND = "technical"
"""Kind of the recipes in `benchmarks.wild.films.technical`."""
KINDS: tuple[str, ...] = (*dict.fromkeys(recipe.kind for recipe in RECIPES.values()), TECHNICAL_KIND)
