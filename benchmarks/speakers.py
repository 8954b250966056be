"""Depth of fitted faces against truth, with the detector in the loop, on drawn speakers.

`python -m benchmarks.speakers MODEL.npz... [--clips 8] [--still 3] [--frames 50] [--keep FOLDER]` draws people of each
face model (`cc0`, or a file in our layout; another model than the fitted one tests what the basis cannot express):
textured, lit in several ways, talking and turning, seen by cameras of several focal lengths, with noise and JPEG.
MediaPipe marks the frames as in the pipeline, `cc0` is fitted to the marks, and depth is compared in the 256 px crop.

Two baselines hold the mean shape: laid on the truth's own points ("right pose"), and with its pose fitted to the marks.
A fit to the true landmarks tells what is the detector's share and what the model's. Depth is distance along the ray
through the crop's middle, as the fit's camera has it: a face beside the frame's middle is seen from the side.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from benchmarks.known.drawn_speech import speech
from stages.core.command import command, make_parser
from stages.core.records import CROP_PX, NUM_LANDMARKS
from stages.core.weights import WeightStore
from stages.depth import mouth_mask
from stages.face.crop import crop_boxes, decode_jpeg, encode_jpeg, to_crop
from stages.face.landmarks import FACE_OVAL, LIPS, LandmarkDetector
from stages.face3d.camera import crop_focal_px, project, synthesize
from stages.face3d.load import load_face_model
from stages.face3d.model import FaceModel, Part
from stages.face3d.place_landmarks import Light, shade
from stages.face3d.raster import rasterize
from stages.fit.config import GeometryConfig
from stages.fit.fit import FaceFit, fit_landmarks

FRAME_PX, FINER = 384, 2
FACE_MM, FACE_PX = 150.0, 230.0
"""Width of a face in mm, and in px of the frame."""
OPENING_MM = 10.0
"""Approximate distance of the front teeth behind the lips, the error of lips where the mouth is open."""
RIGID_POINTS = np.setdiff1d(np.arange(468), [*FACE_OVAL, *LIPS])


@dataclass(frozen=True)
class SeenClip:
    """A drawn speaker and what the pipeline's track stage makes of it.

    Args:
        points: (T, V, 3) float32, true vertices: x, y in crop pixels, z in mm.
        landmarks: (T, 468, 3), the true landmarks in the true camera, mm. focal_px: (T, 2), of that camera in the crop.
        middle_px: (T, 2), where that camera's axis meets the crop.
        marks: (T, 478, 3), the detected landmarks in crop pixels. boxes: (T, 4) xyxy, the crop in the frame.
    """

    points: np.ndarray
    landmarks: np.ndarray
    focal_px: np.ndarray
    middle_px: np.ndarray
    marks: np.ndarray
    boxes: np.ndarray


def draw_clip(model: FaceModel, detect: LandmarkDetector, num_frames: int, seed: int, still: bool = False) -> SeenClip:
    """One speaker, drawn and marked; `still` repeats the first frame, so that only the noise changes."""
    rng = np.random.default_rng(seed)
    identity = rng.normal(0, 1, len(model.identity)).clip(-2.5, 2.5)
    expression = speech(model, num_frames, rng)
    wander = gaussian_filter1d(rng.normal(size=(num_frames + 120, 6)), 12, axis=0)[60:-60] * np.sqrt(
        24 * np.sqrt(np.pi)
    )
    distance_mm = rng.uniform(600, 1300)
    pose = wander * [0.08, 0.16, 0.05, 6, 6, 12] + [0, 0, 0, 0, 0, distance_mm]
    pose[:, 1] += rng.normal(0, 0.12)
    if still:
        expression[:], pose[:] = expression[:1], pose[:1]
    vertices = synthesize(model, identity, expression, pose)
    focal = np.full((num_frames, 2), FACE_PX * distance_mm / FACE_MM)
    light = Light(tuple(rng.normal([0, -0.4, -1.0], [0.5, 0.3, 0.2])), ambient=rng.uniform(0.25, 0.6))
    skin, tint, background = rng.uniform(0.45, 1.1), rng.uniform(0.9, 1.1, 3), rng.integers(40, 220, 3)
    person = replace(model, albedo=np.clip(model.albedo * skin * tint * _mottle(model, rng), 0, 255).astype(np.uint8))
    found = np.empty((num_frames, NUM_LANDMARKS, 3), np.float32)
    for i, frame in enumerate(vertices):
        drawn = project(frame[None], focal[:1] * FINER, FRAME_PX * FINER / 2)
        _, triangle_id = rasterize(drawn, model.triangles, FRAME_PX * FINER)
        picture = shade(person, frame, drawn[0], triangle_id[0], background, light)
        rgb = cv2.resize(picture, (FRAME_PX, FRAME_PX), interpolation=cv2.INTER_AREA) + rng.normal(
            0, 2, (FRAME_PX,) * 2 + (3,)
        )
        face = detect(decode_jpeg(encode_jpeg(np.clip(rgb, 0, 255).astype(np.uint8), 90)), i / 25)
        if face is None:
            raise RuntimeError(f"the detector finds no face in frame {i} of {model.name} {seed}")
        found[i] = face.points
    boxes = crop_boxes(found)
    scale = CROP_PX / (boxes[:, 2:] - boxes[:, :2])
    middle_px = (FRAME_PX / 2 - boxes[:, :2]) * scale
    projected = project(vertices, focal * scale, 0.0)
    projected[..., :2] += middle_px[:, None]
    marks = to_crop(found, boxes).astype(np.float16).astype(np.float32)
    return SeenClip(projected, model.at_landmarks(vertices), focal * scale, middle_px, marks, boxes)


def _mottle(model: FaceModel, rng: np.random.Generator) -> np.ndarray:
    """(V, 1) brightness of the skin, uneven over millimetres and centimetres."""
    waves = rng.normal(0, 1, (24, 3)) * rng.uniform(0.05, 0.8, (24, 1))
    return 1 + 0.02 * np.sin(model.mean @ waves.T + rng.uniform(0, 6, 24)).sum(1, keepdims=True) / np.sqrt(6)


def depth_errors(
    model: FaceModel, clip: SeenClip, truth: FaceModel, projected: np.ndarray, every: int = 4
) -> np.ndarray:
    """Mean absolute errors in mm: (mouth, lips, lips by themselves, face), over every n-th frame.

    The mouth is what lies within the outer lip ring of the detected landmarks, the face within their outline. Each
    frame's median offset over the face is taken out, which one eye cannot see; "by themselves" takes out that of the
    lips. The depth behind the lips is unknown: it counts 0 where truth and fit both show the opening, and `OPENING_MM`
    where only one does.
    """
    points = in_crop_camera(clip, clip.points)[::every]
    true_depth, true_triangle = rasterize(points, truth.face_triangles, CROP_PX, front_only=True)
    depth, triangle = rasterize(projected[::every], model.face_triangles, CROP_PX, front_only=True)
    true_inside, inside = _inside(truth, true_triangle), _inside(model, triangle)
    marks = clip.marks[::every]
    values = []
    for t, error in enumerate(depth - true_depth):
        there = (true_triangle[t] > 0) & (triangle[t] > 0)
        outline = cv2.convexHull(marks[t, list(FACE_OVAL), :2].round().astype(np.int32))
        face = cv2.fillPoly(np.zeros((CROP_PX, CROP_PX), np.uint8), [outline], (1,)) > 0
        skin = there & face & ~true_inside[t] & ~inside[t]
        mouth = there & mouth_mask(marks[t])
        lips = error[mouth & skin]
        offset = np.median(error[skin])
        wrong = (mouth & (true_inside[t] != inside[t])).sum() * OPENING_MM
        in_mouth = (np.abs(lips - offset).sum() + wrong) / mouth.sum()
        values.append(
            [
                in_mouth,
                np.abs(lips - offset).mean(),
                np.abs(lips - np.median(lips)).mean(),
                np.abs(error[skin] - offset).mean(),
            ]
        )
    return np.mean(values, axis=0)


def _inside(model: FaceModel, triangle_id: np.ndarray) -> np.ndarray:
    """Pixels that show teeth or the inside of the mouth."""
    part = model.triangle_part[model.triangle_part != Part.HEAD]
    return (triangle_id > 0) & np.isin(part[triangle_id - 1], (Part.TEETH, Part.MOUTH_BAG))


def in_crop_camera(clip: SeenClip, points: np.ndarray) -> np.ndarray:
    """Points (T, V, 3) of the true camera, x and y in crop pixels, with z along the ray through the crop's middle."""
    rays = (points[..., :2] - clip.middle_px[:, None]) / clip.focal_px[:, None]
    axis = ((CROP_PX / 2 - clip.middle_px) / clip.focal_px)[:, None]
    turned = points.copy()
    turned[..., 2] *= (1 + (rays * axis).sum(-1)) / np.sqrt(1 + (axis**2).sum(-1))
    return turned


