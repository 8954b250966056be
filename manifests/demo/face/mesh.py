"""The mesh that is warped: MediaPipe's triangles over the face, and two rings around it that let the head move."""

from __future__ import annotations

import numpy as np

from stages.face.landmarks import LIPS_INNER

OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""The face's outline, in order, from the forehead to the chin and back."""

UPPER_LIDS = ((246, 161, 160, 159, 158, 157, 173), (466, 388, 387, 386, 385, 384, 398))
LOWER_LIDS = ((7, 163, 144, 145, 153, 154, 155), (249, 390, 373, 374, 380, 381, 382))
EYE_CORNERS = ((33, 133), (263, 362))
UPPER_INNER, LOWER_INNER = LIPS_INNER[1:10], LIPS_INNER[:10:-1]
"""Edges of the opening between the corners, from the picture's left to its right."""

RING_SCALES = (1.45, 2.3)
"""Rings around the outline, as multiples of it: what lies inside the first moves with the head, the second is still."""


def triangles() -> np.ndarray:
    """(F, 3) int32 over 468 + 2 x 36 points: face, eyes, the opening of the mouth, and the rings."""
    from mediapipe.tasks.python.vision import FaceLandmarksConnections

    edges = FaceLandmarksConnections.FACE_LANDMARKS_TESSELATION
    face = [[edge.start for edge in edges[k : k + 3]] for k in range(0, len(edges), 3)]
    for upper, lower, (outer, inner) in zip(UPPER_LIDS, LOWER_LIDS, EYE_CORNERS, strict=True):
        face += _strip((outer, *upper, inner), (outer, *lower, inner))
    left, right = LIPS_INNER[0], LIPS_INNER[10]
    face += _strip((left, *UPPER_INNER, right), (left, *LOWER_INNER, right))
    num_mesh, num_ring = 468, len(OVAL)
    first = tuple(range(num_mesh, num_mesh + num_ring))
    second = tuple(range(num_mesh + num_ring, num_mesh + 2 * num_ring))
    face += _strip((*OVAL, OVAL[0]), (*first, first[0]))
    face += _strip((*first, first[0]), (*second, second[0]))
    return np.array(face, np.int32)


def _strip(one: tuple[int, ...], other: tuple[int, ...]) -> list[list[int]]:
    quads = zip(one, one[1:], other, other[1:], strict=False)
    both = [triangle for a, b, c, d in quads for triangle in ([a, b, c], [b, d, c])]
    return [triangle for triangle in both if len(set(triangle)) == 3]


def ring_points(points: np.ndarray) -> np.ndarray:
    """Both rings (72, 3) around a face (468, 3), wider above, where the hair is."""
    oval = points[list(OVAL)]
    centre = oval.mean(0)
    away = oval - centre
    away[:, 1] *= np.where(away[:, 1] < 0, 1.15, 1.0)
    rings = [centre + scale * away for scale in RING_SCALES]
    for ring in rings:
        ring[:, 2] = oval[:, 2]
    return np.concatenate(rings).astype(np.float32)
