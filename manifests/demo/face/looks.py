"""What the painted people look like."""

from __future__ import annotations

from dataclasses import dataclass

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """What makes one painted person.

    Args:
        seed: of the face's shape and all texture.
        strength: how far the shape is from the mean, in standard deviations of the face model.
        hair_mm: thickness of the hair; hair_length: how far down it hangs, in face heights below the eyes.
        hairline: lowers (positive) or raises the hair over the forehead, in mm.
        curl: 0 straight hair, 1 curls.
        beard: 0 none to 1 full.
        brow: thickness of the brows, 1 is usual.
        glasses: wears a frame.
    """

    seed: int
    skin: Rgb
    lips: Rgb
    hair: Rgb
    iris: Rgb
    shirt: Rgb
    wall: tuple[Rgb, Rgb]
    strength: float = 1.3
    hair_mm: float = 12.0
    hair_length: float = 0.0
    hairline: float = 0.0
    curl: float = 0.0
    beard: float = 0.0
    brow: float = 1.0
    glasses: bool = False


LOOKS: dict[str, Look] = {
    "lin": Look(
        seed=104,
        skin=(232, 190, 164),
        lips=(190, 92, 92),
        hair=(34, 27, 26),
        iris=(52, 32, 22),
        shirt=(62, 92, 140),
        wall=((206, 214, 222), (150, 166, 182)),
        hair_mm=10.0,
        hair_length=1.1,
        hairline=12.0,
        brow=0.8,
    ),
    "zhao": Look(
        seed=27,
        skin=(196, 146, 112),
        lips=(150, 88, 78),
        hair=(120, 118, 116),
        iris=(40, 26, 20),
        shirt=(70, 74, 70),
        wall=((120, 132, 120), (72, 84, 76)),
        strength=1.5,
        hair_mm=6.0,
        hairline=-14.0,
        beard=0.8,
        brow=1.6,
    ),
    "mei": Look(
        seed=105,
        skin=(122, 80, 58),
        lips=(122, 58, 58),
        hair=(24, 19, 18),
        iris=(34, 22, 16),
        shirt=(176, 120, 40),
        wall=((214, 190, 160), (170, 138, 108)),
        strength=1.5,
        hair_mm=20.0,
        hair_length=0.3,
        hairline=4.0,
        curl=1.0,
        brow=1.1,
    ),
    "guo": Look(
        seed=58,
        skin=(238, 204, 186),
        lips=(196, 112, 106),
        hair=(126, 70, 30),
        iris=(70, 100, 120),
        shirt=(120, 40, 48),
        wall=((180, 190, 206), (110, 120, 146)),
        strength=1.5,
        hair_mm=9.0,
        hairline=2.0,
        brow=1.3,
        glasses=True,
    ),
}