def with_true_marks(clip: SeenClip) -> SeenClip:
    """The clip with the marks of a perfect detector."""
    seen = project(clip.landmarks, clip.focal_px, 0.0)
    marks = clip.marks.copy()
    marks[:, : seen.shape[1], :2] = seen[..., :2] + clip.middle_px[:, None]
    return replace(clip, marks=marks)


def right_pose(model: FaceModel, clip: SeenClip) -> np.ndarray:
    """The mean shape laid rigidly on the truth's points beside mouth and outline."""
    mean = model.mean.astype(np.float64)
    source = model.at_landmarks(mean)[RIGID_POINTS]
    centre = source.mean(0)
    vertices = np.empty((len(clip.landmarks), *mean.shape), np.float32)
    for t, target in enumerate(clip.landmarks[:, RIGID_POINTS].astype(np.float64)):
        u, _, vt = np.linalg.svd((source - centre).T @ (target - target.mean(0)))
        turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
        vertices[t] = (mean - centre) @ turn + target.mean(0)
    projected = project(vertices, clip.focal_px, 0.0)
    projected[..., :2] += clip.middle_px[:, None]
    return in_crop_camera(clip, projected)


def fitted(model: FaceModel, clip: SeenClip, config: GeometryConfig) -> tuple[np.ndarray, np.ndarray, FaceFit]:
    """Projected vertices, vertices in mm, and the fit."""
    boxes = clip.boxes.astype(np.float64)
    fit = fit_landmarks(model, clip.marks, boxes, config)
    vertices = synthesize(model, fit.id_coeff, fit.exp_coeff, fit.pose)
    return project(vertices, crop_focal_px(boxes)), vertices, fit


