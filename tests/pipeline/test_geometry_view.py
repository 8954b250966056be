"""A clip's geometry as a video and in the report, from a shard with a drawn face."""

from __future__ import annotations

import base64
import io
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.known.synthetic_clips import known_clip
from pipeline.geometry_view import main
from pipeline.rules.policy import PolicyConfig
from pipeline.show.clip_geometry import open_clip
from pipeline.show.gallery import read_gallery
from stages.core.records import CLIP_FPS, Row, shard_schema
from stages.core.rows import table_from_rows
from stages.depth import DepthConfig, DepthRenderer
from stages.face3d.camera import crop_focal_px, project, synthesize
from stages.face3d.load import load_face_model
from stages.face3d.raster import rasterize
from stages.face3d.texture import paint
from stages.media import decode_video, probe_media
from tests.ledger_rows import make_rows, write_out
from tests.shards import clip_row

NUM_FRAMES = 6


def drawn_row(row_id: str) -> Row:
    """A kept clip whose crops show the model's own face on a blue ground."""
    model = load_face_model()
    clip = known_clip(model, NUM_FRAMES, seed=4)
    projected = project(synthesize(model, clip.id_coeff, clip.exp_coeff, clip.pose), crop_focal_px(clip.boxes))
    _, triangle_id = rasterize(projected, model.face_triangles, front_only=True)
    jpegs = []
    for points, ids in zip(projected, triangle_id, strict=True):
        rgb = paint(points, model.face_triangles, ids, model.albedo.astype(float)).astype(np.uint8)
        rgb[ids == 0] = (20, 30, 160)
        jpegs.append(cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    row = {
        **clip_row(0, NUM_FRAMES),
        "row_id": row_id,
        "face_jpeg": jpegs,
        "landmarks": clip.landmarks.reshape(NUM_FRAMES, -1),
        "crop_box_xyxy_px": clip.boxes,
        "pose": clip.pose,
        "id_coeff": clip.id_coeff,
        "exp_coeff": clip.exp_coeff,
        "geometry_model": "cc0",
    }
    return DepthRenderer(DepthConfig())(row)


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """A finalized DIR whose first kept clip stands in a shard."""
    out = write_out(tmp_path_factory.mktemp("view") / "out", make_rows())
    kept, _ = read_gallery(out / "ledger.parquet", PolicyConfig())
    (out / "shards").mkdir()
    row = drawn_row(kept.cards[0].row_id)
    schema = shard_schema(row["exp_coeff"].shape[1], row["whisper"].shape[1], exact_whisper=True)
    pq.write_table(table_from_rows([row], schema), out / "shards" / "train-00000.parquet")
    return out


def first_id(out: Path) -> str:
    return read_gallery(out / "ledger.parquet", PolicyConfig())[0].cards[0].row_id


@pytest.mark.slow
def test_the_video_shows_five_pictures_of_every_frame_with_the_clips_sound(out, tmp_path, capsys):
    video = tmp_path / "deep" / "view.mp4"
    assert main(["--out", str(out), first_id(out), "--video", str(video)]) == 0
    assert "6 frames" in capsys.readouterr().out
    facts = probe_media(video)
    assert (facts.width_px, facts.height_px) == (5 * 256, 256)
    assert Fraction(facts.fps_num, facts.fps_den) == CLIP_FPS
    assert facts.audio_codec == "aac"
    assert len(list(decode_video(video))) == NUM_FRAMES


def test_the_mesh_lies_on_the_face_in_the_faces_own_colours(out):
    clip = open_clip(out, first_id(out))
    crop, marked, mesh, own, depth = (picture.astype(int) for picture in clip.panels(2))
    face = depth.max(-1) > 0
    assert 0.3 < face.mean() < 0.9
    ground = np.abs(crop - (20, 30, 160)).max(-1) < 30
    assert (ground & face).mean() < 0.01
    assert (~ground & ~face).mean() < 0.01
    np.testing.assert_array_equal(mesh[~face], crop[~face])
    inner = cv2.erode(face.astype(np.uint8), np.ones((9, 9))) > 0
    assert np.median(np.abs(own - crop)[inner]) < 6
    x, y = clip.landmarks[2, 4, :2].round().astype(int)
    assert np.abs(marked[y, x] - crop[y, x] // 2).max() > 60  # a dot on the nose's tip


def test_depth_has_one_scale_over_the_clip_and_the_still_shows_the_widest_mouth(out):
    clip = open_clip(out, first_id(out))
    near, far = clip.depth_range_mm
    assert 40 < far - near < 200
    gap = clip.landmarks[:, 14, 1] - clip.landmarks[:, 13, 1]
    assert gap[clip.widest] == gap.max()
    assert clip.still(100).shape == (200, 200, 3)


def test_the_report_shows_the_fit_where_the_shard_holds_it(out):
    kept, dropped = read_gallery(out / "ledger.parquet", PolicyConfig())
    first, *others = kept.cards
    assert first.geometry is not None
    assert Image.open(io.BytesIO(base64.b64decode(first.geometry))).size == (256, 256)
    assert all(card.geometry is None for group in dropped for card in group.cards)
    assert all(card.geometry is None for card in others)


def test_what_cannot_be_shown_is_named(out, tmp_path, capsys):
    assert main(["--out", str(out), "nobody", "--video", str(tmp_path / "x.mp4")]) == 2
    assert "no shard of" in capsys.readouterr().err
    assert not (tmp_path / "x.mp4").exists()


def test_a_clip_of_another_model_than_the_configs_is_refused(out, tmp_path, capsys):
    other = tmp_path / "other"
    (other / "shards").mkdir(parents=True)
    row = drawn_row("a") | {"geometry_model": "bfm"}
    schema = shard_schema(row["exp_coeff"].shape[1], row["whisper"].shape[1], exact_whisper=True)
    pq.write_table(table_from_rows([row], schema), other / "shards" / "train-00000.parquet")
    assert main(["--out", str(other), "a", "--video", str(tmp_path / "x.mp4")]) == 2
    assert "fitted with 'bfm', its config.yaml names 'cc0'" in capsys.readouterr().err
