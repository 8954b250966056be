"""The face followed through a video."""

from __future__ import annotations

import cv2
import numpy as np

from model.dubbing.face_track import chunks_of, follow_face, runs_of
from model.dubbing.head_motion import FaceMotion
from tests.talking import FPS


def test_one_of_several_faces_is_followed(frames, weights):
    """A small face on the left, a larger one on the right; each can be chosen, and neither is taken for the other."""
    both = []
    for rgb in frames[:8]:
        small = cv2.resize(rgb, (280, 280), interpolation=cv2.INTER_AREA)
        both.append(np.concatenate([cv2.copyMakeBorder(small, 70, 70, 0, 0, cv2.BORDER_REPLICATE), rgb], axis=1))
    for place, middle in ((0, 280 + 210), (1, 140), (2, 280 + 210)):
        track = follow_face(both, FPS, weights, place)
        assert track.found.all() and track.max_faces == 2
        assert np.abs(track.boxes[:, [0, 2]].mean(axis=1) - middle).max() < 60


def test_long_videos_are_worked_on_in_chunks(frames, weights, monkeypatch):
    """With the context that smoothing needs, chunks give the very same boxes; heads fade from one fit to the next."""
    whole = follow_face(frames[:18], FPS, weights)
    heads = [FaceMotion(whole, "cc0")]
    monkeypatch.setattr("model.dubbing.face_track.CHUNK_FRAMES", 7)
    chunked = follow_face(frames[:18], FPS, weights)
    np.testing.assert_array_equal(whole.boxes, chunked.boxes)
    np.testing.assert_array_equal(whole.points, chunked.points)
    assert [chunk for _, chunk, _ in chunks_of(slice(2, 18), 3)] == [slice(2, 9), slice(9, 16), slice(16, 18)]
    heads.append(FaceMotion(chunked, "cc0"))
    neutral = np.zeros(52, np.float32)
    a, b = ([head.depth(i, neutral).astype(int) for i in range(18)] for head in heads)
    assert max(np.abs(x - y)[(x > 0) & (y > 0)].mean() for x, y in zip(a, b, strict=True)) < 4  # half a mm is 1


def test_runs():
    assert runs_of(np.array([True, True, False, True])) == [slice(0, 2), slice(3, 4)]
    assert runs_of(np.zeros(3, bool)) == []
