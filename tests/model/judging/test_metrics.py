"""Metrics on pictures and points with known answers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from model.judging.metrics import LIPS, MAX_PSNR_DB, cosine, face_distance, lip_distance, psnr_db, ssim


def noisy(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (2, 32, 32, 3), np.uint8)


def test_psnr_is_scikit_images():
    assert psnr_db(noisy(0), noisy(1)) == pytest.approx(peak_signal_noise_ratio(noisy(1), noisy(0)))
    assert psnr_db(noisy(0), noisy(0)) == MAX_PSNR_DB


def test_ssim_is_scikit_images():
    smooth = cv2.GaussianBlur(noisy(0)[0], (0, 0), 2)
    other = np.clip(smooth.astype(int) + noisy(1)[0] // 8, 0, 255).astype(np.uint8)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    theirs = structural_similarity(smooth, other, channel_axis=2, full=True, **wang)[1].mean()
    assert ssim(smooth[None], other[None]) == pytest.approx(
        theirs, abs=0.005
    )  # the picture's rim is mirrored otherwise
    assert 0.2 < theirs < 0.9 and ssim(noisy(0), noisy(0)) == pytest.approx(1.0)


def test_lip_distance_forgets_where_the_head_is():
    truth = np.random.default_rng(0).normal(size=(3, 478, 3)) * 10
    truth[:, 10], truth[:, 152] = (0, 0, 0), (0, 200, 0)
    moved = truth + np.array([30, -20, 5])
    assert lip_distance(moved, truth) == pytest.approx(0)
    wider = truth.copy()
    centre = truth[:, LIPS, :2].mean(axis=1, keepdims=True)
    wider[:, LIPS, :2] = centre + 1.5 * (truth[:, LIPS, :2] - centre)
    expected = 100 * 0.5 * np.linalg.norm(truth[:, LIPS, :2] - centre, axis=2).mean() / 200
    assert lip_distance(wider, truth) == pytest.approx(expected)


def test_face_distance_does_not():
    truth = np.zeros((2, 478, 3))
    truth[:, 152] = (0, 200, 0)
    assert face_distance(truth + np.array([3, -4, 9]), truth) == pytest.approx(100 * 5 / 200)


def test_cosine():
    assert cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(np.sqrt(0.5))
