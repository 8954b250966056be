"""What the composer says of a film is true of the file: read back by decoding."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.known.media_files import coded_frame, read_code
from benchmarks.wild.films import covers, people, pictures, sounds
from benchmarks.wild.films.clips import Clip
from benchmarks.wild.films.film import Film
from benchmarks.wild.films.recipes import RECIPES, Cast
from stages.core.reasons import DropReason
from stages.core.records import AUDIO_RATE_HZ
from stages.media import decode_audio, decode_video
from tests.benchmarks.wild.drawn import MIDDLE, SIZE_PX, drawn_clip, voice

pytestmark = pytest.mark.slow  # each writes and reads a film

FPS = Fraction(25)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    return [drawn_clip(folder, name, first) for name, first in (("a", 0), ("b", 300), ("c", 600))]


def written(film: Film, folder: Path) -> list[np.ndarray]:
    path = folder / "film.mp4"
    film.write(path)
    return [frame.rgb for frame in decode_video(path)]


def test_a_cut_is_at_its_frame(clips, tmp_path):
    film = pictures.joined(clips[0], clips[1])
    numbers = [read_code(rgb) for rgb in written(film, tmp_path)]
    ((start_s, end_s),) = film.cuts_s
    at = round(start_s * FPS)
    assert start_s == end_s and at == 105
    assert numbers[:at] == list(range(at)) and numbers[at:] == list(range(300, 300 + len(numbers) - at))


def test_sound_changes_with_the_picture(clips, tmp_path):
    film = pictures.joined(clips[0], clips[1])
    film.write(tmp_path / "film.mp4")
    audio = decode_audio(tmp_path / "film.mp4")
    levels = {hz: _level_of(audio, hz) for hz in (200.0, 500.0)}
    assert levels[200.0][: 210 - 5].max() > 10 * levels[500.0][: 210 - 5].max()
    assert levels[500.0][210 + 5 :].max() > 10 * levels[200.0][210 + 5 :].max()


def _level_of(audio: np.ndarray, hz: float) -> np.ndarray:
    """Level of a tone in each 20 ms."""
    t = np.arange(len(audio)) / AUDIO_RATE_HZ
    turned = audio * np.exp(-2j * np.pi * hz * t)
    return np.abs(turned[: len(turned) // 320 * 320].reshape(-1, 320).mean(axis=1))


@pytest.mark.parametrize("dissolve_s", [0.2, 1.0])
def test_a_dissolve_mixes_within_its_span_only(clips, dissolve_s):
    film = pictures.joined(clips[0], clips[1], dissolve_s)
    ((start_s, end_s),) = film.cuts_s
    first, end = round(start_s * FPS), round(end_s * FPS)
    pure = [{tuple(np.unique(coded_frame(n))) for n in (k, 300 + k - first)} for k in range(film.num_frames)]
    mixed = [k for k, rgb in enumerate(film.frames()) if not (set(np.unique(rgb)) <= {40, 41, 219, 220, 39, 221})]
    assert end - first == round(dissolve_s * FPS) and len(pure) == film.num_frames
    assert mixed and first <= mixed[0] and mixed[-1] < end
    assert len(mixed) >= 0.9 * (end - first)


def test_a_jump_leaves_out_what_it_says(clips, tmp_path):
    film = pictures.jump_cut(clips[0], 3.0, 0.8)
    numbers = [read_code(rgb) for rgb in written(film, tmp_path)]
    assert numbers[:75] == list(range(75)) and numbers[75:] == list(range(95, 200))
    assert film.cuts_s == ((3.0, 3.0),)
    assert len(film.audio) == round(film.duration_s * AUDIO_RATE_HZ)


def test_a_held_picture_stands_still_for_its_span(clips, tmp_path):
    film = pictures.held(clips[0], 50, 100)
    numbers = [read_code(rgb) for rgb in written(film, tmp_path)]
    assert numbers == [*range(50), *[50] * 50, *range(100, 200)]
    assert [(span.start_s, span.end_s) for span in film.spans if span.reasons] == [(2.0, 4.0)]


@pytest.mark.parametrize("sound", ["white", "traffic", "music", "babble"])
@pytest.mark.parametrize("snr_db", [20.0, 0.0])
def test_a_disturbance_has_its_level(sound, snr_db):
    speech = voice(220.0, 6.0)
    makers = {"white": sounds.white, "traffic": sounds.traffic, "music": sounds.music}
    makers["babble"] = sounds.babble([voice(330.0, 5.0), voice(470.0, 5.0)])
    disturbance = makers[sound](len(speech), np.random.default_rng(3))
    both = sounds.mixed(speech, disturbance, snr_db).astype(np.float64)
    parts = np.stack([speech, disturbance], axis=1).astype(np.float64)
    gains, rest, *_ = np.linalg.lstsq(parts, both, rcond=None)
    assert rest[0] < 1e-6 * (both @ both)
    t = np.arange(len(speech)) / AUDIO_RATE_HZ
    spoken = t % 0.3 < 0.2
    found = np.square(gains[0] * speech[spoken]).mean() / np.square(gains[1] * disturbance).mean()
    assert 10 * np.log10(found) == pytest.approx(snr_db, abs=0.3)
    assert np.abs(both).max() <= 0.96


@pytest.mark.parametrize("late_ms", [-600.0, -40.0, 40.0, 400.0])
def test_a_shift_is_what_it_says_in_the_file(clips, tmp_path, late_ms):
    random = np.random.default_rng(0)
    audio = np.repeat(random.normal(size=8 * 100), 160).astype(np.float32) * 0.1  # level steps, each 10 ms
    film = clips[0].film()
    path = tmp_path / "film.mp4"
    Film(film.frames, film.fps, film.num_frames, sounds.shifted(audio, late_ms), film.spans).write(path)
    heard = decode_audio(path)
    length = min(len(heard), len(audio))
    spectrum = np.conj(np.fft.rfft(audio[:length], 2 * length)) * np.fft.rfft(heard[:length], 2 * length)
    lag = int(np.fft.irfft(spectrum).argmax())
    lag = lag - 2 * length if lag > length else lag
    assert lag / AUDIO_RATE_HZ * 1000 == pytest.approx(late_ms, abs=1.0)


@pytest.mark.parametrize("rt60_s", [0.4, 1.5])
def test_a_room_decays_as_it_should_and_delays_nothing(rt60_s):
    impulse = np.zeros(3 * AUDIO_RATE_HZ, np.float32)
    impulse[100] = 0.9
    response = sounds.reverberant(impulse, rt60_s, np.random.default_rng(1)).astype(np.float64)
    assert np.abs(response).argmax() == 100
    tail = np.square(response[101:])[::-1].cumsum()[::-1]
    level_db = 10 * np.log10(tail / tail[0] + 1e-12)
    t5, t25 = (np.flatnonzero(level_db < level)[0] / AUDIO_RATE_HZ for level in (-5, -25))
    assert 3 * (t25 - t5) == pytest.approx(rt60_s, rel=0.1)


def test_clipping_cuts_off_what_stands_over():
    loud = sounds.clipped(voice(220.0, 2.0), 24.0)
    assert (np.abs(loud) >= 0.8 - 1e-6).mean() > 0.5
    assert np.abs(loud).max() == pytest.approx(0.8)


def test_voices_alternate_within_two_seconds():
    random = np.random.default_rng(0)
    both = sounds.alternating(voice(220.0, 8.0), voice(470.0, 8.0), random)
    second = _level_of(both, 470.0) > 0.05
    changes = np.flatnonzero(np.diff(np.convolve(second, np.ones(15), "same") > 0)) / 50
    assert len(changes) >= 4
    assert max(b - a for a, b in pairwise(changes)) < 2.4


def test_other_languages_are_those_not_wanted():
    assert {sounds.foreign(("zh", "en"), 6 * AUDIO_RATE_HZ, seed)[0] for seed in range(3)} == {"es", "fr", "de"}


def test_a_hand_hides_the_lips_within_its_span_only(clips):
    film = covers.covered(clips[0], covers.hand(clips[0]), 3.0, 4.5)
    (span,) = [span for span in film.spans if span.reasons]
    x, y = np.add(MIDDLE, (0, 14)).astype(int)
    lips = np.s_[y - 2 : y + 3, x - 5 : x + 6]
    both = zip(film.frames(), clips[0].frames(), strict=True)
    changed = [k for k, (rgb, plain) in enumerate(both) if (rgb[lips] != plain[lips]).any()]
    first, last = round(span.start_s * FPS), round(span.end_s * FPS) - 1
    assert abs(changed[0] - first) <= 2 and abs(changed[-1] - last) <= 2
    assert 3.0 <= span.start_s < 3.25 and 4.25 < span.end_s <= 4.5


def test_a_mask_covers_mouth_and_nose_but_not_the_eyes(clips):
    film = covers.masked(clips[0], (150, 190, 215), 2.0, 4.0)
    frames, plain = list(film.frames()), list(clips[0].frames())
    x, y = MIDDLE.astype(int)
    assert (frames[60][y + 14, x] != plain[60][y + 14, x]).any()
    assert (frames[60][y - 12] == plain[60][y - 12]).all()
    assert (frames[49] == plain[49]).all() and (frames[100] == plain[100]).all()


def test_a_second_person_is_there_from_its_time_on(clips):
    film = people.second_person(clips[0], clips[1], 4.0)
    frames = list(film.frames())
    (span,) = [span for span in film.spans if span.reasons]
    walls = [rgb[:, SIZE_PX[0] :].astype(int) for rgb in frames]
    differs = [k for k, wall in enumerate(walls) if np.abs(wall - wall[:, :1]).max() > 60]
    assert span.end_s == film.duration_s and 4.0 < span.start_s < 4.6
    assert 100 < differs[0] <= round(span.start_s * FPS) and differs[-1] == len(frames) - 1
    assert all((rgb[:, :40] == plain[:, :40]).all() for rgb, plain in zip(frames, clips[0].frames(), strict=True))


def test_a_swap_changes_the_face_and_nothing_else(clips):
    film = people.swapped(clips[0], clips[1], 4.0, 0.0)
    before, after = list(clips[0].frames()), list(film.frames())
    assert all((a == b).all() for a, b in zip(before[:100], after[:100], strict=True))
    assert all((a[:, :50] == b[:, :50]).all() for a, b in zip(before, after, strict=True))
    x, y = MIDDLE.astype(int)
    assert any(
        (a[y, x - 10 : x + 10] != b[y, x - 10 : x + 10]).any() for a, b in zip(before[100:], after[100:], strict=True)
    )
    assert film.cuts_s == ((4.0, 4.0),)


def test_a_pause_is_added_in_picture_and_sound(clips):
    film = pictures.pausing(clips[0], 1.0)
    numbers = [read_code(rgb) for rgb in film.frames()]
    assert film.num_frames == len(numbers) == 225 and len(film.audio) == 9 * AUDIO_RATE_HZ
    steps = np.abs(np.diff(numbers))
    assert steps.max() <= 3 and numbers[-1] == 199


@pytest.mark.parametrize("name", RECIPES)
def test_every_film_is_whole_and_its_truth_covers_it(clips, name):
    film = RECIPES[name].film(Cast(clips[0], (clips[1], clips[2]), ("zh",), 7))
    edges = [span.start_s for span in film.spans] + [film.spans[-1].end_s]
    assert edges[0] == 0 and edges[-1] == pytest.approx(film.duration_s)
    assert all(a.end_s == b.start_s for a, b in pairwise(film.spans))
    assert all(0 < start_s <= end_s < film.duration_s for start_s, end_s in film.cuts_s)
    known = {str(reason) for reason in DropReason} | {"transition"}
    assert {reason for span in film.spans for reason in span.reasons} <= known
    assert abs(len(film.audio) / AUDIO_RATE_HZ - film.duration_s) <= 0.04
    assert np.isfinite(film.audio).all() and np.abs(film.audio).max() <= 1
    frames = list(film.frames())
    assert len(frames) == film.num_frames and len({rgb.shape for rgb in frames}) == 1
    assert {rgb.dtype for rgb in frames} == {np.dtype(np.uint8)}
