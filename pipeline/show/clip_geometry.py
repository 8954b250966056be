"""One kept clip drawn: crop, landmarks, mesh, the face in its own colours, and depth.

Landmarks: the detector's in green, the fitted model's in red. Depth comes from the shard, or is drawn if the shard has
none; red is near and blue far, and the mouth region is outlined.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import pyarrow.compute as pc

from pipeline.rules.config import stored_config
from stages.core.command import UserError
from stages.core.records import CROP_PX, NUM_LANDMARKS, Row
from stages.core.rows import rows_from_table
from stages.core.storage import list_files, named, open_parquet
from stages.depth import decode_depth, depth_range, mouth_mask, range_view
from stages.face.crop import decode_jpeg
from stages.face.landmarks import LIP_GAP
from stages.face3d.camera import crop_focal_px, project, synthesize
from stages.face3d.load import EMBEDDED, load_face_model
from stages.face3d.model import FaceModel, FaceModelError
from stages.face3d.raster import rasterize
from stages.face3d.texture import paint, sample_colours, vertex_normals

COLUMNS = (
    *("row_id", "face_jpeg", "landmarks", "pose", "id_coeff", "exp_coeff", "crop_box_xyxy_px"),
    *("geometry_model", "audio_pcm16"),
)
NUM_TEXTURE_FRAMES = 24
"""Number of frames that colours are sampled from, spread over the clip."""
PLASTER = np.array([190.0, 200, 215])
LIGHT = np.array([-0.35, -0.5, -0.8]) / np.linalg.norm([0.35, 0.5, 0.8])
"""Direction of the light on the drawn mesh, in the camera's axes."""
GREEN, RED, WHITE = (80, 255, 120), (255, 70, 60), (255, 255, 255)


class UnknownClip(UserError):
    """No shard holds the clip with its geometry."""


def read_kept(out: Path, row_id: str, columns: tuple[str, ...], files: str = "*.parquet") -> Row | None:
    """Some columns of a kept clip, from the shard that holds it; None if none of these files does."""
    for shard in list_files(out / "shards", files):
        with named(shard, "read"), open_parquet(shard) as file:
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["row_id"])["row_id"].to_pylist()
                if row_id in ids:
                    table = file.read_row_group(group, columns=list(columns))
                    return rows_from_table(table.filter(pc.field("row_id") == row_id))[0]
    return None


