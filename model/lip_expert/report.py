"""How well the lip-sound expert does on people it was not trained on, by length of what it sees.

Folds leave one person out. What a source's true delay is, nobody says: the expert's finding over the whole source is
taken for it, and windows and shifts are judged against that. Intervals are bootstrapped over people, not over windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from model.lip_expert.fit import Features, SyncTrainConfig, chance_of, held_out
from pipeline.rules.policy import PolicyConfig
from stages.core.records import CLIP_FPS
from stages.lipsync.curves import best_delay
from stages.lipsync.lip_sound import MAX_STEPS, MEL_STEPS_PER_FRAME, RATE_HZ, LipSound
from stages.sync import SyncConfig

LENGTHS_S = (2, 3, 5, 8, 10)
SHIFTS_MS = (40, 80, 120, 200, 400)
STEP_MS = 1000 // RATE_HZ
RIGHT_MS = 40
"""A delay is right within a frame."""
NUM_BOOTSTRAPS = 1000
DELAYS_MS = np.arange(-MAX_STEPS, MAX_STEPS + 1) * STEP_MS


@dataclass(frozen=True)
class Look:
    """What an expert says of one window.

    Args:
        kind: "sync", "same" (another moment of the same speaker), "other" (another speaker), or the shift in ms.
        error_ms: distance of the delay found from the true one.
        away_ms: from the source's own.
        agreement: at the delay found.
        is_kept: by the default policy, were the source in sync.
    """

    person: int
    kind: str
    length_s: int
    error_ms: float
    away_ms: float
    agreement: float
    is_kept: bool


def looks(expert: LipSound, mine: Sequence[Features], others: Sequence[Features], seed: int) -> Iterator[Look]:
    """Windows of all lengths, every second, with their own sound, that sound shifted, and wrong sound."""
    random = np.random.default_rng(seed)
    for take in mine:
        own_ms = DELAYS_MS[best_delay(expert.compare(take.lips, take.sound), DELAYS_MS, SyncConfig().max_offset_ms)]
        for length_s in LENGTHS_S:
            num = length_s * CLIP_FPS
            for first in range(0, len(take.lips) - num + 1, CLIP_FPS):
                lips = take.lips[first : first + num]
                for kind, sound, late_ms in _sounds(take, others, first, num, random):
                    curve = expert.compare(lips, sound)
                    best = best_delay(curve, DELAYS_MS, SyncConfig().max_offset_ms + max(SHIFTS_MS))
                    away_ms = float(DELAYS_MS[best] - own_ms)
                    is_kept = _is_kept(expert, curve, float(own_ms), length_s)
                    found = abs(away_ms - late_ms), abs(away_ms), float(curve[best])
                    yield Look(take.person, kind, length_s, *found, is_kept)


def _is_kept(expert: LipSound, curve: np.ndarray, own_ms: float, length_s: int) -> bool:
    """Whether a window stays, all of it speech, and nothing known of its halves."""
    sync, policy = SyncConfig(), PolicyConfig()
    best = best_delay(curve, DELAYS_MS, sync.max_offset_ms)
    conf, off_ms = expert.confidence(curve, best, length_s), abs(float(DELAYS_MS[best]) - own_ms)
    is_moved = conf >= sync.min_correct_conf and off_ms <= sync.max_correct_ms
    return conf >= policy.min_sync_conf and (is_moved or off_ms <= policy.max_av_offset_ms)


def _sounds(
    take: Features, others: Sequence[Features], first: int, num: int, random: np.random.Generator
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Kind, sound and by how much it is late, of what one window is shown with."""
    begin, steps = first * MEL_STEPS_PER_FRAME, num * MEL_STEPS_PER_FRAME
    for late_ms in (0, *SHIFTS_MS, *(-shift for shift in SHIFTS_MS)):
        start = begin - late_ms // STEP_MS
        if 0 <= start <= len(take.sound) - steps:
            yield "sync" if late_ms == 0 else str(abs(late_ms)), take.sound[start : start + steps], late_ms
    elsewhere = [at for at in range(len(take.lips) - num + 1) if abs(at - first) >= num]
    strangers = [other for other in others if len(other.lips) >= num]
    if elsewhere:
        start = int(random.choice(elsewhere)) * MEL_STEPS_PER_FRAME
        yield "same", take.sound[start : start + steps], 0.0
    if strangers:
        other = strangers[random.integers(len(strangers))]
        start = int(random.integers(len(other.lips) - num + 1)) * MEL_STEPS_PER_FRAME
        yield "other", other.sound[start : start + steps], 0.0


