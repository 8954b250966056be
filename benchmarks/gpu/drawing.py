"""Rasterisers and fit: frames a second at batch 256. Goal of drawing: 20,000."""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np

from benchmarks.gpu.lease import Lease, timed
from benchmarks.gpu.material import drawn_clip
from stages.core.records import CROP_PX, NUM_LANDMARKS
from stages.depth import DepthConfig, DepthRenderer
from stages.face3d.camera import crop_focal_px, project, synthesize
from stages.face3d.load import load_face_model
from stages.face3d.raster import rasterize
from stages.face3d.raster_torch import rasterize_torch
from stages.fit.config import GeometryConfig
from stages.fit.fit import fit_landmarks

GOAL = 20_000


def run(lease: Lease) -> None:
    frames = 8 if lease.small else 256
    row = drawn_clip(load_face_model(), 25, 0, 8)
    model = DepthRenderer(DepthConfig()).model
    seen = project(
        synthesize(model, row["id_coeff"], row["exp_coeff"], row["pose"]), crop_focal_px(row["crop_box_xyxy_px"])
    )
    projected = np.resize(seen, (frames, *seen.shape[1:])).astype(np.float32)
    triangles = model.triangles.astype(np.int32)
    device: Literal["cpu", "cuda"] = "cuda" if lease.device == "cuda" else "cpu"
    ways = {
        "the stage's rasteriser": partial(rasterize, projected, triangles, CROP_PX, device=device, front_only=True),
        "torch's rasteriser": partial(rasterize_torch, projected, triangles, CROP_PX, True, device),
        "the z-buffer of one core": partial(rasterize, projected, triangles, CROP_PX, front_only=True),
    }

    def draw(what: str) -> None:
        speed = frames / timed(lease.device, ways[what], 1.0 if lease.small else 3.0)
        goal = {} if lease.small or "core" in what else {"goal": GOAL, "ok": bool(speed >= GOAL)}
        lease.tell(what, frames_per_s=speed, batch=frames, **goal)

    def fit() -> None:
        marks = row["landmarks"].reshape(-1, NUM_LANDMARKS, 3)
        seconds = timed(
            "cpu", lambda: fit_landmarks(load_face_model(), marks, row["crop_box_xyxy_px"], GeometryConfig()), 2
        )
        lease.tell("fit, on the CPU", frames_per_s=len(marks) / seconds)

    for what in ways:
        lease.attempt(what, partial(draw, what))
    lease.attempt("fit", fit)
