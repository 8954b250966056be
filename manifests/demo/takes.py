"""A take: pictures, sound and truth of one video before it is written, and what may go wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import cv2
import numpy as np
from scipy.signal import lfilter

from manifests.demo.face.animate import Framing, Performance, framing_matrix, perform
from manifests.demo.face.lips import LipMotion, lip_motion
from manifests.demo.face.mesh import OVAL
from manifests.demo.face.portrait import Portrait
from manifests.demo.voice.speech import Speech, Voice, speak
from stages.core.records import AUDIO_RATE_HZ

Frames = Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Take:
    """One video before it is written.

    Args:
        frames: returns the uint8 (H, W, 3) pictures at each call.
        audio: float32 (N,) at 16 kHz, or None for a silent file.
        opening: float32 (T,), true gap between the lips over the face's height, per frame.
        offset_ms: delay of the sound against the lips.
        cuts_s: times of hard cuts.
    """

    frames: Frames
    fps: Fraction
    audio: np.ndarray | None
    opening: np.ndarray
    text: str
    language: str = "zh"
    offset_ms: float = 0.0
    cuts_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Scene:
    """Who speaks, what, how long and how the camera sees it."""

    portrait: Portrait
    voice: Voice
    sentences: tuple[str, ...]
    seconds: float
    fps: Fraction = Fraction(25)
    framing: Framing = field(default_factory=Framing)
    seed: int = 0

    @property
    def num_frames(self) -> int:
        return round(self.seconds * self.fps)


def talk(scene: Scene) -> Take:
    """A clean take."""
    return _take(scene, *_act(scene))


def _act(scene: Scene) -> tuple[Speech, Performance]:
    speech = speak(scene.sentences, scene.voice, scene.num_frames / float(scene.fps))
    lips = lip_motion(speech, scene.num_frames, scene.fps)
    return speech, perform(scene.portrait, lips, scene.framing, scene.fps, scene.seed)


def _take(scene: Scene, speech: Speech, performance: Performance) -> Take:
    return Take(performance.frames, scene.fps, speech.audio, performance.opening, speech.text)


def with_photo_lips(scene: Scene) -> Take:
    """Speech over a face that blinks and sways, but never opens its mouth."""
    speech, _ = _act(scene)
    closed = LipMotion(np.zeros(scene.num_frames, np.float32), np.zeros(scene.num_frames, np.float32))
    return _take(scene, speech, perform(scene.portrait, closed, scene.framing, scene.fps, scene.seed))


def with_mask(scene: Scene) -> Take:
    """A cloth mask over nose and mouth."""
    speech, performance = _act(scene)

    def frames() -> Iterator[np.ndarray]:
        for rgb, mesh in zip(performance.frames(), performance.mesh, strict=True):
            yield _masked(rgb, mesh)

    return replace(_take(scene, speech, performance), frames=frames)


def _masked(rgb: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """Cloth from the bridge of the nose to under the chin, with folds that follow the face."""
    jaw = mesh[[234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454]]
    chin, bridge = mesh[152], mesh[197]
    down = (chin - bridge) * 0.06
    upper = mesh[[454, 280, 425, 197, 205, 50, 234]].copy()
    upper[[0, -1]] = mesh[[323, 93]]
    outline = np.concatenate([jaw[1:-1] + down, upper])
    low = np.maximum(np.floor(outline.min(0)).astype(int) - 4, 0)
    high = np.minimum(np.ceil(outline.max(0)).astype(int) + 5, rgb.shape[1::-1])
    rows, columns = np.mgrid[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    mask = np.zeros(rows.shape, np.uint8)
    cv2.fillPoly(mask, [np.round((outline - low) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), 1.2).astype(np.float32)[..., None] / 255
    height, half = chin[1] - bridge[1], np.ptp(jaw[:, 0]) / 2
    across, along = (columns - bridge[0]) / half, (rows - bridge[1]) / height
    light = 0.98 - 0.28 * across**2 - 0.1 * across - 0.12 * along
    folds = sum(0.05 * np.exp(-(((along - at - 0.08 * across**2) / 0.018) ** 2)) for at in (0.35, 0.55, 0.75))
    cloth = np.array((172, 204, 222), np.float32) * (light - folds)[..., None]
    patch = rgb[low[1] : high[1], low[0] : high[0]]
    patch[:] = np.clip(patch * (1 - soft) + cloth * soft, 0, 255).astype(np.uint8)
    return rgb


def side_by_side(left: Scene, right: Scene) -> Take:
    """Two people in the picture; the left one speaks, the right one listens."""
    speech, speaker = _act(left)
    listener = with_photo_lips(right)

    def frames() -> Iterator[np.ndarray]:
        for one, other in zip(speaker.frames(), listener.frames(), strict=True):
            yield np.ascontiguousarray(np.hstack([one, other]))

    return replace(_take(left, speech, speaker), frames=frames)


def cut(first: Take, second: Take) -> Take:
    """One take after the other, with a hard cut between them."""

    def frames() -> Iterator[np.ndarray]:
        yield from first.frames()
        yield from second.frames()

    return replace(
        first,
        frames=frames,
        audio=_join(first.audio, second.audio),
        opening=np.concatenate([first.opening, second.opening]),
        text=f"{first.text} {second.text}",
        cuts_s=(len(first.opening) / float(first.fps),),
    )


def morph(first: Scene, second: Scene, seconds: float) -> Take:
    """One face that turns into another within `seconds`, in the middle of what it says; both scenes are alike."""
    speech, one = _act(first)
    lips = lip_motion(speech, first.num_frames, first.fps)
    other = perform(second.portrait, lips, second.framing, second.fps, first.seed)
    times_s = np.arange(first.num_frames) / float(first.fps)
    share = np.clip((times_s - (first.seconds - seconds) / 2) / seconds, 0, 1).astype(np.float32)

    def frames() -> Iterator[np.ndarray]:
        pair = zip(one.frames(), other.frames(), one.mesh, other.mesh, share, strict=True)
        for picture_a, picture_b, mesh_a, mesh_b, s in pair:
            if s in (0, 1):
                yield picture_b if s else picture_a
            else:
                middle = mesh_a + (mesh_b - mesh_a) * s
                moved_a, moved_b = _aligned(picture_a, mesh_a, middle), _aligned(picture_b, mesh_b, middle)
                yield cv2.addWeighted(moved_a, 1 - float(s), moved_b, float(s), 0)

    return replace(_take(first, speech, one), frames=frames)


def _aligned(rgb: np.ndarray, mesh: np.ndarray, target: np.ndarray) -> np.ndarray:
    chosen = [*OVAL, 33, 263, 61, 291, 1]
    matrix, _ = cv2.estimateAffinePartial2D(mesh[chosen], target[chosen])
    return cv2.warpAffine(rgb, matrix, rgb.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def with_audio(take: Take, audio: np.ndarray | None) -> Take:
    return replace(take, audio=audio)


def sound_of(take: Take) -> np.ndarray:
    if take.audio is None:
        raise ValueError("a take without sound")
    return take.audio


def delayed(take: Take, delay_ms: float) -> Take:
    """The sound comes late: silence first, and its end is lost."""
    audio = sound_of(take)
    shift = round(delay_ms / 1000 * AUDIO_RATE_HZ)
    late = np.concatenate([np.zeros(shift, np.float32), audio[:-shift]])
    return replace(take, audio=late, offset_ms=delay_ms)


def noise(num_samples: int, seed: int) -> np.ndarray:
    """Wind and traffic: low rumble and a broad hiss that come and go, RMS 1."""
    random = np.random.default_rng(seed)
    white = random.normal(size=num_samples)
    rumble = _recursive([1, -0.97], random.normal(size=num_samples)) * 0.25
    gusts = 1 + 0.5 * np.sin(2 * np.pi * np.cumsum(0.2 + 0.3 * random.random(num_samples)) / AUDIO_RATE_HZ)
    mixed = (0.55 * white + rumble) * gusts
    return (mixed / mixed.std()).astype(np.float32)


def with_noise(take: Take, snr_db: float, seed: int) -> Take:
    audio = sound_of(take)
    loud = audio[np.abs(audio) > 0.02]
    level = np.sqrt((loud**2).mean()) / 10 ** (snr_db / 20)
    mixed = audio + level * noise(len(audio), seed)
    return replace(take, audio=(mixed * 0.9 / np.abs(mixed).max()).astype(np.float32))


def music(num_samples: int) -> np.ndarray:
    """Plucked chords over a slow bass: no voice in it."""
    audio = np.zeros(num_samples)
    beat = AUDIO_RATE_HZ // 2
    chords = ((57, 60, 64, 69), (53, 57, 60, 65), (48, 52, 55, 60), (55, 59, 62, 67))
    for k, start in enumerate(range(0, num_samples, beat // 2)):
        chord = chords[(k // 8) % 4]
        length = min(beat * 2, num_samples - start)
        audio[start : start + length] += 0.5 * _pluck(chord[(k * 3) % 4] + 12 * (k % 2), length, seed=k)
        if k % 8 == 0:
            bass = min(beat * 4, num_samples - start)
            t = np.arange(bass) / AUDIO_RATE_HZ
            tone = np.sin(2 * np.pi * _hz(chord[0] - 24) * t) * np.exp(-1.2 * t)
            audio[start : start + bass] += 0.6 * tone
    return (audio * 0.6 / np.abs(audio).max()).astype(np.float32)


def _hz(note: int) -> float:
    return 440 * 2 ** ((note - 69) / 12)


def _pluck(note: int, length: int, seed: int) -> np.ndarray:
    """A string, as Karplus and Strong model it: noise through a delay line that loses its highs."""
    period = round(AUDIO_RATE_HZ / _hz(note))
    burst = np.zeros(length)
    burst[: min(period, length)] = np.random.default_rng(seed).uniform(-1, 1, min(period, length))
    feedback = np.zeros(period + 2)
    feedback[0], feedback[period], feedback[period + 1] = 1, -0.498, -0.498
    return _recursive(feedback, burst)


def _recursive(feedback: Sequence[float] | np.ndarray, signal: np.ndarray) -> np.ndarray:
    return np.asarray(lfilter([1.0], feedback, signal))


def frozen_wall(scene: Scene) -> Take:
    """The same speech over a picture with nobody in it."""
    speech, performance = _act(scene)
    size = (scene.framing.width_px, scene.framing.height_px)
    matrix = framing_matrix(scene.portrait, scene.framing)
    blurred = cv2.GaussianBlur(cv2.warpAffine(scene.portrait.rgb, matrix, size), (0, 0), 60)

    def frames() -> Iterator[np.ndarray]:
        for _ in range(scene.num_frames):
            yield blurred

    return replace(_take(scene, speech, performance), frames=frames, opening=np.zeros(scene.num_frames, np.float32))


def _join(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    return None if first is None or second is None else np.concatenate([first, second])
