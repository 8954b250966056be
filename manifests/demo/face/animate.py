"""A portrait that speaks: frames of a video, and where the lips truly are in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from manifests.demo.face.face_motion import FaceRig, HeadMotion, MotionConfig, head_motion
from manifests.demo.face.inner_mouth import InnerMouth, MouthConfig
from manifests.demo.face.lips import LipMotion
from manifests.demo.face.mesh import ring_points, triangles
from manifests.demo.face.portrait import Portrait
from stages.face.landmarks import CHIN, FOREHEAD, LIP_GAP, MOUTH_CORNERS

NUM_MESH, NUM_RING = 468, 36


@dataclass(frozen=True)
class Framing:
    """How the camera sees a portrait.

    Args:
        face_px: height of the face (forehead to chin) in the frame.
        face_x, face_y: middle of the face, as parts of the frame's width and height.
        brightness, warmth: factor on all colours; red gains and blue loses this share.
    """

    width_px: int = 512
    height_px: int = 512
    face_px: float = 230.0
    face_x: float = 0.5
    face_y: float = 0.46
    brightness: float = 1.0
    warmth: float = 0.0


@dataclass(frozen=True)
class Performance:
    """A portrait in motion.

    Args:
        mesh: float32 (T, 468, 2), the true mesh in frame pixels.
        opening: float32 (T,), gap between the lips over the face's height, as measured on the true mesh.
    """

    portrait: Portrait
    framing: Framing
    fps: Fraction
    mesh: np.ndarray
    rings: np.ndarray
    skull: np.ndarray
    jaw_drop_px: np.ndarray
    rest: np.ndarray

    @property
    def opening(self) -> np.ndarray:
        upper, lower = LIP_GAP
        gap = np.linalg.norm(self.mesh[:, lower] - self.mesh[:, upper], axis=1)
        return gap / np.linalg.norm(self.mesh[:, CHIN] - self.mesh[:, FOREHEAD], axis=1)

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3) pictures."""
        from manifests.demo.face.warp_kernel import fill_map

        size = self.framing.height_px, self.framing.width_px
        matrix = framing_matrix(self.portrait, self.framing)
        backward = cv2.invertAffineTransform(matrix)
        rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
        still = [backward[k, 0] * columns + backward[k, 1] * rows + backward[k, 2] for k in range(2)]
        source = np.concatenate([self.portrait.points, ring_points(self.portrait.points)])[:, :2].astype(np.float32)
        faces = triangles()
        picture = self._graded()
        mouth = InnerMouth(self.rest, MouthConfig())
        for t in range(len(self.mesh)):
            map_x, map_y = still[0].astype(np.float32), still[1].astype(np.float32)
            target = np.concatenate([self.mesh[t], self.rings[t]]).astype(np.float32)
            fill_map(target, source, faces, map_x, map_y)
            rgb = cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            mouth.draw(rgb, self.mesh[t], self.skull[t], float(self.jaw_drop_px[t]))
            yield rgb

    def _graded(self) -> np.ndarray:
        """The portrait under the camera's light, blurred where it will be shrunk."""
        framing = self.framing
        scale = framing.face_px / self.portrait.face_height_px
        picture = self.portrait.rgb
        if scale < 0.75:
            picture = cv2.GaussianBlur(picture, (0, 0), 0.45 / scale)
        gain = framing.brightness * np.array([1 + framing.warmth, 1, 1 - framing.warmth])
        return np.clip(picture * gain, 0, 255).astype(np.uint8)


def framing_matrix(portrait: Portrait, framing: Framing) -> np.ndarray:
    """(2, 3) from portrait pixels to frame pixels."""
    scale = framing.face_px / portrait.face_height_px
    middle = (portrait.points[FOREHEAD, :2] + portrait.points[CHIN, :2]) / 2
    place = np.array([framing.face_x * framing.width_px, framing.face_y * framing.height_px])
    return np.array([[scale, 0, place[0] - scale * middle[0]], [0, scale, place[1] - scale * middle[1]]])


def perform(
    portrait: Portrait,
    lips: LipMotion,
    framing: Framing,
    fps: Fraction,
    seed: int,
    config: MotionConfig | None = None,
    head: HeadMotion | None = None,
) -> Performance:
    """Let a portrait speak with these lips; its head moves at random unless `head` says how."""
    config = config or MotionConfig()
    head = head or head_motion(len(lips.opening), fps, seed, config)
    rig = FaceRig(portrait, config)
    mesh = rig.move(lips, head)
    num_frames = len(mesh)
    rings = np.broadcast_to(ring_points(portrait.points), (num_frames, 2 * NUM_RING, 3)).copy()
    rings[:, :NUM_RING] = rig.turn(rings[:, :NUM_RING], head)
    rest = portrait.points[:, :2] + rig.close
    matrix = framing_matrix(portrait, framing)
    left, right = (np.append(rest[i], portrait.points[i, 2]) for i in MOUTH_CORNERS)
    below = (left + right) / 2 + np.array([0, np.linalg.norm(right - left) / 2, 0])
    skull = rig.turn(np.broadcast_to(np.stack([left, right, below]), (num_frames, 3, 3)), head)
    drop_px = lips.opening * config.max_opening * rig.unit_px * (1 - config.upper_lip_share) * matrix[0, 0]
    placed = (points[..., :2] @ matrix[:, :2].T + matrix[:, 2] for points in (mesh, rings, skull))
    framed_mesh, framed_rings, framed_skull = placed
    return Performance(
        portrait, framing, fps, framed_mesh.astype(np.float32), framed_rings, framed_skull, drop_px, rest
    )
