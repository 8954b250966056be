"""Shots and faces: the pure parts on made-up arrays, the scanner on tiny videos of a photo that skimage ships."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from benchmarks.known.media_files import steady, write_media
from stages.core.reasons import Dropped, DropReason
from stages.core.records import SCAN
from stages.core.weights import WeightStore
from stages.media.file import MediaFile
from stages.scan import Look, ScanConfig, ShotScanner, summarise_looks

HEAD = astronaut()[0:260, 90:350]
"""(260, 260, 3): one frontal face of about 105 px."""


def texture(seed: int, height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 10, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def test_looks_are_summarised() -> None:
    looks = [Look(k / 2, sides, bytes([k])) for k, sides in enumerate([(100.0, 30.0), (), (80.0, 10.0), (120.0,)])]
    assert summarise_looks(looks, 0.25, 0.0, 2.0) == {
        "shot_num_looks": 4,
        "shot_face_ratio": 0.75,
        "shot_multi_face_ratio": 0.25,
        "shot_alone_s": 2.0,
        "shot_face_px": 100.0,
        "thumb_jpeg": bytes([2]),
    }
    assert summarise_looks([Look(0.0, (), b"x")], 0.25, 0.0, 1.0).keys() == {
        "shot_num_looks",
        "shot_face_ratio",
        "shot_multi_face_ratio",
        "shot_alone_s",
        "thumb_jpeg",
    }
    assert summarise_looks([], 0.25, 0.0, 1.0) == {"shot_num_looks": 0}


@pytest.mark.parametrize(
    ("faces", "alone_s"),
    [("11111111", 4.0), ("22222222", 0.5), ("11122211", 1.5), ("11121111", 4.0), ("12222222", 0.5), ("11111122", 3.0)],
)
def test_how_long_a_face_is_alone(faces: str, alone_s: float) -> None:
    looks = [Look(k / 2, (100.0,) * int(number), b"") for k, number in enumerate(faces)]
    assert summarise_looks(looks, 0.25, 0.0, 4.0)["shot_alone_s"] == alone_s


@pytest.mark.parametrize("size_px", [(4096, 8), (8, 4096), (2048, 16)])
def test_a_strip_of_a_picture_has_a_thumbnail(tmp_path: Path, scanner: ShotScanner, size_px: tuple[int, int]) -> None:
    def grey(number: int, width: int, height: int) -> np.ndarray:
        return np.full((height, width, 3), 90 + number, np.uint8)

    path = write_media(tmp_path / "a.mkv", steady(5), picture=grey, size_px=size_px, video_codec="ffv1")
    (shot,) = scanner({"source_id": "a", "media_path": str(path), "duration_s": 0.2})
    thumb = cv2.imdecode(np.frombuffer(shot["thumb_jpeg"], np.uint8), cv2.IMREAD_COLOR)
    assert thumb.shape[0] <= 128 and thumb.shape[1] <= 512


@pytest.fixture(scope="module")
def scanner(weights: WeightStore) -> ShotScanner:
    return ShotScanner(ScanConfig(), weights)


def heads(*sides_px: int):
    """A picture function: heads side by side on a plain wall, swaying a little."""

    def picture(number: int, width: int, height: int) -> np.ndarray:
        wall = np.full((height, width, 3), (96, 120, 140), np.uint8)
        left = 4 + number % 4
        for side in sides_px:
            wall[height - side :, left : left + side] = cv2.resize(HEAD, (side, side), interpolation=cv2.INTER_AREA)
            left += side + 10
        return wall

    return picture


def test_one_face_in_one_shot(tmp_path: Path, scanner: ShotScanner) -> None:
    path = write_media(tmp_path / "a.mp4", steady(60), size_px=(480, 300), picture=heads(260))
    row = {"media_path": str(path), "source_id": "a"}
    (shot,) = scanner(row)
    assert shot.keys() - row.keys() == {*SCAN.names, "thumb_jpeg"} - {"span"}
    assert (shot["shot_idx"], shot["num_shots"], shot["shot_start_s"]) == (0, 1, 0.0)
    assert shot["shot_end_s"] == pytest.approx(2.4, abs=1e-3)
    assert (shot["shot_num_looks"], shot["shot_face_ratio"], shot["shot_multi_face_ratio"]) == (5, 1.0, 0.0)
    assert 85 < shot["shot_face_px"] < 125
    assert cv2.imdecode(np.frombuffer(shot["thumb_jpeg"], np.uint8), cv2.IMREAD_COLOR).shape == (128, 205, 3)


def test_face_sizes_are_in_source_pixels(tmp_path: Path, scanner: ShotScanner) -> None:
    sides_px = []
    for scale in (1, 2, 3):
        size_px = (480 * scale, 300 * scale)
        path = write_media(tmp_path / f"{scale}.mp4", steady(3), size_px=size_px, picture=heads(260 * scale))
        sides_px.append(next(scanner({"media_path": str(path)}))["shot_face_px"] / scale)
    assert max(sides_px) / min(sides_px) < 1.1


def test_a_second_face_counts_by_its_size(tmp_path: Path, scanner: ShotScanner) -> None:
    for sides_px, ratio in (((220, 200), 1.0), ((260, 50), 0.0)):
        path = write_media(tmp_path / f"{ratio}.mp4", steady(30), size_px=(480, 300), picture=heads(*sides_px))
        (shot,) = scanner({"media_path": str(path)})
        assert (shot["shot_face_ratio"], shot["shot_multi_face_ratio"]) == (1.0, ratio)


def test_shots_cover_a_late_video_of_variable_rate(tmp_path: Path, scanner: ShotScanner) -> None:
    times_s = [*steady(30, 25.0, 0.2), *steady(30, 12.5, 1.4), *steady(40, 25.0, 3.8)]

    def three(number: int, width: int, height: int) -> np.ndarray:
        if number < 30:
            return texture(4, height, width)
        return heads(260)(number, width, height) if number < 60 else texture(5, height, width)

    path = write_media(
        tmp_path / "a.mkv", times_s, size_px=(480, 300), picture=three, sound=np.zeros(88_200, np.float32)
    )
    shots = list(scanner({"media_path": str(path)}))
    assert [shot["shot_idx"] for shot in shots] == [0, 1, 2]
    assert {shot["num_shots"] for shot in shots} == {3}
    assert [shot["shot_start_s"] for shot in shots] == pytest.approx([0.2, 1.4, 3.8], abs=0.002)
    assert [shot["shot_end_s"] for shot in shots[:2]] == [shot["shot_start_s"] for shot in shots[1:]]
    assert shots[2]["shot_end_s"] == pytest.approx(5.4, abs=0.05)
    assert [shot["shot_face_ratio"] for shot in shots] == [0.0, 1.0, 0.0]
    assert ["shot_face_px" in shot for shot in shots] == [False, True, False]
    assert sum(shot["shot_num_looks"] for shot in shots) == pytest.approx(5.2 * 2, abs=2)


def test_spans_bound_the_shots_and_name_them(tmp_path: Path, scanner: ShotScanner) -> None:
    def two(number: int, width: int, height: int) -> np.ndarray:
        return texture(4 + (number >= 50), height, width)

    path = write_media(tmp_path / "a.mp4", steady(100), size_px=(160, 96), picture=two)
    spans = np.array([[0.5, 1.0], [1.5, 2.41], [3.0, 9.0], [30.0, 31.0]])
    row = {"media_path": str(path), "duration_s": 4.0, "spans": spans, "span_names": ["a", "b", "c", "d"]}
    shots = list(scanner(row))
    assert [shot["span"] for shot in shots] == ["a", "b", "b", "c", "d"]
    times_s = [time_s for shot in shots for time_s in (shot["shot_start_s"], shot["shot_end_s"])]
    assert times_s == pytest.approx([0.52, 1.0, 1.52, 2.0, 2.0, 2.41, 3.0, 4.0, 30.0, 30.0], abs=0.001)
    assert {shot["num_shots"] for shot in shots} == {5}
    assert [shot.get("fault_reason") for shot in shots] == [None, None, None, None, "no_span"]


def test_frames_outside_the_spans_are_not_decoded(tmp_path: Path, scanner: ShotScanner, monkeypatch) -> None:
    path = write_media(tmp_path / "a.mp4", steady(500), size_px=(160, 96), key_frame_every=25)
    decoded, decode = [], MediaFile.decode

    def counted(media: MediaFile, stream):
        for frame in decode(media, stream):
            decoded.append(media.time_s(frame.pts, stream))
            yield frame

    monkeypatch.setattr(MediaFile, "decode", counted)
    row = {"media_path": str(path), "duration_s": 20.0, "spans": np.array([[12.0, 14.0]]), "span_names": ["a"]}
    list(scanner(row))
    assert min(decoded) >= 11.0 and len(decoded) < 110


def test_faces_are_looked_for_upright(tmp_path: Path, scanner: ShotScanner) -> None:
    def lying(number: int, width: int, height: int) -> np.ndarray:
        return np.rot90(heads(260)(number, height, width)).copy()

    path = write_media(tmp_path / "a.mp4", steady(20), size_px=(300, 480), picture=lying, rotation_deg=90)
    (shot,) = scanner({"media_path": str(path)})
    assert shot["shot_face_ratio"] == 1.0


def test_files_that_cannot_be_decoded_are_dropped(tmp_path: Path, scanner: ShotScanner) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"")
    with pytest.raises(Dropped) as dropped:
        list(scanner({"media_path": str(path)}))
    assert dropped.value.reason == DropReason.CORRUPT
