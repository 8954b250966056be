"""Depth pictures of a dubbed mouth: the fitted head of the video with predicted expressions."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from model.dubbing.face_track import FaceTrack, chunks_of
from model.shards.mouth_depth import MouthDepth
from model.shards.views import lip_mask
from stages.face3d.camera import crop_focal_px, project, synthesize
from stages.face3d.load import load_face_model
from stages.fit.config import GeometryConfig
from stages.fit.fit import fit_landmarks

FADE_FRAMES = 25
"""Overlap of two chunks, over which their fits are blended."""


class FaceMotion:
    """The head of a video, fitted to every run of frames with a face; long ones in chunks that fade into each other.

    Args:
        geometry_model: face model of the predicted coefficients: an embedded one's name, or a path.
    """

    def __init__(self, track: FaceTrack, geometry_model: str) -> None:
        self._model = load_face_model(geometry_model)
        self._focal_px = np.full((len(track.boxes), 2), 1.0)
        self._pose = np.zeros((len(track.boxes), 6), np.float32)
        self._identity = np.zeros((len(track.boxes), len(self._model.identity)), np.float32)
        self._expression = np.zeros((len(track.boxes), len(self._model.expression)), np.float32)
        config = GeometryConfig(model=geometry_model)
        for first, chunk, _ in (chunk for run in track.runs() for chunk in chunks_of(run, FADE_FRAMES)):
            both = slice(first, chunk.stop)
            boxes = track.boxes[both].astype(np.float64)
            self._focal_px[both] = crop_focal_px(boxes)
            fit = fit_landmarks(self._model, track.points[both], boxes, config)
            new = np.minimum(1, np.arange(1, chunk.stop - first + 1) / (chunk.start - first + 1))[:, None]
            for kept, found in (
                (self._pose, fit.pose),
                (self._identity, fit.id_coeff),
                (self._expression, fit.exp_coeff),
            ):
                kept[both] = (1 - new) * kept[both] + new * found

    def expression(self, frame: int) -> Float[np.ndarray, " e"]:
        """The fitted expression of frame `frame` of the video."""
        return self._expression[frame]

    def depth(self, frame: int, expression: Float[np.ndarray, " e"]) -> UInt8[np.ndarray, "h w"]:
        """The depth picture of frame `frame`'s mouth with this expression, as in the editor's training."""
        pose, focal_px, identity = self._pose[frame], self._focal_px[frame], self._identity[frame]
        vertices = synthesize(self._model, identity, expression[None], pose[None])
        lips = lip_mask(self._model.at_landmarks(project(vertices, focal_px[None]))[0])
        return MouthDepth(self._model, identity)(expression, pose, focal_px, lips)
