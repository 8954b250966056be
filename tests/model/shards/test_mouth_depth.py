from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.shards.mouth_depth import MouthDepth, fitted_model
from model.shards.views import depth_view, lip_mask
from stages.depth import DepthConfig, DepthRenderer
from stages.face3d.camera import project, synthesize
from stages.face3d.load import EMBEDDED, load_face_model
from stages.face3d.model import FaceModelError
from tests.shards import EXP_DIM, JAW_OPEN, POSE

FOCAL_PX = np.array([1160.0, 1160.0])


def turned(yaw_deg: float, pitch_deg: float) -> np.ndarray:
    """A pose of this head."""
    yaw, pitch = (cv2.Rodrigues(np.deg2rad(v))[0] for v in (np.array([0.0, yaw_deg, 0]), np.array([pitch_deg, 0, 0.0])))
    return np.concatenate([cv2.Rodrigues(yaw @ pitch)[0][:, 0], POSE[3:]])


@pytest.mark.parametrize("pitch_deg", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize("yaw_deg", [-60.0, -20.0, 0.0, 45.0])
def test_the_mouth_alone_is_drawn_as_in_the_whole_face(yaw_deg: float, pitch_deg: float) -> None:
    model, random = load_face_model(), np.random.default_rng(0)
    identity, pose = random.normal(size=80).astype(np.float32), turned(yaw_deg, pitch_deg)
    expression = np.zeros(EXP_DIM, np.float32)
    expression[JAW_OPEN] = 0.7
    lips = lip_mask(model.at_landmarks(project(synthesize(model, identity, expression[None], pose[None])))[0])
    whole = DepthRenderer(DepthConfig()).render(identity, expression[None], pose[None], FOCAL_PX[None])[0]
    expected = depth_view(whole, lips, pose[5])
    drawn = MouthDepth(model, identity)(expression, pose, FOCAL_PX, lips)
    assert lips.sum() > 300 and (expected[lips] > 0).mean() > 0.9
    assert (drawn != expected).sum() <= 2  # places are rounded otherwise nearer to the corner of the picture


def test_no_lips_are_no_depth() -> None:
    nothing = np.zeros((256, 256), bool)
    mouth = MouthDepth(load_face_model(), np.zeros(80, np.float32))
    assert not mouth(np.zeros(EXP_DIM, np.float32), np.array(POSE), FOCAL_PX, nothing).any()


def test_the_model_of_the_clips_is_found_or_asked_for(tmp_path) -> None:
    assert fitted_model(None, "cc0") is fitted_model(str(EMBEDDED["cc0"]), "cc0")
    with pytest.raises(FaceModelError, match="'bfm', which is not embedded: give loader"):
        fitted_model(None, "bfm")
    with pytest.raises(FaceModelError, match="is 'cc0', the clips were fitted with 'bfm'"):
        fitted_model(str(EMBEDDED["cc0"]), "bfm")
    with pytest.raises(FaceModelError, match="no face model"):
        fitted_model(str(tmp_path / "gone.npz"), "bfm")
