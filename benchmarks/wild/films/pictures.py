"""Faults of pictures: cuts, light, stills, screens, cartoons, coding, text; and harmless look-alikes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import cv2
import numpy as np

from benchmarks.wild.films.clips import Clip, FaceFrame, covering_matrix, warped
from benchmarks.wild.films.film import Film, Span, fitted, samples_until
from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS
from stages.face.landmarks import FOREHEAD, LIP_GAP

FONT = cv2.FONT_HERSHEY_SIMPLEX
SUBTITLES = ("MA MA HU HU", "JIN TIAN TIAN QI", "YI QI SAN BU", "XIA CI ZAI JIAN")


FIRST_S, OTHER_S = 4.2, 6.0
"""Lengths of two consecutive clips, unequal because a long shot is halved and its middle must not be the cut."""


def joined(clip: Clip, other: Clip, dissolve_s: float = 0.0) -> Film:
    """A clip and then another, with a hard cut or a dissolve between them."""
    num_blended = round(dissolve_s * clip.fps)
    num_first = min(round(FIRST_S * clip.fps), clip.num_frames - num_blended)
    num_other = min(round(OTHER_S * clip.fps), int(other.num_frames / other.fps * clip.fps) - num_blended)
    first, end = num_first - num_blended // 2, num_first - num_blended // 2 + num_blended
    num_frames, matrix = num_first + num_other, covering_matrix(other, clip.size_px)

    def frames() -> Iterator[np.ndarray]:
        ahead = clip.frames()
        behind = (warped(rgb, matrix, clip.size_px) for rgb in other.frames(clip.fps, num_frames - first))
        held = None
        for k in range(num_frames):
            share = (k - first + 1) / (num_blended + 1) if k < end else 1.0
            if k < first:
                yield next(ahead)
                continue
            held = next(ahead, held) if share < 1 else None
            rgb = next(behind)
            yield rgb if held is None else cv2.addWeighted(held, 1 - share, rgb, share, 0)

    at = samples_until(first / float(clip.fps))
    length = samples_until(num_frames / float(clip.fps))
    audio = np.concatenate([fitted(clip.audio, at), fitted(other.audio, length - at)])
    film = replace(clip.film(), frames=frames, num_frames=num_frames, audio=audio)
    return film.label_part(first, end, "transition", "too_short", "identity_change", "multi_face").cut_at(first, end)


def jump_cut(clip: Clip, at_s: float, missing_s: float) -> Film:
    """The same scene with a piece taken out: head and lips jump, sound and picture stay together."""
    first, gap = round(at_s * clip.fps), round(missing_s * clip.fps)
    num_frames = clip.num_frames - gap

    def frames() -> Iterator[np.ndarray]:
        for k, rgb in enumerate(clip.frames()):
            if not first <= k < first + gap:
                yield rgb

    a, b = samples_until(first / float(clip.fps)), samples_until((first + gap) / float(clip.fps))
    audio = np.concatenate([clip.audio[:a], clip.audio[b:]])
    film = replace(clip.film(), frames=frames, num_frames=num_frames, audio=audio)
    return film.label_part(first, first).cut_at(first, first)


def lit(clip: Clip, gain: Callable[[float], float]) -> Film:
    """The light changes: a factor on the picture at each time in seconds."""
    film = clip.film()

    def draw(k: int, rgb: np.ndarray) -> np.ndarray:
        return np.clip(rgb * np.float32(gain(film.time_s(k))), 0, 255).astype(np.uint8)

    return film.change(draw)


def flashes(clip: Clip) -> Film:
    """Three photographers' flashes: up to four times the light, gone within 0.15 s."""
    at_s = [share * clip.num_frames / float(clip.fps) for share in (0.3, 0.5, 0.8)]
    return lit(clip, lambda t: 1 + sum(3 * np.exp(-(t - a) / 0.05) for a in at_s if 0 <= t - a < 0.4))


def lamp(clip: Clip, begin_s: float, end_s: float) -> Film:
    """A lamp is switched on, and off again: half as much light more."""
    return lit(clip, lambda t: 1.5 if begin_s <= t < end_s else 1.0)