def swaying(clip: SeenClip, projected: np.ndarray, depth: np.ndarray) -> tuple[float, float]:
    """How much a still head moves in mm rms: across the source picture, and in depth against the head's own middle.

    The crop's box follows the landmarks too and moves the head in the crop, so the picture is that of the source.
    """
    boxes = clip.boxes[:, None].astype(np.float64)
    source = boxes[..., :2] + projected[..., :2] * (boxes[..., 2:] - boxes[..., :2]) / CROP_PX
    across = (source - source.mean(0)) * FACE_MM / FACE_PX
    relative = depth - depth.mean(1, keepdims=True)
    return float(np.sqrt((across**2).mean())), float(relative.std(0).mean())


def drawn_clips(name: str, options: argparse.Namespace) -> Iterator[tuple[FaceModel, SeenClip, bool]]:
    """Clips of one model, from the folder of kept ones where they are; the last ones are still."""
    model = load_face_model(name)
    for seed in range(options.clips + options.still):
        still = seed >= options.clips
        kept = options.keep / f"{model.name}-{options.frames}-{seed}{'-still' * still}.npz" if options.keep else None
        if kept and kept.exists():
            with np.load(kept, allow_pickle=False) as arrays:
                clip = SeenClip(**arrays)
        else:
            with LandmarkDetector(WeightStore.from_environment()) as detect:
                clip = draw_clip(model, detect, options.frames, seed, still)
            if kept:
                np.savez(kept, **vars(clip))
        yield model, clip, still


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.speakers", __doc__)
    parser.add_argument("models", nargs="+", help="cc0, or files of face models in our layout")
    parser.add_argument("--clips", type=int, default=8, help="talking speakers of each model")
    parser.add_argument("--still", type=int, default=3, help="speakers of each model who keep still")
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--keep", type=Path, help="folder in which drawn clips are kept for the next run")
    options = parser.parse_args(arguments)
    model, config = load_face_model(), GeometryConfig()
    outside = np.unique(model.triangles[np.isin(model.triangle_part, (Part.SKIN, Part.LIPS))])
    rigid = replace(model, identity=np.zeros_like(model.identity), expression=np.zeros_like(model.expression))
    for name in options.models:
        kinds = ("mean shape, right pose", "mean shape, fitted pose", "fit", "fit, true landmarks")
        errors: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
        reprojection, expected, sway = [], [], []
        for truth, clip, still in drawn_clips(name, options):
            projected, vertices, fit = fitted(model, clip, config)
            if still:
                sway.append(swaying(clip, projected[:, outside], vertices[:, outside, 2]))
                continue
            reprojection.append(np.median(fit.error_px))
            expected.append(fit.lip_sigma_mm)
            ideal = fitted(model, with_true_marks(clip), config)[0]
            stand_ins = (right_pose(model, clip), fitted(rigid, clip, config)[0], projected, ideal)
            for kind, points in zip(kinds, stand_ins, strict=True):
                errors[kind].append(depth_errors(model, clip, truth, points))
        print(f"speakers of {name}: mean absolute depth error, mm (mouth | lips | lips by themselves | face)")
        for kind, of_clips in errors.items():
            print(f"  {kind:26}" + " |".join(f"{value:6.2f}" for value in np.mean(of_clips, axis=0)))
        print(f"  reprojection {np.mean(reprojection):.2f} px, worst clip {np.max(reprojection):.2f}")
        print(f"  the fit expects {np.mean(expected):.2f} mm of error in the lips' depth (standard deviation)")
        for across, in_depth in sway:
            print(f"  a still head moves {across:.3f} mm rms across the picture, {in_depth:.3f} mm in depth")


if __name__ == "__main__":
    raise SystemExit(main())
