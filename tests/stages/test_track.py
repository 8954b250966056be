from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stages.core.reasons import DropReason
from stages.core.records import PAYLOAD, TRACK, Row
from stages.core.rows import rows_from_table, table_from_rows
from stages.core.weights import WeightStore
from stages.face.crop import crop_face, decode_jpeg
from stages.face.mouth_look import MouthConfig
from stages.media import decode_audio, decode_video
from stages.track import FaceTracker, TrackConfig
from tests.stages.footage import blank, film, photo, place

PICTURES = {
    *("pts_s", "face_jpeg", "landmarks", "face_found", "blendshapes", "crop_box_xyxy_px", "bbox_xyxy_px"),
    "audio_pcm16",
}


@pytest.fixture(scope="module")
def tracker(weights: WeightStore) -> Iterator[FaceTracker]:
    opened = FaceTracker(TrackConfig(max_clip_s=0.6), MouthConfig(), weights)
    yield opened
    opened.close()


def _shot(path: Path, start_s: float, end_s: float) -> Row:
    shot = {"source_id": "a", "shot_idx": 0, "num_shots": 1, "shot_start_s": start_s, "shot_end_s": end_s}
    return {**shot, "media_path": str(path)}


def _nodding(num_frames: int) -> list[np.ndarray]:
    return [place(blank(400, 520), photo(), (40 + 2 * min(k % 60, 60 - k % 60), 20), 0.7) for k in range(num_frames)]


