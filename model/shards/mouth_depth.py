"""The depth picture of a mouth, drawn from a fit, for the editor's training and for dubbing."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from model.shards.views import depth_view
from stages.face3d.camera import project, synthesize
from stages.face3d.load import load_face_model
from stages.face3d.model import FaceModel, FaceModelError
from stages.face3d.raster import rasterize

NO_IDENTITY = np.zeros(0, np.float32)


class MouthDepth:
    """Draws the mouth of one person.

    Drawing the inside of the lips is faster than decoding a stored depth map of the face, and takes no disk space.
    """

    def __init__(self, model: FaceModel, id_coeff: Float[np.ndarray, " k"]) -> None:
        self._mouth = model.mouth.person(id_coeff)

    def __call__(
        self,
        expression: Float[np.ndarray, " e"],
        pose: Float[np.ndarray, "6"],
        focal_px: Float[np.ndarray, "2"],
        lips: Bool[np.ndarray, "h w"],
    ) -> UInt8[np.ndarray, "h w"]:
        """The depth within `lips`, as `depth_view` shows it; `focal_px` is `crop_focal_px`'s of the frame."""
        x, y, width, height = cv2.boundingRect(lips.astype(np.uint8))
        picture = np.zeros(lips.shape, np.uint8)
        if width:
            projected = project(synthesize(self._mouth, NO_IDENTITY, expression[None], pose[None]), focal_px[None])
            projected[..., :2] -= (x, y)
            depth_mm = rasterize(projected, self._mouth.triangles, max(width, height), front_only=True)[0][0]
            box = np.s_[y : y + height, x : x + width]
            picture[box] = depth_view(depth_mm[:height, :width], lips[box], float(pose[5]))
        return picture


def fitted_model(face_model: str | None, geometry_model: str) -> FaceModel:
    """The face model that clips were fitted with.

    Args:
        face_model: its name or path from the user; None for an embedded one.
        geometry_model: its name in the clips.
    Raises:
        FaceModelError: it is missing, or the given one is another.
    """
    try:
        model = load_face_model(face_model or geometry_model)
    except FaceModelError as error:
        if face_model is not None:
            raise
        raise FaceModelError(
            f"the clips were fitted with the face model {geometry_model!r}, which is not embedded: give "
            "loader.face_model=PATH"
        ) from error
    if model.name != geometry_model:
        raise FaceModelError(f"{face_model} is {model.name!r}, the clips were fitted with {geometry_model!r}")
    return model
