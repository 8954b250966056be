"""One ledger row as a picture: its frames, and beside them every measurement against its threshold."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipeline.show.clip_geometry import read_kept
from pipeline.show.findings import Explanation, Finding, facts
from stages.core.reasons import Dropped, Verdict
from stages.core.records import CLIP_FPS, CROP_PX, NUM_LANDMARKS, Row
from stages.core.storage import write_whole
from stages.face.landmarks import LIPS_INNER, LIPS_OUTER
from stages.media import decode_video

NUM_CROPS, NUM_LOOKS = 12, 5
_LOOK_PX, _GAP_PX, _PANEL_PX, _LINE_PX, _CAPTION_PX = 400, 12, 700, 21, 20
_BAR_PX = 130
_PAPER, _INK, _MUTED, _FINE, _BAD = "#ffffff", "#1c2426", "#667276", "#0f766e", "#b42318"
_POINT, _LIP = "#38d6c0", "#ffd166"
Picture = tuple[Image.Image, str]
"""A frame and its caption."""


def draw_picture(out: Path, explanation: Explanation, target: Path) -> None:
    """Write a PNG of a kept clip's crops with landmarks, or of another row's preview and frames of its media file.

    Frames of a file that is missing or cannot be decoded are left out, with a note in the picture.
    """
    row = explanation.row
    kept = row.get("verdict") == Verdict.KEEP
    columns = ("row_id", "face_jpeg", "landmarks")
    payload = read_kept(out, row["row_id"], columns, f"{row['split']}-*.parquet") if kept else None
    note = ""
    if payload is not None:
        pictures = list(_crops(payload, row))
    else:
        pictures, note = _looks(row)
        if "thumb_jpeg" in row:
            pictures.append((ImageOps.contain(_decoded(row["thumb_jpeg"]), (CROP_PX, CROP_PX)), "preview"))
    left = _sheet(pictures, note, 4 if payload is not None else 2)
    panel = _panel(explanation)
    sheet = Image.new("RGB", (left.width + panel.width, max(left.height, panel.height)), _PAPER)
    sheet.paste(left, (0, 0))
    sheet.paste(panel, (left.width, 0))
    with write_whole(target) as file:
        sheet.save(file, "PNG")


def _crops(payload: Row, row: Row) -> Iterator[Picture]:
    num_frames = len(payload["face_jpeg"])
    for idx in sorted({round(place) for place in np.linspace(0, num_frames - 1, NUM_CROPS)}):
        image = _decoded(payload["face_jpeg"][idx])
        points = payload["landmarks"][idx].astype(float).reshape(NUM_LANDMARKS, 3)[:, :2]
        draw = ImageDraw.Draw(image)
        for x, y in points:
            draw.rectangle((x, y, x + 1, y + 1), fill=_POINT)
        for ring in (LIPS_OUTER, LIPS_INNER):
            draw.line([tuple(points[i]) for i in (*ring, ring[0])], fill=_LIP, width=1)
        yield image, f"frame {idx}, {row['start_s'] + idx / CLIP_FPS:.2f} s"


def _looks(row: Row) -> tuple[list[Picture], str]:
    """Frames of the media file at some times of the clip, shot or video, and a note why frames are missing."""
    media = Path(row.get("media_path", ""))
    if not media.is_file():
        return [], f"its media file is not here: {media}" if row.get("media_path") else "it has no media file"
    start_s, end_s = _span(row)
    found: list[Picture] = []
    try:
        for share in (np.arange(NUM_LOOKS) + 0.5) / NUM_LOOKS:
            time_s = start_s + float(share) * (end_s - start_s)
            frame = next(decode_video(media, time_s, max_side_px=_LOOK_PX), None)
            if frame is not None:
                found.append((Image.fromarray(frame.rgb), f"{frame.pts_s:.2f} s"))
    except Dropped as fault:
        return found, f"{fault.reason}: {fault.detail}"
    return found, ""


def _span(row: Row) -> tuple[float, float]:
    for start, end in (("start_s", "end_s"), ("shot_start_s", "shot_end_s")):
        if end in row:
            return row[start], row[end]
    first_s = row.get("video_start_s", 0.0)
    return first_s, first_s + row.get("duration_s", 0.0)


def _decoded(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg)).convert("RGB")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _sheet(pictures: list[Picture], note: str, num_columns: int) -> Image.Image:
    """Pictures in a grid of cells as large as the largest picture, each above its caption."""
    width = max([image.width for image, _ in pictures], default=_LOOK_PX)
    height = max([image.height for image, _ in pictures], default=0)
    num_columns = min(num_columns, max(len(pictures), 1))
    num_rows = -(-len(pictures) // num_columns)
    step_x, step_y = width + _GAP_PX, height + _CAPTION_PX + _GAP_PX
    lines = wrap(note, num_columns * width // 8)
    sheet = Image.new(
        "RGB", (_GAP_PX + num_columns * step_x, _GAP_PX + num_rows * step_y + len(lines) * _LINE_PX), _PAPER
    )
    draw = ImageDraw.Draw(sheet)
    for place, (image, caption) in enumerate(pictures):
        x, y = _GAP_PX + place % num_columns * step_x, _GAP_PX + place // num_columns * step_y
        sheet.paste(image, (x, y))
        draw.text((x, y + image.height + 3), caption, _MUTED, _font(13))
    for number, line in enumerate(lines):
        draw.text((_GAP_PX, _GAP_PX + num_rows * step_y + number * _LINE_PX), line, _BAD, _font(13))
    return sheet


def _panel(explanation: Explanation) -> Image.Image:
    """The facts about the row, then a line for each check: name, number, threshold, and the margin as a bar."""
    head = [(name, line) for name, text in facts(explanation) for line in wrap(text, 70)[:3] or [""]]
    lines = [finding for finding in explanation.findings if finding.value or finding.state == "decides"]
    height = _GAP_PX * 3 + (len(head) + len(lines)) * _LINE_PX
    panel = Image.new("RGB", (_PANEL_PX, height), _PAPER)
    draw, y, before = ImageDraw.Draw(panel), _GAP_PX, ""
    kept = explanation.verdict["verdict"] == Verdict.KEEP
    for name, text in head:
        colour = (_FINE if kept else _BAD) if name == "verdict" else _INK
        draw.text((_GAP_PX, y), name if name != before else "", _MUTED, _font(13))
        draw.text((_GAP_PX + 110, y), text, colour, _font(15 if name == "verdict" else 13))
        y, before = y + _LINE_PX, name
    y, before = y + _GAP_PX, ""
    for finding in lines:
        _draw_finding(draw, y, finding, finding.stage if finding.stage != before else "")
        y, before = y + _LINE_PX, finding.stage
    return panel


def _draw_finding(draw: ImageDraw.ImageDraw, y: int, finding: Finding, stage: str) -> None:
    bad = finding.state in ("fails", "decides")
    colour = _BAD if bad else _INK
    name = f"where {finding.name}" if finding.is_condition else finding.name
    draw.text((_GAP_PX, y), stage, _MUTED, _font(13))
    draw.text((_GAP_PX + 80, y), name, colour, _font(13))
    draw.text((_GAP_PX + 340, y), finding.value[:16], colour, _font(13), anchor="ra")
    limit = finding.limit.replace("≥", ">=").replace("≤", "<=")  # Pillow's own font lacks these signs
    draw.text((_GAP_PX + 355, y), limit[:14], _MUTED, _font(13))
    if finding.margin is not None and not finding.is_condition:
        middle = _GAP_PX + 440 + _BAR_PX // 2
        share = finding.share if finding.share is not None else np.sign(finding.margin)
        end = middle + round(float(np.clip(share, -1, 1)) * _BAR_PX / 2)
        draw.rectangle((min(middle, end), y + 3, max(middle, end), y + 13), fill=_BAD if bad else _FINE)
        draw.line((middle, y, middle, y + 16), fill=_MUTED)
    if bad and not finding.is_condition:
        draw.text((_GAP_PX + 450 + _BAR_PX, y), finding.state, _BAD, _font(13))
