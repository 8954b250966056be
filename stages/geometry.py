"""Fit a morphable face model to a clip's landmarks: one identity, and an expression and a pose for every frame."""

from __future__ import annotations

import numpy as np

from stages.core.records import NUM_LANDMARKS, Row
from stages.face.landmarks import LIPS, NUM_FACE_POINTS
from stages.face.mouth_look import MouthConfig, hidden_frames
from stages.face3d.load import load_face_model
from stages.fit.config import GeometryConfig
from stages.fit.fit import fit_landmarks


class FaceFitter:
    """Adds the GEOMETRY columns, `id_coeff`, `exp_coeff` and `pose` to a clip with landmarks."""

    def __init__(self, config: GeometryConfig, mouth: MouthConfig) -> None:
        self.config, self.mouth = config, mouth
        self.model = load_face_model(config.model)

    def __call__(self, row: Row) -> Row:
        landmarks = np.asarray(row["landmarks"], np.float32).reshape(-1, NUM_LANDMARKS, 3)
        boxes = np.asarray(row["crop_box_xyxy_px"], np.float64)
        is_lip = np.isin(np.arange(NUM_FACE_POINTS), LIPS)
        trust = np.ones((len(landmarks), NUM_FACE_POINTS), np.float32)
        trust[np.outer(hidden_frames(row, self.mouth), is_lip)] = self.config.hidden_trust
        trust[~np.asarray(row["face_found"], bool)] = self.config.guessed_trust
        fit = fit_landmarks(self.model, landmarks, boxes, self.config, trust)
        return {
            **row,
            "id_coeff": fit.id_coeff,
            "exp_coeff": fit.exp_coeff,
            "pose": fit.pose,
            "geometry_model": self.model.name,
            "fit_error_px": float(np.median(fit.error_px)),
            "fit_error_mm": fit.lip_sigma_mm,
        }
