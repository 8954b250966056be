from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.records import PAYLOAD, TRACK, Dropped, DropReason, Row
from pipeline.rows import rows_from_table, table_from_rows
from pipeline.weights import WeightStore
from stages.crop import crop_face, decode_jpeg
from stages.landmarks import RIGID
from stages.media import decode_audio, decode_video
from stages.track import FaceTracker, TrackConfig, clip_lengths, fill_gaps, measure_jitter
from tests.stages.footage import blank, film, photo, place

PICTURES = {"pts_s", "face_jpeg", "landmarks", "blendshapes", "crop_box_xyxy_px", "bbox_xyxy_px", "audio_pcm16"}


@pytest.fixture(scope="module")
def tracker(weights: WeightStore) -> Iterator[FaceTracker]:
    opened = FaceTracker(TrackConfig(max_clip_s=0.6), weights)
    yield opened
    opened.close()


def _shot(path: Path, start_s: float, end_s: float) -> Row:
    shot = {"source_id": "a", "shot_idx": 0, "num_shots": 1, "shot_start_s": start_s, "shot_end_s": end_s}
    return {**shot, "media_path": str(path)}


def _nodding(num_frames: int) -> list[np.ndarray]:
    return [place(blank(400, 520), photo(), (40 + 2 * k, 20), 0.7) for k in range(num_frames)]


@pytest.mark.parametrize(
    ("num_frames", "lengths"),
    [(1, [1]), (250, [250]), (251, [125, 126]), (575, [191, 192, 192]), (3000, [250] * 12)],
)
def test_a_shot_is_cut_evenly(num_frames: int, lengths: list[int]) -> None:
    assert clip_lengths(num_frames, 250) == lengths


def test_gaps_are_filled_linearly_and_ends_stand_still() -> None:
    points = np.array([[9.0], [1.0], [9.0], [9.0], [4.0], [9.0]])
    found = np.array([False, True, False, False, True, False])
    assert fill_gaps(points, found, 2)[:, 0].tolist() == [1, 1, 2, 3, 4, 4]


@pytest.mark.parametrize(("found", "begins"), [([0, 0, 0, 1, 1], 0), ([1, 0, 0, 0, 1], 1), ([1, 1, 0, 0, 0], 2)])
def test_a_long_gap_loses_the_face(found: list[int], begins: int) -> None:
    with pytest.raises(Dropped) as dropped:
        fill_gaps(np.zeros((5, 1)), np.array(found, bool), 2)
    assert dropped.value.reason is DropReason.FACE_LOST
    assert dropped.value.detail == f"no face in 3 frames in a row, from frame {begins} of the clip"


def _head(x: np.ndarray) -> np.ndarray:
    points = np.zeros((len(x), 478, 3), np.float32)
    points[:, 0, 0], points[:, 1, 0] = -50, 50
    points[:, list(RIGID), 0] = x[:, None]
    return points


def test_jitter_of_even_motion_is_none_whatever_the_rate() -> None:
    shown = np.floor(np.arange(60) * 30 / 25 + 1e-9)  # 30 frames a second, picked at 25
    assert measure_jitter(_head(shown), shown / 30) == pytest.approx(0, abs=1e-4)
    held = np.arange(60) // 2  # 12.5 frames a second: each is shown twice
    assert measure_jitter(_head(held), held / 12.5) == pytest.approx(0, abs=1e-4)


def test_jitter_is_acceleration_in_face_widths() -> None:
    shaking = np.where(np.arange(60) % 2, 1.0, -1.0)
    assert measure_jitter(_head(shaking), np.arange(60) / 25) == pytest.approx(4 / 100, rel=1e-4)
    assert measure_jitter(_head(shaking[:2]), np.arange(2) / 25) == 0