class ClipGeometry:
    """One clip of a shard, drawn frame by frame.

    Args:
        row: its `COLUMNS`, and `depth` if it has any.
        model: face model that the clip was fitted with.
    """

    def __init__(self, row: Row, model: FaceModel) -> None:
        self.row, self.model, self.triangles = row, model, model.face_triangles
        self.num_frames = len(row["face_jpeg"])
        self.landmarks = np.asarray(row["landmarks"], np.float32).reshape(-1, NUM_LANDMARKS, 3)
        self._focal_px = crop_focal_px(np.asarray(row["crop_box_xyxy_px"], np.float64))

    def crop(self, frame: int) -> np.ndarray:
        """(256, 256, 3) uint8 RGB."""
        return decode_jpeg(self.row["face_jpeg"][frame])

    def mesh(self, frames: slice | list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (T, V, 3) in camera mm, and as x px, y px, z mm."""
        exp_coeff, pose = np.asarray(self.row["exp_coeff"])[frames], np.asarray(self.row["pose"])[frames]
        vertices = synthesize(self.model, np.asarray(self.row["id_coeff"]), exp_coeff, pose)
        return vertices, project(vertices, self._focal_px[frames])

    @cached_property
    def colours(self) -> np.ndarray:
        """(V, 3) uint8 RGB, from the clip's own frames."""
        chosen = sorted({int(i) for i in np.linspace(0, self.num_frames - 1, NUM_TEXTURE_FRAMES)})
        vertices, projected = self.mesh(chosen)
        _, triangle_id = rasterize(projected, self.triangles, CROP_PX, front_only=True)
        return sample_colours(self.model, np.stack([self.crop(i) for i in chosen]), vertices, projected, triangle_id)

    @cached_property
    def depth_range_mm(self) -> tuple[float, float]:
        """Nearest and farthest depth that the clip's pictures show."""
        chosen = np.linspace(0, self.num_frames - 1, NUM_TEXTURE_FRAMES).astype(int)
        return depth_range(np.stack([self.depth_mm(i) for i in chosen]))

    def depth_mm(self, frame: int) -> np.ndarray:
        """(256, 256) float32, 0 where there is no face."""
        if "depth" in self.row:
            return decode_depth(self.row["depth"][frame])
        return rasterize(self.mesh([frame])[1], self.triangles, CROP_PX, front_only=True)[0][0]

    @property
    def widest(self) -> int:
        """The frame with the widest mouth."""
        upper, lower = LIP_GAP
        return int((self.landmarks[:, lower, 1] - self.landmarks[:, upper, 1]).argmax())

    def panels(self, frame: int) -> list[np.ndarray]:
        """Five pictures (256, 256, 3) uint8 RGB: crop, landmarks, mesh, own colours, depth."""
        crop = self.crop(frame)
        vertices, projected = self.mesh(slice(frame, frame + 1))
        _, triangle_id = rasterize(projected, self.triangles, CROP_PX, front_only=True)
        seen = triangle_id[0] > 0
        light = 0.35 + 0.65 * np.clip(vertex_normals(vertices[0], self.model.triangles) @ LIGHT, 0, 1)
        values = np.concatenate([light[:, None] * PLASTER, self.colours], axis=1)
        painted = paint(projected[0], self.triangles, triangle_id[0], values)
        mesh, own = crop.copy(), crop // 4
        mesh[seen] = (0.3 * crop[seen] + 0.7 * painted[seen, :3]).astype(np.uint8)
        own[seen] = painted[seen, 3:].astype(np.uint8)
        fitted = self.model.at_landmarks(projected)[0]
        return [crop, self._marked(crop, frame, fitted), mesh, own, self._depth(frame)]

    def _marked(self, crop: np.ndarray, frame: int, fitted: np.ndarray) -> np.ndarray:
        marked = crop // 2
        for points, colour in ((self.landmarks[frame], GREEN), (fitted, RED)):
            for x, y in np.rint(points[:, :2] * 8 - 4).astype(int):
                cv2.circle(marked, (int(x), int(y)), 8, colour, -1, cv2.LINE_AA, 3)
        return marked

    def _depth(self, frame: int) -> np.ndarray:
        depth_mm = self.depth_mm(frame)
        picture = cv2.applyColorMap(range_view(depth_mm, *self.depth_range_mm), cv2.COLORMAP_TURBO)[..., ::-1].copy()
        picture[depth_mm == 0] = 0
        mouth = mouth_mask(self.landmarks[frame]).astype(np.uint8)
        rims, _ = cv2.findContours(mouth, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, rims, -1, WHITE, 1)
        return picture

    def pictures(self) -> Iterator[np.ndarray]:
        """Every frame's panels, side by side."""
        for frame in range(self.num_frames):
            yield np.concatenate(self.panels(frame), axis=1)

    def still(self, side_px: int = 128) -> np.ndarray:
        """Landmarks, mesh, own colours and depth of the frame with the widest mouth, two by two."""
        _, marked, mesh, own, depth = self.panels(self.widest)
        sheet = np.concatenate([np.concatenate([marked, mesh], axis=1), np.concatenate([own, depth], axis=1)])
        return cv2.resize(sheet, (2 * side_px, 2 * side_px), interpolation=cv2.INTER_AREA)


def model_of(out: Path, name: str) -> FaceModel:
    """The face model that clips of DIR name: an embedded one, or the file that DIR was measured with."""
    if name in EMBEDDED:
        return load_face_model(name)
    model = load_face_model(stored_config(out).geometry.model)
    if model.name != name:
        raise FaceModelError(f"clips of {out} were fitted with {name!r}, its config.yaml names {model.name!r}")
    return model


def open_clip(out: Path, row_id: str, files: str = "*.parquet") -> ClipGeometry:
    """A kept clip of DIR.

    Args:
        files: pattern of the shards to search.
    Raises:
        UnknownClip: no shard holds the clip with its geometry.
        FaceModelError: the model that it was fitted with is missing.
    """
    row = read_kept(out, row_id, (*COLUMNS, "depth"), files)
    if row is None:
        raise UnknownClip(f"no shard of {out} holds {row_id}: name a kept clip's row_id")
    missing = [name for name in COLUMNS if name not in row]
    if missing:
        raise UnknownClip(f"{row_id} was kept without {', '.join(missing)}")
    return ClipGeometry(row, model_of(out, row["geometry_model"]))
