"""The demo corpus: its truth must be true of the files, as the detectors and models of the pipeline see them."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from manifests.demo import __main__ as command
from manifests.demo import takes
from manifests.demo.corpus import RECIPES, Truth, make_corpus
from manifests.demo.face.face_motion import FaceRig, HeadMotion, MotionConfig
from manifests.demo.face.lips import LipMotion, lip_motion, lip_shapes
from manifests.demo.face.mesh import ring_points, triangles
from manifests.demo.face.portrait import NoFaceInPortrait, Portrait, astronaut, find_points
from manifests.demo.face.warp_kernel import fill_map
from manifests.demo.speakers import CAST, portrait_of
from manifests.demo.takes import Take
from manifests.demo.voice import texts
from manifests.demo.voice.speech import SpeechError, Voice, speak
from pipeline.job.manifest import read_manifest
from pipeline.rules.config import FinalizeConfig
from stages.core.reasons import Dropped, DropReason
from stages.core.records import AUDIO_RATE_HZ
from stages.core.weights import WeightStore
from stages.face.faces import FaceFinder
from stages.face.landmarks import CHIN, FOREHEAD, LIP_GAP, LandmarkDetector
from stages.hear import AudioGate, HearConfig
from stages.identity import IdentityChecker, IdentityConfig
from stages.media import decode_audio, decode_video, probe_media
from tests.stages.footage import clip_of

NAMES = ("clean_astronaut_2", "clean_guo_1", "hard_cut", "english", "no_audio", "truncated", "not_a_video")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def truths(folder: Path, weights: WeightStore) -> dict[str, Truth]:
    return make_corpus(folder, weights, names=NAMES, seconds=5.0)


@pytest.fixture(scope="module")
def photo(weights: WeightStore) -> Portrait:
    return astronaut(weights)


def still_head(num_frames: int) -> HeadMotion:
    return HeadMotion(
        np.zeros((num_frames, 3), np.float32), np.zeros((num_frames, 2), np.float32), np.zeros(num_frames)
    )


def silent_take(audio: np.ndarray, num_frames: int = 50) -> Take:
    return Take(lambda: iter(()), Fraction(25), audio, np.zeros(num_frames, np.float32), "")


def test_speech_fills_its_time_and_names_its_sounds_in_order():
    speech = speak(texts.WEATHER, Voice(pitch=30), 6.0)
    assert len(speech.audio) == 6 * AUDIO_RATE_HZ
    assert np.abs(speech.audio).max() == pytest.approx(0.6)
    assert speech.text.startswith(texts.WEATHER[0])
    assert all(one.end_s <= other.start_s + 1e-6 for one, other in pairwise(speech.phonemes))
    voiced_s = speech.phonemes[-1].end_s
    assert np.abs(speech.audio[round(voiced_s * AUDIO_RATE_HZ) + 1 :]).max() == 0


def test_a_slower_voice_is_longer_by_its_stretch():
    plain, slow = (speak(texts.CAT[:1], Voice(stretch=stretch), 8.0, lead_s=0.0) for stretch in (1.0, 1.25))
    assert slow.phonemes[-1].end_s == pytest.approx(1.25 * plain.phonemes[-1].end_s, abs=0.01)


def test_a_sentence_that_does_not_fit_is_shortened_to_its_first_clause():
    assert speak(texts.WEATHER, Voice(), 2.8).text == "今天天气很好。"
    with pytest.raises(SpeechError, match="longer than 1 s"):
        speak(texts.WEATHER[:1], Voice(), 1.0)


def test_the_same_words_sound_the_same_again():
    first = speak(texts.CAT, Voice(), 4.0)
    speak(texts.ENGLISH, Voice("en-us", 150), 6.0)
    again = speak(texts.CAT, Voice(), 4.0)
    assert np.array_equal(first.audio, again.audio) and first.phonemes == again.phonemes


def test_an_unknown_voice_is_refused():
    with pytest.raises(SpeechError, match="no-such-voice"):
        speak(texts.CAT, Voice("no-such-voice"), 4.0)


@pytest.mark.parametrize(
    ("symbol", "shapes"),
    [
        ("p", [(0.0, 0.1)]),
        ("'a", [(1.0, 0.0)]),
        ("'Au", [(1.0, 0.0), (0.22, 1.0)]),
        ("_:", [(0.0, 0.0)]),
        ("_|", [(0.0, 0.0)]),
    ],
)
def test_lip_shapes_of_sounds(symbol, shapes):
    assert lip_shapes(symbol) == shapes


def test_lips_move_with_the_voice_and_rest_in_silence():
    speech = speak(texts.WEATHER, Voice(pitch=30), 8.0)
    lips = lip_motion(speech, 200, Fraction(25))
    level = np.sqrt((speech.audio.reshape(200, -1) ** 2).mean(1))
    centres = np.convolve(lips.opening, [0.5, 0.5], "full")[1:]  # a level belongs to the middle of its frame's time
    correlation = [np.corrcoef(np.roll(level, lag), centres)[0, 1] for lag in range(-5, 6)]
    assert np.argmax(correlation) == 5 and correlation[5] > 0.7
    end = int(speech.phonemes[-1].end_s * 25) + 5
    assert lips.opening[end:].max() < 0.01 < 0.5 < lips.opening.max()


def test_the_warp_maps_each_pixel_to_where_its_triangle_came_from():
    target = np.array([[0, 0], [8, 0], [0, 8]], np.float32)
    source = target * 2 + np.array([3, 5], np.float32)
    map_x, map_y = np.full((10, 10), -1, np.float32), np.full((10, 10), -1, np.float32)
    fill_map(target, source, np.array([[0, 1, 2]], np.int32), map_x, map_y)
    rows, columns = np.mgrid[:10, :10]
    inside = rows + columns <= 8
    np.testing.assert_allclose(map_x[inside], (2 * columns + 3)[inside], atol=1e-4)
    np.testing.assert_allclose(map_y[inside], (2 * rows + 5)[inside], atol=1e-4)
    assert (map_x[~inside] == -1).all() and (map_y[~inside] == -1).all()


def test_the_mesh_covers_the_face_without_holes(photo):
    faces = triangles()
    points = np.concatenate([photo.points, ring_points(photo.points)])
    assert faces.max() == len(points) - 1
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count == 1).sum() == 36  # only the outer ring is open
    assert count.max() == 2


def test_lips_close_fully_and_open_as_far_as_told(photo):
    config = MotionConfig()
    lips = LipMotion(np.array([0, 0.5, 1], np.float32), np.zeros(3, np.float32))
    mesh = FaceRig(photo, config).move(lips, still_head(3))
    gap = (mesh[:, LIP_GAP[1], 1] - mesh[:, LIP_GAP[0], 1]) / photo.face_height_px
    opened = gap - gap[0]
    assert abs(gap[0]) < 0.012
    np.testing.assert_allclose(opened[1:] / config.max_opening, [0.5, 1.0], atol=0.03)


def test_round_lips_are_narrower_than_spread_ones(photo):
    lips = LipMotion(np.zeros(2, np.float32), np.array([1, -0.8], np.float32))
    mesh = FaceRig(photo, MotionConfig()).move(lips, still_head(2))
    width = mesh[:, 291, 0] - mesh[:, 61, 0]
    travel_px = 2 * 1.8 * MotionConfig().corner_travel * photo.face_height_px
    assert 0.85 * travel_px < width[1] - width[0] <= travel_px


def test_no_face_in_a_portrait_is_an_error(weights):
    with pytest.raises(NoFaceInPortrait, match="320x240"):
        find_points(np.full((240, 320, 3), 128, np.uint8), weights)


def test_the_cast_are_different_people(weights):
    portraits = [portrait_of(one, weights).rgb for one in CAST.values()]
    finder, checker = FaceFinder(weights), IdentityChecker(IdentityConfig(), weights)
    assert [len(finder(rgb)) for rgb in portraits] == [1] * len(CAST)
    with LandmarkDetector(weights, finder) as detector:
        embeddings = np.stack([checker(clip_of(detector, [rgb]))["face_embedding"] for rgb in portraits]).astype(float)
    similarity = embeddings @ embeddings.T - np.eye(len(CAST))
    assert similarity.max() < FinalizeConfig().identity_sim


@pytest.mark.parametrize("name", ["clean_astronaut_2", "clean_guo_1"])
def test_the_true_opening_is_what_the_landmarks_say(name, folder, truths, weights):
    measured, num_faces = [], []
    finder = FaceFinder(weights)
    with LandmarkDetector(weights, finder) as detector:
        for k, frame in enumerate(decode_video(folder / truths[name].file)):
            face = detector(frame.rgb, frame.pts_s)
            assert face is not None, f"no face in frame {k}"
            points = face.points[:, :2]
            gap, height = (np.linalg.norm(points[b] - points[a]) for a, b in (LIP_GAP, (FOREHEAD, CHIN)))
            measured.append(gap / height)
            if k % 25 == 0:
                num_faces.append(len(finder(frame.rgb)))
    true = np.array(truths[name].opening)
    assert len(measured) == len(true)
    assert np.corrcoef(measured, true)[0, 1] > 0.9
    slope, bias = np.polyfit(true, measured, 1)
    assert 0.8 < slope < 1.25 and abs(bias) < 0.03  # MediaPipe sees full lips a little apart when they are closed
    assert set(num_faces) == {1}


def test_files_are_what_the_truth_says(folder, truths):
    for name in ("clean_astronaut_2", "clean_guo_1", "hard_cut", "english"):
        facts, truth = probe_media(folder / truths[name].file), truths[name]
        assert Fraction(facts.fps_num, facts.fps_den) == Fraction(truth.fps)
        assert facts.duration_s == pytest.approx(truth.duration_s, abs=0.1)
    assert probe_media(folder / truths["no_audio"].file).audio_codec is None
    for name in ("truncated", "not_a_video"):
        with pytest.raises(Dropped) as dropped:
            probe_media(folder / truths[name].file)
        assert dropped.value.reason == truths[name].reason


def test_the_hard_cut_is_where_the_truth_says(folder, truths):
    (cut_s,) = truths["hard_cut"].cuts_s
    before, after, later = (
        next(iter(decode_video(folder / truths["hard_cut"].file, at_s))).rgb.astype(int)
        for at_s in (cut_s - 0.04, cut_s, cut_s + 0.04)
    )
    assert np.abs(after - before).mean() > 25 > 4 > np.abs(later - after).mean()


def test_the_sound_lies_where_it_was_spoken(folder, truths):
    truth = truths["clean_guo_1"]
    speech = speak(texts.CAT, CAST["guo"].voice, 5.0)
    heard = decode_audio(folder / truth.file, 0.0, 5.0)
    lags = range(-320, 321, 20)
    match = [np.dot(np.roll(heard, -lag), speech.audio) for lag in lags]
    assert list(lags)[int(np.argmax(match))] == 0


def test_whisper_hears_mandarin_and_english(folder, truths, weights):
    gate = AudioGate(HearConfig(), weights)
    for name, language in (("clean_astronaut_2", "zh"), ("clean_guo_1", "zh"), ("english", "en")):
        path = folder / truths[name].file
        row = gate({"media_path": str(path), "audio_codec": "aac", "duration_s": probe_media(path).duration_s})
        assert row["source_language"] == language == truths[name].language
        assert row["source_language_margin"] > 0.5 and row["source_language_prob"] > 0.8
        assert row["source_dnsmos_bak"] > 2.6 and row["source_dnsmos_sig"] > 2.6


def test_late_sound_is_late_by_what_the_truth_says():
    audio = np.zeros(2 * AUDIO_RATE_HZ, np.float32)
    audio[8000] = 1
    late = takes.delayed(silent_take(audio), 400.0)
    assert late.audio is not None and len(late.audio) == len(audio)
    assert np.flatnonzero(late.audio).tolist() == [8000 + 6400] and late.offset_ms == 400.0


def test_noise_has_the_level_asked_for():
    tone = (0.5 * np.sin(np.arange(AUDIO_RATE_HZ * 2) * 0.3)).astype(np.float32)
    noisy = takes.with_noise(silent_take(tone), snr_db=0.0, seed=3).audio
    assert noisy is not None
    share = np.dot(noisy, tone) / np.linalg.norm(noisy) / np.linalg.norm(tone)
    assert share == pytest.approx(np.sqrt(0.5), abs=0.04)
    assert np.abs(noisy).max() <= 0.9 + 1e-6


def test_a_cut_joins_two_takes():
    one, other = (silent_take(np.full(32_000, value, np.float32)) for value in (0.1, 0.2))
    both = takes.cut(one, other)
    assert both.cuts_s == (2.0,) and len(both.opening) == 100
    assert both.audio is not None and both.audio[31_999] == np.float32(0.1) and both.audio[32_000] == np.float32(0.2)


def test_the_manifest_can_be_read_and_names_licence_and_speaker(folder, truths):
    rows = read_manifest(folder / "manifest.yaml")
    assert [row["source_id"] for row in rows] == list(NAMES)
    assert all(Path(row["uri"]).is_file() and row["licence"] and row["consent"] for row in rows)
    assert {row["speaker_id"] for row in rows} == {truth.speaker for truth in truths.values()}
    assert json.loads((folder / "truth.json").read_text())["hard_cut"]["cuts_s"] == list(truths["hard_cut"].cuts_s)


def test_the_recipes_cover_what_the_corpus_is_for():
    clean = [r for r in RECIPES.values() if r.reason is None]
    assert len({r.speaker for r in clean}) >= 4
    wanted = {DropReason.MULTI_FACE, DropReason.LANGUAGE, DropReason.NOISE, DropReason.SPEECH, DropReason.NO_AUDIO}
    wanted |= {DropReason.MOUTH_HIDDEN, DropReason.FACE_TOO_SMALL, DropReason.IDENTITY_CHANGE, DropReason.OUT_OF_SYNC}
    wanted |= {DropReason.MOUTH_STATIC, DropReason.TRUNCATED, DropReason.NOT_VIDEO, DropReason.NO_FACE}
    assert wanted <= {r.reason for r in RECIPES.values()}


@pytest.mark.slow
def test_the_command_makes_what_is_asked_for_again_and_alike(tmp_path, capsys):
    for name in ("a", "b"):
        assert command.main(["--out", str(tmp_path / name), "--seconds", "4", "--only", "not_a_video"]) == 0
    truth_a, truth_b = ((tmp_path / name / "truth.json").read_text() for name in ("a", "b"))
    one, other = (json.loads(text)["not_a_video"] for text in (truth_a, truth_b))
    np.testing.assert_allclose(one.pop("opening"), other.pop("opening"), atol=1e-4)  # MediaPipe's threads add noise
    assert one == other and one["reason"] == "not_video"
    assert "manifest.yaml" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main(["--out", str(tmp_path / "c"), "--only", "no_such_recipe"])


def test_the_example_list_can_be_read():
    rows = read_manifest(Path(__file__).parents[2] / "manifests" / "example.yaml")
    assert {"bilibili", "douyin", "local"} <= {row["platform"] for row in rows}
    assert all(row["licence"] and row["consent"] for row in rows)
