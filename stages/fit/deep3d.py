"""Deep3DFaceRecon's regressor: a clip's coefficients by a network instead of a fit, for those who have its weights.

Each frame is laid into the reference's 224 px picture by five points and gives 257 numbers. The identity is the clip's
median; poses are carried over to the crop's camera by laying the same landmarks on the same pixels. Our crop is tighter
than the pictures the network was trained on: what lies beyond it is black.

Source: Deep3DFaceRecon_pytorch, `util/preprocess.py` and `models/networks.py`, read and checked numerically.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from stages.core.reasons import Dropped, DropReason
from stages.core.records import CROP_PX, NUM_LANDMARKS, Row
from stages.core.tensors import read_tensors
from stages.core.weights import MissingWeights, WeightStore
from stages.face.crop import decode_jpeg
from stages.face.landmarks import NUM_FACE_POINTS
from stages.face3d.bfm import NUM_COEFFICIENTS, Coefficients
from stages.face3d.camera import TO_CAMERA, crop_focal_px, project, synthesize
from stages.face3d.load import load_face_model
from stages.fit.config import GeometryConfig

if TYPE_CHECKING:
    from stages.face3d.model import FaceModel
    from stages.fit.deep3d_network import ReconNetwork

SIDE_PX = 224
FOCAL_PX = 1015.0
FACE_PX = 102.0
"""Size of the face in the picture, in units of the five points below."""
FIVE_POINTS = np.array(
    [
        [-0.311487, 0.290361, 0.133780],
        [0.309799, 0.289720, 0.131795],
        [0.003253, -0.046179, 0.552442],
        [-0.252169, -0.381339, 0.224057],
        [0.248466, -0.381282, 0.222358],
    ]
)
"""Of the standard face: eyes (the picture's left first), nose, corners of the mouth. From similarity_Lm3D_all.mat."""
FIVE_LANDMARKS = (468, 473, 1, 61, 291)
"""The same in MediaPipe's mesh: irises, tip of the nose, corners of the mouth."""


class Deep3dError(MissingWeights):
    """A checkpoint that is not Deep3DFaceRecon's, or a face model that its coefficients do not belong to."""


@dataclass(frozen=True)
class Placement:
    """How the crop was laid into the network's picture: resized to `width` x `height`, then cut from `left`, `top`."""

    width: int
    height: int
    left: int
    top: int

    def to_crop(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the 224 px picture in crop pixels; pixel i covers [i, i + 1) in both."""
        return (points + np.array([self.left, self.top])) * CROP_PX / [self.width, self.height]


def place(five_points: np.ndarray, aspect: float) -> Placement:
    """Scale and place that bring five points to the standard face, by the reference's least squares and rounding.

    Args:
        five_points: (5, 2) in crop pixels, in the order of `FIVE_POINTS`.
        aspect: height over width of the source box that the crop shows as a square.
    """
    width, height = CROP_PX / np.sqrt(aspect), CROP_PX * np.sqrt(aspect)
    points = five_points * [width / CROP_PX, height / CROP_PX] - 0.5  # the reference counts from a pixel's centre
    points[:, 1] = height - 1 - points[:, 1]
    system = np.zeros((10, 8))
    system[0::2, :3] = system[1::2, 4:7] = FIVE_POINTS
    system[0::2, 3] = system[1::2, 7] = 1
    solved = np.linalg.lstsq(system, points.reshape(-1), rcond=None)[0]
    scale = FACE_PX / ((np.linalg.norm(solved[:3]) + np.linalg.norm(solved[4:7])) / 2)
    wide, high = int(width * scale), int(height * scale)
    left = int(wide / 2 - SIDE_PX / 2 + (solved[3] - width / 2) * scale)
    top = int(high / 2 - SIDE_PX / 2 + (height / 2 - solved[7]) * scale)
    return Placement(wide, high, left, top)


def lay_in(crop: np.ndarray, placement: Placement) -> np.ndarray:
    """The network's picture (224, 224, 3) uint8 RGB of a crop (256, 256, 3); black beyond it."""
    resized = Image.fromarray(crop).resize((placement.width, placement.height), Image.Resampling.BICUBIC)
    left, top = placement.left, placement.top
    return np.asarray(resized.crop((left, top, left + SIDE_PX, top + SIDE_PX)))


class Deep3dRegressor:
    """Pictures to coefficients.

    Args:
        file: `epoch_20.pth`.
        device: a torch device's name.
    Raises:
        Deep3dError: the file is no checkpoint of Deep3DFaceRecon.
        UnsafeWeights: it is damaged, or would run code.
    """

    def __init__(self, file: Path, device: str = "cpu") -> None:
        from stages.fit.deep3d_network import ReconNetwork

        network = ReconNetwork()
        try:
            network.load_state_dict(read_tensors(file)["net_recon"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise Deep3dError(f"{file} is no checkpoint of Deep3DFaceRecon: {str(error).splitlines()[0]}") from error
        self._device = device
        self._network: ReconNetwork = network.eval().to(device)

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """(B, 224, 224, 3) uint8 RGB to (B, 257) float32."""
        import torch

        with torch.no_grad():
            batch = torch.from_numpy(pictures).to(self._device).permute(0, 3, 1, 2).float() / 255
            return self._network(batch).cpu().numpy()


class Deep3dFitter:
    """Adds what `FaceFitter` adds, in the Basel model's coefficients.

    Raises:
        Deep3dError: `geometry.model` is not the Basel model.
        MissingWeights: the checkpoint is nowhere to be had.
    """

    def __init__(self, config: GeometryConfig, weights: WeightStore) -> None:
        import torch

        self.config, self.model = config, load_face_model(config.model)
        if self.model.name != "bfm":
            raise Deep3dError(
                f"geometry.method=deep3d gives coefficients of the Basel model, geometry.model is {self.model.name!r}: "
                "set geometry.model and depth.model to the path of BFM_model_front.mat"
            )
        found = "cuda" if torch.cuda.is_available() else "cpu"
        self._regressor = Deep3dRegressor(weights.path("deep3d"), config.device.replace("auto", found))

    def __call__(self, row: Row) -> Row:
        landmarks = np.asarray(row["landmarks"], np.float64).reshape(-1, NUM_LANDMARKS, 3)
        boxes = np.asarray(row["crop_box_xyxy_px"], np.float64)
        aspects = (boxes[:, 3] - boxes[:, 1]) / (boxes[:, 2] - boxes[:, 0])
        points = landmarks[:, FIVE_LANDMARKS, :2]
        if not len(points) or not np.isfinite(points).all():
            raise Dropped(DropReason.FIT_ERROR, "no frame, or landmarks that are not finite")
        placements = [place(five, aspect) for five, aspect in zip(points, aspects, strict=True)]
        values = np.empty((len(points), NUM_COEFFICIENTS), np.float32)
        for start in range(0, len(points), self.config.chunk_frames):
            part = slice(start, start + self.config.chunk_frames)
            crops = [decode_jpeg(jpeg) for jpeg in row["face_jpeg"][part]]
            pictures = [lay_in(crop, where) for crop, where in zip(crops, placements[part], strict=True)]
            values[part] = self._regressor(np.stack(pictures))
        focal_px = crop_focal_px(boxes)
        given = Coefficients.unpack(values)
        identity = np.median(given.identity, axis=0)
        pose = carry_over(self.model, given, identity, placements, focal_px)
        seen = project(synthesize(self.model, identity, given.expression, pose), focal_px)
        error_px = np.linalg.norm(self.model.at_landmarks(seen)[..., :2] - landmarks[:, :NUM_FACE_POINTS, :2], axis=-1)
        return {
            **row,
            "id_coeff": identity.astype(np.float32),
            "exp_coeff": given.expression,
            "pose": pose.astype(np.float32),
            "geometry_model": self.model.name,
            "fit_error_px": float(np.median(error_px)),
        }


def carry_over(
    model: FaceModel,
    given: Coefficients,
    identity: np.ndarray,
    placements: list[Placement],
    focal_px: np.ndarray,
) -> np.ndarray:
    """Poses (T, 6) in the crop's camera that show the face where the network's camera showed it.

    The two look along different axes at different scales, so no pose does it exactly: landmarks are off by parts of a
    pixel.

    Args:
        identity: (80,) of the clip.
        placements: of each frame's crop in the network's picture.
        focal_px: (T, 2) of the crops.
    """
    poses = given.pose()
    shapes = model.at_landmarks(model.shape(identity, given.expression)).astype(np.float64) @ TO_CAMERA
    carried = np.empty_like(poses)
    for frame, (shape, where) in enumerate(zip(shapes, placements, strict=True)):
        turn, place_mm = poses[frame, :3], poses[frame, 3:]
        network_camera = np.array([[FOCAL_PX, 0, SIDE_PX / 2], [0, FOCAL_PX, SIDE_PX / 2], [0, 0, 1]])
        in_picture = cv2.projectPoints(shape, turn, place_mm, network_camera, None)[0][:, 0]
        target = where.to_crop(in_picture)
        fx, fy = focal_px[frame]
        camera = np.array([[fx, 0, CROP_PX / 2], [0, fy, CROP_PX / 2], [0, 0, 1]])
        nearer = fx / (FOCAL_PX * CROP_PX / where.width)
        middle = target.mean(0)
        distance = place_mm[2] * nearer
        start = np.array([(middle[0] - CROP_PX / 2) / fx, (middle[1] - CROP_PX / 2) / fy, 1.0]) * distance
        found = cv2.solvePnP(
            shape, target, camera, None, turn.copy(), start, useExtrinsicGuess=True, flags=cv2.SOLVEPNP_ITERATIVE
        )
        carried[frame] = np.concatenate([found[1].ravel(), found[2].ravel()])
    return carried
