"""Face embedding, whether one person is shown throughout, and apparent gender and age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from stages.core.ranges import one_of
from stages.core.records import CROP_PX, NUM_LANDMARKS, Row
from stages.core.weights import WeightStore
from stages.face.crop import decode_jpeg, to_source

ARCFACE_PX = 112
ARCFACE_POINTS = (468, 473, 4, 61, 291)
ARCFACE_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Irises, tip of the nose, corners of the mouth, and their places in ArcFace's training. Source: InsightFace."""

DLIB_POINTS = (263, 362, 33, 133, 2)
DLIB_TEMPLATE = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
DLIB_PADDING = 0.2
"""Eye corners and base of the nose, their places in dlib's face chips in a unit square, and the margin around it."""

GENDER_PX, AGE_PX = 32, 64
CHIP_MEAN = np.array([122.782, 117.001, 104.298], np.float32)
CHIP_SCALE = 256.0
GENDERS = ("female", "male")
CLASS_AGES = np.array([0.25, *range(1, 81)])
"""Years of the classes of the age network. Source: dlib-models, with the chips above."""


@dataclass(frozen=True)
class IdentityConfig:
    """Settings of the measurements of a clip's person.

    Args:
        num_frames: number of frames sampled over the clip.
        provider: execution provider of ONNX Runtime.
    """

    num_frames: int = 8  # With 8, a change of person that lasts 1 s of an 8 s clip is found
    provider: str = one_of("CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider")


def fit_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift that maps points to others, in the least-squares sense.

    Args:
        source: (P, 2).
        target: (P, 2).
    Returns:
        (2, 3) affine matrix.
    """
    mean_source, mean_target = source.mean(axis=0), target.mean(axis=0)
    z, w = ((points - mean) @ (1, 1j) for points, mean in ((source, mean_source), (target, mean_target)))
    ratio = np.vdot(z, w) / np.vdot(z, z)
    turn = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
    return np.column_stack([turn, mean_target - turn @ mean_source])


def align_face(crop: np.ndarray, box: np.ndarray, points: np.ndarray, template: np.ndarray, size_px: int) -> np.ndarray:
    """A square picture with a face's points where a network expects them, without the crop's stretch.

    Args:
        crop: (256, 256, 3) uint8.
        box: (4,) the crop's box in the source frame.
        points: (P, 2) in source pixels.
        template: (P, 2) in pixels of the result.
    Returns:
        (size_px, size_px, 3) uint8.
    """
    to_source_px = np.array(
        [[(box[2] - box[0]) / CROP_PX, 0, box[0]], [0, (box[3] - box[1]) / CROP_PX, box[1]], [0, 0, 1]]
    )
    matrix = fit_similarity(points, template) @ to_source_px
    # Averaged from a finer grid, because a 32 px chip of a 256 px crop would alias.
    times = max(1, round(1 / np.sqrt(np.linalg.det(matrix[:, :2]))))
    # OpenCV's origin is the middle of the first pixel.
    matrix = matrix * times
    matrix[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5
    size = (size_px * times, size_px * times)
    fine = cv2.warpAffine(crop, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(fine, (size_px, size_px), interpolation=cv2.INTER_AREA) if times > 1 else fine


def identity_similarity(embeddings: np.ndarray) -> float:
    """Lowest cosine of a frame to the clip's person, the mean of the most similar half of the frames.

    Two people who share a clip would both have a cosine of .7 to the mean of all frames.

    Args:
        embeddings: (N, D), unit length.
    """
    cosines = embeddings @ embeddings.T
    half = -(-len(embeddings) // 2)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :half]
    core = nearest[np.take_along_axis(cosines, nearest, axis=1).sum(axis=1).argmax()]
    return float((embeddings @ _unit(embeddings[core].mean(axis=0))).min())


class IdentityChecker:
    """Embeds a few frames of a clip, and predicts gender and age.

    Landmarks align the face. On real clips with one speaker the cosines agree with those by SCRFD's own points to .06,
    no frame is missed (SCRFD missed up to 3 of 8), and it takes a quarter less time.

    Args:
        weights: store that holds `arcface_mbf`, `gender` and `age`.
    """

    def __init__(self, config: IdentityConfig, weights: WeightStore) -> None:
        import onnxruntime
        from insightface.model_zoo import get_model

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # the model declares a batch of one and warns of more
        providers = [config.provider]
        self.config = config
        self._arcface: Any = get_model(str(weights.path("arcface_mbf")), providers=providers, sess_options=options)
        self._gender = onnxruntime.InferenceSession(str(weights.path("gender")), options, providers=providers)
        self._age = onnxruntime.InferenceSession(str(weights.path("age")), options, providers=providers)

    def __call__(self, row: Row) -> Row:
        """Adds the IDENTITY columns. Reads `face_jpeg`, `landmarks`, `crop_box_xyxy_px`."""
        num_frames = len(row["face_jpeg"])
        sampled = np.unique(np.linspace(0, num_frames - 1, self.config.num_frames).round().astype(int))
        crops = [decode_jpeg(row["face_jpeg"][idx]) for idx in sampled]
        boxes = np.asarray(row["crop_box_xyxy_px"], np.float64)[sampled]
        landmarks = np.asarray(row["landmarks"], np.float32).reshape(num_frames, NUM_LANDMARKS, 3)[sampled]
        points = to_source(landmarks, boxes)[..., :2].astype(np.float64)

        def aligned(chosen: tuple[int, ...], template: np.ndarray, size_px: int) -> list[np.ndarray]:
            faces = zip(crops, boxes, points[:, chosen], strict=True)
            return [align_face(crop, box, five, template, size_px) for crop, box, five in faces]

        faces = aligned(ARCFACE_POINTS, ARCFACE_TEMPLATE, ARCFACE_PX)
        embeddings = np.stack([_unit(e) for e in self._arcface.get_feat([face[..., ::-1] for face in faces])])
        chip = (DLIB_TEMPLATE + DLIB_PADDING) / (1 + 2 * DLIB_PADDING)
        gender = _probabilities(self._gender, aligned(DLIB_POINTS, chip * GENDER_PX, GENDER_PX))
        age = _probabilities(self._age, aligned(DLIB_POINTS, chip * AGE_PX, AGE_PX))
        return {
            **row,
            "identity_min_sim": identity_similarity(embeddings),
            "face_embedding": _unit(embeddings.mean(axis=0)).astype(np.float16),
            "gender": GENDERS[int(gender.argmax())],
            "gender_prob": float(gender.max()),
            "age_years": float(age @ CLASS_AGES),
        }


def _probabilities(session, chips: list[np.ndarray]) -> np.ndarray:
    """Mean class probabilities of RGB chips."""
    batch = (np.stack(chips).astype(np.float32) - CHIP_MEAN) / np.float32(CHIP_SCALE)
    name = session.get_inputs()[0].name
    return session.run(None, {name: np.ascontiguousarray(batch.transpose(0, 3, 1, 2))})[0].mean(axis=0)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
