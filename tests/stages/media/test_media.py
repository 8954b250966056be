"""Decoding by timestamp, on tiny files whose frames carry their numbers and whose sounds carry clicks."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from benchmarks.known.media_files import clicks, coded_frame, cut_bytes, read_code, steady, tone, write_media
from stages.core.reasons import Dropped, DropReason
from stages.media import decode_audio, decode_frames, decode_video, probe_media, write_video

PAL = Fraction(25)


def onsets_s(sound: np.ndarray) -> list[float]:
    loud = np.flatnonzero(np.abs(sound) > 0.2)
    return [float(at) / 16_000 for at in loud[np.diff(loud, prepend=-9_999) > 1_000]]


def codes(frames) -> list[int]:
    return [read_code(frame.rgb) for frame in frames]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp4", {}),
        (".mkv", {}),
        (".mkv", {"audio_codec": "libopus", "sound_rate_hz": 48_000}),
        (".ts", {}),
        (".flv", {}),
        (".mov", {"audio_codec": "pcm_s16le"}),
        (".mp4", {"sound_start_s": 0.5}),
        (".ts", {"sound_start_s": 0.5}),
    ],
)
def test_lips_and_sound_stay_together_in_every_container(tmp_path: Path, suffix: str, options: dict) -> None:
    sound = clicks([1.0, 3.0], 4.0, options.get("sound_rate_hz", 44_100))
    path = write_media(tmp_path / f"a{suffix}", steady(100), sound=sound, **options)
    frames = list(decode_video(path))
    assert codes(frames) == list(range(100))
    shift_s = options.get("sound_start_s", 0.0) + frames[0].pts_s
    assert onsets_s(decode_audio(path)) == pytest.approx([1.0 + shift_s, 3.0 + shift_s], abs=0.0015)


def test_a_span_of_sound_equals_the_same_span_of_the_whole(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", steady(150), sound=tone(6.0, hz=300.0))
    whole, span = decode_audio(path), decode_audio(path, 2.0, 4.5)
    assert len(span) == 40_000
    # Where a run of samples begins is rounded to 1/16000 s: at most half of that between the two.
    assert np.abs(span - whole[32_000:72_000]).max() < 0.5 * 2 * np.pi * 300 / 16_000 * 0.75


def test_sound_starts_exactly_where_asked_and_is_silent_outside_the_stream(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", steady(50), sound=clicks([0.25], 1.0), sound_start_s=0.5)
    assert onsets_s(decode_audio(path, 0.7)) == pytest.approx([0.05], abs=0.001)
    padded = decode_audio(path, 0.0, 3.0)
    assert len(padded) == 48_000
    assert not padded[:7_900].any()
    assert not padded[26_000:].any()


def test_a_hole_in_the_sound_is_silence_of_its_length(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", steady(75), sound=tone(3.0), sound_holes_s=[(1.0, 1.8)])
    sound = decode_audio(path)
    assert np.abs(sound[17_500:28_000]).max() < 0.05
    assert np.abs(sound[8_000:15_000]).max() == pytest.approx(0.5, abs=0.05)
    assert np.abs(sound[30_000:45_000]).max() == pytest.approx(0.5, abs=0.05)


def test_a_span_that_begins_in_a_hole_begins_with_silence(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", steady(125), sound=tone(5.0), sound_holes_s=[(2.0, 4.0)])
    sound = decode_audio(path, 3.0, 5.0)
    assert np.abs(sound[:14_000]).max() < 0.05
    assert sound[18_000:30_000].std() == pytest.approx(0.5 / np.sqrt(2), abs=0.02)


def test_stereo_is_averaged_not_added(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", steady(25), sound=np.stack([tone(1.0)] * 2))
    assert np.abs(decode_audio(path)[4_000:12_000]).max() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_samples_that_are_not_finite_are_silent_and_leave_the_others(
    tmp_path: Path, value: float, rate_hz: int
) -> None:
    sound = tone(2.0, rate_hz).astype(np.float32)
    sound[rate_hz : rate_hz + rate_hz // 10] = value
    path = write_media(tmp_path / "a.mkv", steady(50), sound=sound, sound_rate_hz=rate_hz, audio_codec="pcm_f32le")
    heard = decode_audio(path)
    assert np.isfinite(heard).all()
    assert not heard[16_100:17_500].any()
    for part in (heard[2_000:15_500], heard[18_500:30_000]):
        assert part.std() == pytest.approx(0.5 / np.sqrt(2), abs=0.02)


def test_no_sound_is_said(tmp_path: Path) -> None:
    with pytest.raises(Dropped) as dropped:
        decode_audio(write_media(tmp_path / "a.mp4", steady(5)))
    assert dropped.value.reason == DropReason.NO_AUDIO


def test_ticks_of_a_span_are_found_behind_a_seek(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", steady(250), key_frame_every=90)
    frames = list(decode_video(path, 4.0, 5.0, fps=PAL))
    assert codes(frames) == list(range(100, 125))
    assert [frame.time_s for frame in frames] == pytest.approx([4.0 + k / 25 for k in range(25)])
    assert codes(decode_video(path, 4.0, 4.2)) == [100, 101, 102, 103, 104]


@pytest.mark.parametrize("fps", [15.0, 24.0, 29.97, 30.0, 50.0, 60.0])
def test_ticks_show_what_is_on_display_in_their_middle(tmp_path: Path, fps: float) -> None:
    path = write_media(tmp_path / "a.mp4", steady(round(4 * fps), fps))
    frames = list(decode_video(path, 0.0, 3.0, fps=PAL))
    assert len(frames) == 75
    shown_s = np.array([frame.time_s + 0.02 - frame.pts_s for frame in frames])
    assert shown_s.min() >= -1e-4
    assert shown_s.max() <= 1 / fps + 1e-4
    assert codes(frames) == [round(frame.pts_s * fps) for frame in frames]


def test_a_frame_that_stands_stays_until_the_next_is_due(tmp_path: Path) -> None:
    times_s = [0.0, 0.04, 0.08, 2.0, 2.04, 2.08]
    path = write_media(tmp_path / "a.mkv", times_s)
    shown = {round(f.time_s, 2): read_code(f.rgb) for f in decode_video(path, 0.0, 2.1, fps=PAL)}
    assert shown[0.08] == shown[1.0] == shown[1.52] == shown[1.88] == 2
    assert (shown[2.0], shown[2.04], shown[2.08]) == (3, 4, 5)


def test_ticks_before_the_first_frame_show_it_and_end_with_the_last(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", steady(25, start_s=0.4), sound=tone(3.0))
    frames = list(decode_video(path, fps=PAL))
    assert codes(frames) == [0] * 10 + list(range(25))
    assert frames[0].pts_s == pytest.approx(0.4)


def test_files_that_start_late_start_at_zero(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.ts", steady(50, start_s=7.0), sound=clicks([1.0], 2.0), sound_start_s=7.0)
    frames = list(decode_video(path))
    assert frames[0].pts_s == pytest.approx(0.0, abs=0.03)
    assert onsets_s(decode_audio(path))[0] == pytest.approx(frames[25].pts_s, abs=0.001)


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, rotation_deg: int) -> None:
    def white_above(number: int, width: int, height: int) -> np.ndarray:
        picture = np.full((height, width, 3), 20, np.uint8)
        picture[: height // 2] = 220
        return picture

    path = write_media(tmp_path / "a.mp4", steady(3), rotation_deg=rotation_deg, picture=white_above)
    rgb = next(decode_video(path)).rgb
    assert rgb.shape == ((96, 160, 3) if rotation_deg % 180 == 0 else (160, 96, 3))
    edges = {0: rgb[2, :], 90: rgb[:, -3], 180: rgb[-3, :], 270: rgb[:, 2]}
    assert edges[rotation_deg].min() > 200
    facts = probe_media(path)
    assert (facts.rotation_deg, facts.height_px, facts.width_px) == (rotation_deg, *rgb.shape[:2])


def test_odd_sizes_are_contiguous_and_whole(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", steady(3), size_px=(173, 97), pixel_format="yuv444p")
    rgb = next(decode_video(path)).rgb
    assert rgb.shape == (97, 173, 3)
    assert rgb.flags.c_contiguous
    assert read_code(rgb) == 0


def test_small_pictures_keep_the_aspect(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", steady(8), size_px=(320, 180))
    frames = list(decode_video(path, max_side_px=160))
    assert frames[5].rgb.shape == (90, 160, 3)
    assert codes(frames) == list(range(8))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv420p10le"])
def test_sampled_pictures_show_the_same_colours(tmp_path: Path, pixel_format: str) -> None:
    def quarters(number: int, width: int, height: int) -> np.ndarray:
        picture = np.full((height, width, 3), (200, 40, 40), np.uint8)
        picture[:, width // 2 :] = (40, 60, 190)
        return picture

    path = write_media(tmp_path / "a.mkv", steady(2), size_px=(318, 182), picture=quarters, pixel_format=pixel_format)
    frame = next(decode_frames(path))
    small, full = frame.sampled(4), frame.rgb()
    assert abs(small.shape[0] - 182 / 4) <= 1
    assert abs(small.shape[1] - 318 / 4) <= 1
    assert small[20, 5] == pytest.approx(full[80, 20], abs=12)
    assert small[20, -5] == pytest.approx(full[80, -20], abs=12)


def test_coarse_decoding_keeps_frames_and_times(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", steady(40))
    fine, coarse = ([(f.pts_s, read_code(f.rgb())) for f in decode_frames(path, coarse=c)] for c in (False, True))
    assert fine == coarse


def test_facts(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", steady(60, 30000 / 1001), sound=np.stack([tone(2.0)] * 2), sound_start_s=0.2)
    facts = probe_media(path)
    assert (facts.video_codec, facts.audio_codec, facts.width_px, facts.height_px) == ("h264", "aac", 160, 96)
    assert (facts.audio_rate_hz, facts.num_audio_channels) == (44_100, 2)
    assert facts.fps_num / facts.fps_den == pytest.approx(29.97, abs=0.15)  # the writer declares the last frame 40 ms
    assert facts.duration_s == pytest.approx(2.2, abs=0.05)
    assert facts.audio_start_s == pytest.approx(0.2, abs=0.03)
    assert facts.video_start_s == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".flv"])
@pytest.mark.parametrize("share", [0.15, 0.6])
def test_files_cut_short_are_truncated(tmp_path: Path, suffix: str, share: float) -> None:
    codecs = {"video_codec": "mpeg4", "audio_codec": "mp3"} if suffix == ".avi" else {}
    path = write_media(tmp_path / f"a{suffix}", steady(150), sound=tone(6.0), **codecs)
    probe_media(path)
    with pytest.raises(Dropped) as dropped:
        probe_media(cut_bytes(path, share))
    assert dropped.value.reason == DropReason.TRUNCATED


def test_a_file_with_its_index_in_front_is_truncated_too(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", steady(150), sound=tone(6.0), faststart=True)
    with pytest.raises(Dropped) as dropped:
        probe_media(cut_bytes(path, 0.6))
    assert dropped.value.reason == DropReason.TRUNCATED


def test_what_is_no_media_is_not_video(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 20_000, np.uint8).tobytes()
    picture = cv2.imencode(".jpg", coded_frame(3))[1].tobytes()
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nother.mp4\n"
    contents = [b"hello " * 100, b"<!doctype html><html></html>", noise, picture, playlist]
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(content)
        with pytest.raises(Dropped) as dropped:
            probe_media(path)
        assert dropped.value.reason == DropReason.NOT_VIDEO
    text = tmp_path / "a.txt"
    text.write_text("hi\n" * 50)
    with pytest.raises(Dropped) as dropped:
        next(decode_video(text))
    assert dropped.value.reason == DropReason.NOT_VIDEO


def test_empty_and_damaged_files_are_corrupt(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", steady(50), sound=tone(2.0))
    content = bytearray(path.read_bytes())
    at = content.index(b"moov")
    content[at + 8 : at + 300] = bytes(292)
    path.write_bytes(content)
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    for broken in (path, empty):
        with pytest.raises(Dropped) as dropped:
            probe_media(broken)
        assert dropped.value.reason == DropReason.CORRUPT


def test_frames_that_are_noise_are_corrupt(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", steady(100))
    content = path.read_bytes()
    start = content.index(b"\x1f\x43\xb6\x75") + 64  # the first cluster
    noise = np.random.default_rng(0).integers(0, 256, len(content) - start - 400, np.uint8).tobytes()
    path.write_bytes(content[:start] + noise + content[-400:])
    with pytest.raises(Dropped) as dropped:
        list(decode_video(path))
    assert dropped.value.reason == DropReason.CORRUPT


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("place", [36, 44, 46], ids=["between", "key", "referred to"])
def test_one_damaged_spot_costs_frames_up_to_the_next_key_frame_at_most(
    tmp_path: Path, suffix: str, place: int
) -> None:
    """Its own frame is missing or wrong; those that refer to it may show an earlier one; all others are right."""
    rng = np.random.default_rng(1)

    def grainy(number: int, width: int, height: int) -> np.ndarray:
        grain = rng.integers(-20, 20, (height, width, 3))
        return np.clip(coded_frame(number, width, height) + grain, 0, 255).astype(np.uint8)

    path = write_media(tmp_path / f"a{suffix}", steady(100), picture=grainy, sound=tone(4.0), key_frame_every=11)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        keys = [round(packet.pts * packet.time_base * 25) for packet in packets if packet.is_keyframe]
        coded = bytes(packets[place])
    content = bytearray(path.read_bytes())
    at = content.index(coded) + len(coded) // 3  # in the middle of a frame, whatever the encoder made of the others
    content[at : at + 300] = rng.integers(0, 256, 300, np.uint8).tobytes()
    path.write_bytes(content)
    shown = {round(frame.pts_s * 25): read_code(frame.rgb) for frame in decode_video(path)}
    wrong = {number for number in range(100) if shown.get(number) != number}
    first = max(key for key in keys if key <= place)
    assert wrong and wrong <= set(range(first, min(key for key in keys if key > place)))
    assert len(shown) >= 99
    assert len(list(decode_video(path, fps=PAL))) == 100


def test_sound_alone_has_no_video(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.m4a", sound=tone(1.0))
    for read in (probe_media, lambda p: next(decode_video(p))):
        with pytest.raises(Dropped) as dropped:
            read(path)
        assert dropped.value.reason == DropReason.NO_VIDEO
    assert len(decode_audio(path)) == pytest.approx(16_000, abs=1_200)


def test_a_missing_file_is_no_fact_about_a_record(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        probe_media(tmp_path / "none.mp4")


def test_a_written_video_comes_back(tmp_path: Path) -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 180, 150)]
    frames = [np.full((96, 160, 3), colour, np.uint8) for colour in colours for _ in range(5)]
    path = tmp_path / "w.mp4"
    write_video(path, iter(frames), Fraction(30000, 1001), clicks([0.2, 0.5], 20 * 1001 / 30000, 16_000))
    back = list(decode_video(path))
    assert [frame.pts_s for frame in back] == pytest.approx([k * 1001 / 30000 for k in range(20)], abs=1e-4)
    for frame, wanted in zip(back, frames, strict=True):
        assert np.abs(frame.rgb.astype(int) - wanted).max() <= 6
    assert onsets_s(decode_audio(path)) == pytest.approx([0.2, 0.5], abs=0.001)
    assert Fraction(probe_media(path).fps_num, probe_media(path).fps_den) == Fraction(30000, 1001)
    assert [file.name for file in tmp_path.iterdir()] == ["w.mp4"]


def test_an_odd_side_is_made_even(tmp_path: Path) -> None:
    write_video(tmp_path / "w.mp4", [coded_frame(5, 161, 97)] * 3, PAL)
    rgb = next(decode_video(tmp_path / "w.mp4")).rgb
    assert rgb.shape == (98, 162, 3)
    assert read_code(rgb[:97, :161]) == 5


def test_nothing_is_left_of_a_video_that_fails(tmp_path: Path) -> None:
    frames = [coded_frame(0), coded_frame(1, 80, 48)]
    with pytest.raises(ValueError, match="frame 1"):
        write_video(tmp_path / "w.mp4", frames, PAL)
    with pytest.raises(ValueError, match="no frames"):
        write_video(tmp_path / "w.mp4", [], PAL)
    assert not list(tmp_path.iterdir())