def report(takes: Sequence[Features], config: SyncTrainConfig, seed: int = 0) -> dict[str, Any]:
    """Accuracy, separation and what the policy keeps, by length and kind, each with a 95 % interval."""
    every: list[Look] = []
    chance = chance_of(takes, config)
    for expert, mine in held_out(takes, config):
        others = [take for take in takes if take.person != mine[0].person]
        every.extend(looks(replace(expert, chance=chance), mine, others, seed))
    return {
        f"{length_s} s": _of_length([look for look in every if look.length_s == length_s]) for length_s in LENGTHS_S
    }


_People = Sequence[dict[str, np.ndarray]]
"""Of each person, by kind of sound, (windows, 4): error, distance from the source's own delay, agreement, kept."""


def _of_length(chosen: Sequence[Look]) -> dict[str, Any]:
    people: list[dict[str, np.ndarray]] = []
    for person in sorted({look.person for look in chosen}):
        mine = [look for look in chosen if look.person == person]
        told_of = {kind: [look for look in mine if look.kind == kind] for kind in {look.kind for look in mine}}
        people.append(
            {
                k: np.array([(x.error_ms, x.away_ms, x.agreement, x.is_kept) for x in some])
                for k, some in told_of.items()
            }
        )
    told: dict[str, Any] = {"people": len(people), "windows": sum(look.kind == "sync" for look in chosen)}
    told["delay right"] = _interval(people, lambda some: _share_right(some, "sync"))
    present = {look.kind for look in chosen}
    told["kept"] = {
        kind: [round(float(np.mean(kept)), 3), len(kept)]
        for kind in sorted(present)
        for kept in [[look.is_kept for look in chosen if look.kind == kind]]
    }
    for kind in (str(shift_ms) for shift_ms in SHIFTS_MS if str(shift_ms) in present):
        told[f"{kind} ms: delay right"] = _interval(people, lambda some, kind=kind: _share_right(some, kind))
        told[f"{kind} ms: AUC"] = _interval(people, lambda some, kind=kind: 1 - _auc(some, kind, 1))
    for kind in ("same", "other"):
        if kind not in present:  # nobody speaks long enough
            continue
        told[f"wrong sound, {kind} speaker: AUC"] = _interval(people, lambda some, kind=kind: _auc(some, kind, 2))
    return told


def _share_right(people: _People, kind: str) -> float:
    """Share of delays that are right, each person counting the same."""
    right = [float((found[kind][:, 0] <= RIGHT_MS).mean()) for found in people if kind in found]
    return float(np.mean(right)) if right else float("nan")


def _auc(people: _People, kind: str, column: int) -> float:
    """Chance that a window in sync has more in a column than one of another kind; a tie is half."""
    own, wrong = ([found[k][:, column] for found in people if k in found] for k in ("sync", kind))
    if not own or not wrong:
        return float("nan")
    ordered, own = np.sort(np.concatenate(wrong)), np.concatenate(own)
    below = np.searchsorted(ordered, own, "left") + np.searchsorted(ordered, own, "right")
    return float(below.mean() / 2 / len(ordered))


def _interval(people: _People, measure: Callable[[_People], float]) -> list[float]:
    """The measure, and the 2.5th and 97.5th percentile of what it is for people drawn anew."""
    random = np.random.default_rng(0)
    drawn = [
        measure([people[k] for k in random.integers(len(people), size=len(people))]) for _ in range(NUM_BOOTSTRAPS)
    ]
    return [round(float(value), 3) for value in (measure(people), *np.nanpercentile(drawn, [2.5, 97.5]))]