def test_clips_of_a_shot(tracker: FaceTracker, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", _nodding(30))
    clips = list(tracker(_shot(path, 0.2, 1.2)))
    assert [clip["num_frames"] for clip in clips] == [12, 13]
    assert [(clip["clip_idx"], clip.get("num_clips")) for clip in clips] == [(0, None), (1, 2)]
    assert [clip["start_s"] for clip in clips] == pytest.approx([0.2, 0.68])
    assert [clip["end_s"] for clip in clips] == pytest.approx([0.68, 1.2])
    for clip in clips:
        assert "fault_reason" not in clip
        assert set(TRACK.names) - clip.keys() <= {"unusable", "num_clips"}
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
def test_a_lost_face_is_cut_out_with_its_measurements(tracker: FaceTracker, tmp_path: Path, missing: range) -> None:
    frames = [blank(400, 520) if k in missing else frame for k, frame in enumerate(_nodding(12))]
    clips = list(tracker(_shot(film(tmp_path / "a.mp4", frames), 0.0, 0.48)))
    assert sum(clip["num_frames"] for clip in clips) == 12
    (lost,) = [clip for clip in clips if clip.get("unusable")]
    assert lost["unusable"] == DropReason.FACE_LOST
    assert (lost["start_s"], lost["num_frames"]) == (pytest.approx(missing.start / 25), 7)
    assert (lost["fault_reason"], lost["fault_detail"]) == (DropReason.NO_FACE, "no face in any of 7 frames")
    assert lost["track_ratio"] == 0 and lost.keys().isdisjoint(PICTURES)
    for clip in clips:
        if clip is not lost:
            assert clip["track_ratio"] == 1 and clip["face_px"] > 100 and "fault_reason" not in clip


def _covered(frame: np.ndarray) -> np.ndarray:
    """A hand's colour over the lower face."""
    covered = frame.copy()
    covered[196:290, 150:290] = (196, 150, 126)
    return covered


def test_a_hand_over_the_mouth_for_a_second_splits_a_clip(weights: WeightStore, tmp_path: Path) -> None:
    frames = [_covered(frame) if 30 <= k < 60 else frame for k, frame in enumerate(_nodding(90))]
    tracker = FaceTracker(TrackConfig(), MouthConfig(), weights)
    clips = list(tracker(_shot(film(tmp_path / "a.mp4", frames), 0.0, 3.6)))
    tracker.close()
    assert [clip.get("unusable") for clip in clips] == [None, DropReason.MOUTH_HIDDEN, None]
    assert [round(clip["start_s"] * 25) for clip in clips[1:]] == pytest.approx([28, 61], abs=5)
    assert clips[1]["start_s"] * 25 <= 30 and clips[2]["start_s"] * 25 >= 60  # nothing hidden is left in a clip


def test_a_second_face_that_comes_and_goes_splits_a_clip(weights: WeightStore, tmp_path: Path) -> None:
    alone = [place(blank(400, 720), photo(), (20 + k // 2, 20), 0.7) for k in range(100)]
    frames = [place(frame, photo(), (420, 60), 0.5) if 40 <= k < 70 else frame for k, frame in enumerate(alone)]
    tracker = FaceTracker(TrackConfig(), MouthConfig(), weights)
    clips = list(tracker(_shot(film(tmp_path / "a.mp4", frames), 0.0, 4.0)))
    tracker.close()
    assert [clip.get("unusable") for clip in clips] == [None, DropReason.MULTI_FACE, None]
    assert [clip["track_multi_face_ratio"] for clip in clips[::2]] == [0, 0]


def test_a_face_that_is_suddenly_elsewhere_is_another(weights: WeightStore, tmp_path: Path) -> None:
    places = [(20 + 2 * k, 20) for k in range(20)] + [(420 - 2 * k, 60) for k in range(20)]
    frames = [place(blank(400, 720), photo(), xy, 0.5) for xy in places]
    tracker = FaceTracker(TrackConfig(), MouthConfig(), weights)
    clips = list(tracker(_shot(film(tmp_path / "a.mp4", frames), 0.0, 1.6)))
    tracker.close()
    assert [(clip.get("unusable"), clip["num_frames"]) for clip in clips] == [
        (None, 20),
        (DropReason.IDENTITY_CHANGE, 1),
        (None, 19),
    ]


def test_a_clip_ends_where_a_piece_of_the_scene_is_missing(weights: WeightStore, tmp_path: Path) -> None:
    swaying = [round(10 * np.sin(k / 6)) + 14 * (k >= 25) for k in range(50)]
    frames = [place(blank(400, 520), photo(), (60 + x, 20), 0.7) for x in swaying]
    tracker = FaceTracker(TrackConfig(), MouthConfig(), weights)
    clips = list(tracker(_shot(film(tmp_path / "a.mp4", frames), 0.0, 2.0)))
    tracker.close()
    assert [(clip.get("unusable"), clip["num_frames"]) for clip in clips] == [(None, 25), (None, 25)]
    assert [clip.get("num_clips") for clip in clips] == [None, 2]


def test_a_picture_that_is_held_is_cut_out(weights: WeightStore, tmp_path: Path) -> None:
    frames = _nodding(90)
    frames[30:60] = [frames[30]] * 30
    tracker = FaceTracker(TrackConfig(), MouthConfig(), weights)
    clips = list(tracker(_shot(film(tmp_path / "a.mp4", frames), 0.0, 3.6)))
    tracker.close()
    assert [clip.get("unusable") for clip in clips] == [None, DropReason.MOUTH_STATIC, None]
    held = clips[1]
    assert held["start_s"] == pytest.approx(1.2, abs=0.21) and held["end_s"] == pytest.approx(2.4, abs=0.21)


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
    tracker = FaceTracker(config, MouthConfig(), weights)
    clip = next(iter(tracker(_shot(path, 0.0, 0.2))))
    tracker.close()
    assert (clip["track_ratio"], clip["track_multi_face_ratio"]) == (ratio, second_ratio)


def test_a_shot_that_outlasts_its_video(tracker: FaceTracker, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", _nodding(10))
    clips = list(tracker(_shot(path, 0.0, 1.2)))
    assert [(clip["num_frames"], clip.get("num_clips")) for clip in clips] == [(10, None), (0, 2)]
    assert clips[0]["end_s"] == pytest.approx(0.4)
    assert "fault_reason" not in clips[0]
    assert clips[1]["fault_reason"] == DropReason.TRUNCATED
    assert clips[1]["fault_detail"] == "no frame from 0.40 s on"


def test_a_shot_shorter_than_a_frame(tracker: FaceTracker, tmp_path: Path) -> None:
    clips = list(tracker(_shot(film(tmp_path / "a.mp4", _nodding(5)), 0.0, 0.01)))
    assert [(clip["num_clips"], clip["num_frames"]) for clip in clips] == [(1, 1)]
