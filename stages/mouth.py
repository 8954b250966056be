"""Size, motion and visibility of the mouth and its teeth."""

from __future__ import annotations

import numpy as np

from stages.core.records import NUM_LANDMARKS, Row
from stages.face.crop import to_source
from stages.face.landmarks import CHIN, FOREHEAD, LIP_GAP, MOUTH_CORNERS
from stages.face.mouth_look import MouthConfig, looks_of


def measure_mouth(row: Row, config: MouthConfig) -> Row:
    """Adds the MOUTH columns. Reads `face_jpeg`, `landmarks`, `crop_box_xyxy_px`.

    False negatives: anything that hides less than a third of the mouth, anything with a dark line at the lips' place
    (lips printed on a mask), and most mosaics, of which two thirds keep the lips' colour. False positives: lips of the
    skin's own colour in a blurred picture.
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
