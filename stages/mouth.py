"""The mouth: how large, how much it moves, whether it is seen, whether its teeth are."""

from __future__ import annotations

import numpy as np

from stages.core.records import NUM_LANDMARKS, Row
from stages.face.crop import to_source
from stages.face.landmarks import CHIN, FOREHEAD, LIP_GAP, MOUTH_CORNERS
from stages.face.mouth_look import MouthConfig, looks_of


def measure_mouth(row: Row, config: MouthConfig) -> Row:
    """Adds the MOUTH columns. Reads `face_jpeg`, `landmarks`, `crop_box_xyxy_px`.

    It does not notice what hides less than a third of the mouth, what shows a dark line where the lips are said to be
    (lips printed on a mask), nor most mosaics: two thirds of them keep the lips' colour. Lips of the skin's own colour
    in a blurred picture count as hidden.
    """
    num_frames = len(row["face_jpeg"])
    crop_points = np.asarray(row["landmarks"], np.float32).reshape(num_frames, NUM_LANDMARKS, 3)
    points = to_source(crop_points, np.asarray(row["crop_box_xyxy_px"]))[..., :2]
    ends = (MOUTH_CORNERS, LIP_GAP, (FOREHEAD, CHIN))
    width, gap, height = (np.linalg.norm(points[:, a] - points[:, b], axis=-1) for a, b in ends)
    looks = [look for _, look in looks_of(row, crop_points, config)]
    return {
        **row,
        "mouth_px": float(np.median(width)),
        "mouth_motion": float((gap / height).std()),
        "mouth_light": float(np.median([look.light for look in looks])),
        "mouth_visible_ratio": float(np.mean([not look.is_hidden(config) for look in looks])),
        "teeth_ratio": float(np.mean([look.teeth >= config.min_teeth for look in looks])),
    }
