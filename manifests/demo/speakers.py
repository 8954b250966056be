"""The cast: who there is, how they look and how they sound. None of them is anyone's likeness but the astronaut's."""

from __future__ import annotations

from dataclasses import dataclass

from manifests.demo.face import portrait
from manifests.demo.face.looks import LOOKS
from manifests.demo.face.painted import paint_portrait
from manifests.demo.face.portrait import Portrait
from manifests.demo.voice.speech import Voice
from stages.core.weights import WeightStore


@dataclass(frozen=True)
class Speaker:
    """A person of the corpus: `look` names a painted head, none is the photo."""

    speaker_id: str
    voice: Voice
    look: str | None


CAST: dict[str, Speaker] = {
    s.speaker_id: s
    for s in [
        Speaker("astronaut", Voice(pitch=30), None),
        Speaker("lin", Voice("cmn+Annie", 160, 70, 70), "lin"),
        Speaker("zhao", Voice("cmn+Annie", 190, 45, 80, 1.2), "zhao"),
        Speaker("mei", Voice("cmn+Annie", 150, 50, 60, 0.92), "mei"),
        Speaker("guo", Voice("cmn+Annie", 185, 30, 50, 1.15), "guo"),
    ]
}
ENGLISH_VOICE = Voice("en-us", 175, 40, 70, 1.1)


def portrait_of(speaker: Speaker, weights: WeightStore) -> Portrait:
    """The still picture that the speaker's videos are made from."""
    if speaker.look is None:
        return portrait.astronaut(weights)
    return paint_portrait(LOOKS[speaker.look], weights)
