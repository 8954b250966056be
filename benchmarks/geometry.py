"""Speed and accuracy of fit and depth on synthetic clips with known truth, one thread.

`python -m benchmarks.geometry [--frames 250] [--clips 3]` prints frames per CPU-second, and the errors of the fit by
landmark noise. Truth and fit share one basis, so the errors are the solver's and the noise's, not the model's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.known.synthetic_clips import known_clip
from stages.core.command import command, make_parser
from stages.depth import DepthConfig, DepthRenderer, encode_depth
from stages.face3d.camera import crop_focal_px, project, synthesize
from stages.face3d.load import load_face_model
from stages.face3d.model import Part
from stages.face3d.raster import rasterize
from stages.fit.config import GeometryConfig
from stages.fit.fit import fit_landmarks


def cpu_s(work: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """CPU seconds of the quickest of some runs, and the last result; a first run warms up."""
    result, best = work(), float("inf")
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        best = min(best, time.process_time() - start)
    return best, result


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.geometry", __doc__)
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--clips", type=int, default=3)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    threadpool_limits(1)
    model, config, count = load_face_model(), GeometryConfig(), options.frames
    face = np.unique(model.triangles[np.isin(model.triangle_part, (Part.SKIN, Part.LIPS))])

    clip = known_clip(model, count, seed=0)
    focal = crop_focal_px(clip.boxes)
    renderer = DepthRenderer(DepthConfig())
    fit_s, fit = cpu_s(lambda: fit_landmarks(model, clip.landmarks, clip.boxes, config))
    shape_s, vertices = cpu_s(lambda: synthesize(model.face, fit.id_coeff, fit.exp_coeff, fit.pose))
    projected = project(vertices, focal)
    raster_s, (depth, _) = cpu_s(lambda: rasterize(projected, model.face.triangles, front_only=True))
    encode_s, pngs = cpu_s(lambda: [encode_depth(frame, renderer.config.precision_mm) for frame in depth])
    print(f"{count} frames, {(depth > 0).mean():.0%} of the pixels are face; frames per CPU-second and ms a frame")
    for name, seconds in (("fit", fit_s), ("vertices", shape_s), ("depth", raster_s), ("PNG", encode_s)):
        print(f"  {name:9}{count / seconds:8.0f}{seconds / count * 1e3:8.2f}")
    print(f"  a PNG has {np.mean([len(png) for png in pngs]) / 1e3:.1f} kB")

    print("noise px | reprojection to truth px | relative depth mm | vertices mm | expression rms | identity rms")
    for noise_px in (0.0, 0.5, 1.0, 2.0):
        errors = []
        for seed in range(options.clips):
            truth = known_clip(model, count, seed)
            seen = truth.landmarks.copy()
            seen[..., :2] += np.random.default_rng(seed).normal(0, noise_px, seen[..., :2].shape)
            focal = crop_focal_px(truth.boxes)
            fit = fit_landmarks(model, seen, truth.boxes, config)
            found = synthesize(model, fit.id_coeff, fit.exp_coeff, fit.pose)
            offset = (found - synthesize(model, truth.id_coeff, truth.exp_coeff, truth.pose))[:, face]
            points = project(model.at_landmarks(found), focal) - truth.landmarks[:, :468]
            relative = offset[..., 2] - np.median(offset[..., 2], axis=1, keepdims=True)
            errors.append(
                (
                    np.linalg.norm(points[..., :2], axis=-1).mean(),
                    np.abs(relative).mean(),
                    np.linalg.norm(offset, axis=-1).mean(),
                    np.sqrt(((fit.exp_coeff - truth.exp_coeff) ** 2).mean()),
                    np.sqrt(((fit.id_coeff - truth.id_coeff) ** 2).mean()),
                )
            )
        print(f"{noise_px:8.1f} |" + " |".join(f"{value:8.3f}" for value in np.mean(errors, axis=0)))


if __name__ == "__main__":
    raise SystemExit(main())