def held(clip: Clip, first: int, end: int) -> Film:
    """The picture stands still over frames [first, end) while the voice goes on."""
    film, still = clip.film(), list[np.ndarray]()

    def draw(k: int, rgb: np.ndarray) -> np.ndarray:
        if k == first:
            still[:] = [rgb]
        return still[0] if first <= k < end else rgb

    return film.change(draw).label_part(first, end, "mouth_static")


def slides(clips: list[Clip], seconds_each: float) -> Film:
    """Stills that follow each other, under the first clip's voice."""
    clip = clips[0]
    each = round(seconds_each * clip.fps)

    def frames() -> Iterator[np.ndarray]:
        for k in range(-(-clip.num_frames // each)):
            shown = clips[k % len(clips)]
            picture = next(islice(shown.frames(), 10 * (k // len(clips)), None))
            still = warped(picture, covering_matrix(shown, clip.size_px), clip.size_px)
            yield from [still] * min(each, clip.num_frames - k * each)

    film = replace(clip.film(), frames=frames).label("mouth_static", "too_short", "face_lost", "no_face")
    for k in range(each, clip.num_frames, each):
        film = film.cut_at(k, k)
    return film


def screen(clip: Clip, face_px: float) -> Film:
    """A recorded screen: pages of text, a pointer, and the speaker small in a corner."""
    size_px, film = (1280, 720), clip.film()
    face = FaceFrame.of(np.median(clip.points(), axis=0))
    scale, side = face_px / face.height_px, round(2.2 * face_px)
    matrix = np.array([[scale, 0, side / 2 - scale * face.middle[0]], [0, scale, side / 2 - scale * face.middle[1]]])

    def draw(k: int, rgb: np.ndarray) -> np.ndarray:
        page = np.full((size_px[1], size_px[0], 3), 252, np.uint8)
        page[:44] = (60, 90, 150)
        for line in range(18):
            words = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do "[line % 9 * 5 :]
            shown = words[: 20 + (line * 13 + int(film.time_s(k) // 3) * 7) % 40]
            cv2.putText(page, shown, (60, 90 + 34 * line), FONT, 0.7, (50, 50, 50), 1, cv2.LINE_AA)
        pointer = (round(300 + 200 * np.sin(k / 20)), round(350 + 100 * np.cos(k / 31)))
        cv2.circle(page, pointer, 6, (20, 20, 20), -1, cv2.LINE_AA)
        page[-side - 10 : -10, -side - 10 : -10] = warped(rgb, matrix, (side, side))
        return page

    return film.change(draw).label("face_too_small", "no_face")


def cartoon(clip: Clip) -> Film:
    """Flat colours and black outlines, as a drawn film has."""

    def draw(_: int, rgb: np.ndarray) -> np.ndarray:
        smooth = rgb
        for _ in range(3):
            smooth = cv2.bilateralFilter(smooth, 7, 40, 7)
        flat = (smooth // 36 * 36 + 18).astype(np.uint8)
        grey = cv2.medianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), 7)
        lines = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, 8)
        return np.where(lines[..., None] > 0, flat, 20).astype(np.uint8)

    return clip.film().change(draw)


def enlarged(clip: Clip, face_px: float) -> Film:
    """Shrunk until the face has so many pixels, and enlarged again."""
    scale = min(1.0, face_px / FaceFrame.of(np.median(clip.points(), axis=0)).height_px)
    small = (max(16, round(clip.size_px[0] * scale)), max(16, round(clip.size_px[1] * scale)))

    def draw(_: int, rgb: np.ndarray) -> np.ndarray:
        shrunk = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA)
        return cv2.resize(shrunk, clip.size_px, interpolation=cv2.INTER_CUBIC)

    return clip.film().change(draw)


def letterboxed(clip: Clip) -> Film:
    """Black bars above and below, a fifth of the height each."""
    bar = clip.size_px[1] // 5 // 2 * 2
    return clip.film().change(lambda _, rgb: np.pad(rgb, ((bar, bar), (0, 0), (0, 0))))


def subtitled(clip: Clip, height: float) -> Film:
    """Two lines of white text with a dark edge, that change every two seconds.

    Args:
        height: place of the first line's middle, in face heights under the forehead; the lips are at .78, the chin at
            1.
    """
    film, points = clip.film(), clip.points()
    face = FaceFrame.of(np.median(points, axis=0))
    size, thick = face.height_px / 190, max(1, round(face.height_px / 80))
    top = float(np.median(points[:, FOREHEAD, 1]))

    def draw(k: int, rgb: np.ndarray) -> np.ndarray:
        out = rgb.copy()
        for line in range(2):
            text = SUBTITLES[(int(film.time_s(k) / 2) + line) % len(SUBTITLES)]
            (width, tall), _ = cv2.getTextSize(text, FONT, size, thick)
            at = (round(face.middle[0] - width / 2), round(top + (height + 0.17 * line) * face.height_px + tall / 2))
            cv2.putText(out, text, at, FONT, size, (10, 10, 10), 3 * thick, cv2.LINE_AA)
            cv2.putText(out, text, at, FONT, size, (250, 250, 250), thick, cv2.LINE_AA)
        return out

    return film.change(draw)


def moved(clip: Clip, zoom: float, pan: float) -> Film:
    """The camera closes in by `zoom` and drifts by `pan` of the width, evenly over the clip."""
    film, size = clip.film(), np.array(clip.size_px, np.float64)

    def draw(k: int, rgb: np.ndarray) -> np.ndarray:
        share = k / film.num_frames
        scale = 1 + zoom * share + pan
        corner = size * (scale - 1) * (share if pan else 0.5)
        return warped(rgb, np.array([[scale, 0, -corner[0]], [0, scale, -corner[1]]]), clip.size_px)

    return film.change(draw)


def tilted(clip: Clip, roll_deg: float) -> Film:
    """The camera held askew, turned about the face."""
    face = FaceFrame.of(np.median(clip.points(), axis=0))
    matrix = cv2.getRotationMatrix2D((float(face.middle[0]), float(face.middle[1])), roll_deg, 1.0)
    return clip.film().change(lambda _, rgb: warped(rgb, matrix, clip.size_px))


def jpeg(clip: Clip, quality: int) -> Film:
    """Every frame was a JPEG before."""

    def draw(_: int, rgb: np.ndarray) -> np.ndarray:
        _, data = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))

    return clip.film().change(draw)


def pausing(clip: Clip, seconds: float) -> Film:
    """The speaker stops for a while where the lips are closed: a few frames run to and fro, and the room is quiet."""
    tracked = clip.tracked
    gap = np.linalg.norm(tracked[:, LIP_GAP[0]] - tracked[:, LIP_GAP[1]], axis=1)
    still = np.convolve(gap, np.ones(5) / 5, "same")
    inner = slice(len(gap) // 3, 2 * len(gap) // 3)
    first = round((inner.start + int(still[inner].argmin())) / CLIP_FPS * clip.fps)
    reach, num_added = max(1, round(0.08 * clip.fps)), round(seconds * clip.fps)

    def frames() -> Iterator[np.ndarray]:
        recent: list[np.ndarray] = []
        for k, rgb in enumerate(clip.frames()):
            recent = [*recent[-reach:], rgb]
            yield rgb
            if k == first:
                to_and_fro = [*reversed(recent[:-1]), *recent[1:]]
                yield from (to_and_fro[j % len(to_and_fro)] for j in range(num_added))

    at, length = samples_until((first + 1) / float(clip.fps)), round(num_added / clip.fps * AUDIO_RATE_HZ)
    frame = AUDIO_RATE_HZ // 50
    power = np.square(clip.audio[: len(clip.audio) // frame * frame]).reshape(-1, frame).mean(axis=1)
    room = np.random.default_rng(0).normal(0, np.sqrt(np.percentile(power, 5)), length).astype(np.float32)
    audio = np.concatenate([clip.audio[:at], room, clip.audio[at:]])
    num_frames = clip.num_frames + num_added
    whole = Span(0.0, num_frames / float(clip.fps))
    return replace(clip.film(), frames=frames, num_frames=num_frames, audio=audio, spans=(whole,))