def test_clips_of_a_shot(tracker: FaceTracker, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", _nodding(30))
    clips = list(tracker(_shot(path, 0.2, 1.2)))
    assert [clip["num_frames"] for clip in clips] == [12, 13]
    assert [(clip["clip_idx"], clip["num_clips"]) for clip in clips] == [(0, 2), (1, 2)]
    assert [clip["start_s"] for clip in clips] == pytest.approx([0.2, 0.68])
    assert [clip["end_s"] for clip in clips] == pytest.approx([0.68, 1.2])
    for clip in clips:
        assert "fault_reason" not in clip
        assert set(TRACK.names) <= clip.keys()
        assert clip.keys() - set(TRACK.names) - _shot(path, 0, 0).keys() == PICTURES
        num_frames = clip["num_frames"]
        assert clip["track_ratio"] == 1
        assert clip["track_multi_face_ratio"] == 0
        assert 100 < clip["face_px"] < 180
        assert clip["audio_pcm16"].shape == (num_frames * 640,)
        assert clip["pts_s"] == pytest.approx(clip["start_s"] + np.arange(num_frames) / 25, abs=0.002)
        assert {decode_jpeg(jpeg).shape for jpeg in clip["face_jpeg"]} == {(256, 256, 3)}
        assert max(decode_jpeg(clip["thumb_jpeg"]).shape) == 128
        points = clip["landmarks"].reshape(num_frames, 478, 3)
        assert points[..., :2].min() > -30
        assert points[..., :2].max() < 286
        back = rows_from_table(table_from_rows([clip]))[0]
        assert np.array_equal(back["landmarks"], clip["landmarks"])
        assert all(back[name].dtype == clip[name].dtype for name in ("pts_s", "blendshapes", "bbox_xyxy_px"))
    assert set(PAYLOAD.names) >= PICTURES
    moved = np.diff(np.concatenate([clip["bbox_xyxy_px"][:, 0] for clip in clips]))
    assert np.median(moved) == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize("size", [0.5, 1.6, 3.2])
def test_crops_are_those_of_the_full_frame(tracker: FaceTracker, tmp_path: Path, size: float) -> None:
    frame = place(blank(int(512 * size), int(540 * size)), photo(), (int(10 * size), 0), size)
    path = film(tmp_path / "a.mp4", [frame] * 4)
    clip = next(iter(tracker(_shot(path, 0.0, 0.16))))
    for shown, jpeg, box in zip(decode_video(path), clip["face_jpeg"], clip["crop_box_xyxy_px"], strict=True):
        difference = decode_jpeg(jpeg).astype(int) - crop_face(shown.rgb, box)
        assert np.abs(difference).mean() < 2.5


def test_the_sound_is_that_of_the_pictures(tracker: FaceTracker, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", _nodding(20))
    clips = list(tracker(_shot(path, 0.0, 0.8)))
    heard = np.concatenate([clip["audio_pcm16"] for clip in clips]) / 32767
    assert heard == pytest.approx(decode_audio(path, 0.0, 0.8), abs=2e-3)


def test_a_short_gap_is_bridged_and_counted(tracker: FaceTracker, tmp_path: Path) -> None:
    frames = _nodding(12)
    frames[5:8] = [blank(400, 520)] * 3
    clip = next(iter(tracker(_shot(film(tmp_path / "a.mp4", frames), 0.0, 0.48))))
    assert "fault_reason" not in clip
    assert clip["track_ratio"] == pytest.approx(9 / 12)
    assert len(clip["face_jpeg"]) == 12
    assert np.abs(np.diff(clip["bbox_xyxy_px"][:, 0], n=2)).max() < 2


@pytest.mark.parametrize("missing", [range(0, 7), range(3, 10), range(5, 12)])
def test_a_lost_face_is_a_fault_with_its_measurements(tracker: FaceTracker, tmp_path: Path, missing: range) -> None:
    frames = [blank(400, 520) if k in missing else frame for k, frame in enumerate(_nodding(12))]
    clip = next(iter(tracker(_shot(film(tmp_path / "a.mp4", frames), 0.0, 0.48))))
    assert clip["fault_reason"] == DropReason.FACE_LOST
    assert clip["fault_detail"] == f"no face in 7 frames in a row, from frame {missing.start} of the clip"
    assert clip["track_ratio"] == pytest.approx(5 / 12)
    assert clip["face_px"] > 100
    assert clip.keys().isdisjoint(PICTURES)


def test_no_face_at_all(tracker: FaceTracker, tmp_path: Path) -> None:
    clip = next(iter(tracker(_shot(film(tmp_path / "a.mp4", [blank(120, 160)] * 10), 0.0, 0.4))))
    assert clip["fault_reason"] == DropReason.NO_FACE
    assert clip["fault_detail"] == "no face in any of 10 frames"
    assert clip["track_ratio"] == 0
    assert "face_px" not in clip
    assert decode_jpeg(clip["thumb_jpeg"]).shape == (96, 128, 3)


def test_no_sound(tracker: FaceTracker, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", _nodding(10), sound=False)
    clip = next(iter(tracker(_shot(path, 0.0, 0.4))))
    assert clip["fault_reason"] == DropReason.NO_AUDIO
    assert clip["track_ratio"] == 1


@pytest.mark.parametrize(("scale", "ratio"), [(0.5, 1.0), (0.1, 0.0)])
def test_a_second_face_counts_from_a_quarter_of_the_first(
    tracker: FaceTracker, tmp_path: Path, scale: float, ratio: float
) -> None:
    frame = place(place(blank(400, 720), photo(), (20, 20), 0.7), photo(), (420, 60), 0.7 * scale)
    clip = next(iter(tracker(_shot(film(tmp_path / "a.mp4", [frame] * 5), 0.0, 0.2))))
    assert clip["track_multi_face_ratio"] == ratio
    assert clip["bbox_xyxy_px"][:, 2].max() < 400


@pytest.mark.parametrize(
    ("config", "ratio", "second_ratio"),
    [(TrackConfig(min_face_conf=0.999), 1.0, 0.0), (TrackConfig(min_landmark_conf=1.0), 0.0, 1.0)],
)
def test_the_scores_asked_of_faces_are_settings(
    weights: WeightStore, tmp_path: Path, config: TrackConfig, ratio: float, second_ratio: float
) -> None:
    frame = place(place(blank(400, 720), photo(), (20, 20), 0.7), photo(), (420, 60), 0.35)
    path = film(tmp_path / "a.mp4", [frame] * 5)
    tracker = FaceTracker(config, weights)
    clip = next(iter(tracker(_shot(path, 0.0, 0.2))))
    tracker.close()
    assert (clip["track_ratio"], clip["track_multi_face_ratio"]) == (ratio, second_ratio)


def test_a_shot_that_outlasts_its_video(tracker: FaceTracker, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", _nodding(10))
    clips = list(tracker(_shot(path, 0.0, 1.2)))
    assert [clip["num_frames"] for clip in clips] == [10, 0]
    assert clips[0]["end_s"] == pytest.approx(0.4)
    assert "fault_reason" not in clips[0]
    assert clips[1]["fault_reason"] == DropReason.TRUNCATED
    assert clips[1]["fault_detail"] == "no frame from 0.60 s on"


def test_a_shot_shorter_than_a_frame(tracker: FaceTracker, tmp_path: Path) -> None:
    clips = list(tracker(_shot(film(tmp_path / "a.mp4", _nodding(5)), 0.0, 0.01)))
    assert [(clip["num_clips"], clip["num_frames"]) for clip in clips] == [(1, 1)]
