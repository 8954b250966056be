"""The table of an evaluation: our rows, the real video's, and published ones, marked as measured otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.show.markdown import table as markdown_table

COLUMNS = {
    "fid": "FID ↓",
    "lse_c": "LSE-C ↑",
    "lse_d": "LSE-D ↓",
    "psnr_db": "PSNR dB ↑",
    "ssim": "SSIM ↑",
    "lpips": "LPIPS ↓",
    "csim": "CSIM ↑",
    "lip_distance_pct": "lips % ↓",
    "face_distance_pct": "face % ↓",
    "sync_conf": "own sync ↑",
    "av_offset_ms": "delay ms",
    "found_ratio": "faces found",
}


@dataclass(frozen=True)
class Published:
    """A row of a published table; `source` names the table."""

    method: str
    fid: float | None
    lse_c: float
    lse_d: float
    source: str


PUBLISHED = (
    Published("Wav2Lip", 4.887, 7.781, 6.386, "arXiv:2008.10010, LRS2"),
    Published("real video", None, 8.248, 6.258, "LRS2, as LipVoicer's authors measured it"),
    Published("Wav2Lip", 32.24, 8.65, 6.78, "HDTF, as PC-Talk's authors measured it"),
    Published("LatentSync", 16.32, 8.92, 6.84, "HDTF, as PC-Talk's authors measured it"),
)
"""Published rows. Wav2Lip is there twice: one network, two sets and protocols, and an FID of 5 or of 32."""


def rows_of(result: dict[str, Any]) -> list[list[str]]:
    """Published rows first, then the real video and ours."""
    rows = []
    for row in PUBLISHED:
        cells = [_text(getattr(row, key, None)) for key in COLUMNS]
        rows.append([f"{row.method}, published ({row.source})", *cells])
    scored = [result["real"], result["ours"]]
    return rows + [[f"**{row['row_id']}**", *(_text(row.get(column)) for column in COLUMNS)] for row in scored]


def notes_of(result: dict[str, Any]) -> list[str]:
    """Notes that are needed to read the table."""
    absent = [f"{measure.upper()}: {why}." for measure, why in result["absent"].items()]
    protocol = "; ".join(f"{key} {value}" for key, value in result["protocol"].items())
    return [
        "Published rows were measured on other videos by other protocols, which move these numbers more than models "
        "do: compare ours with the real video's row.",
        *absent,
        f"Protocol: {protocol}.",
    ]


def markdown(result: dict[str, Any]) -> str:
    return "\n\n".join([markdown_table(["", *COLUMNS.values()], rows_of(result)), *notes_of(result)]) + "\n"


def print_table(result: dict[str, Any], console: Console) -> None:
    """Print the transposed table; published columns have a number, with their source below."""
    *published, real, ours = (row[1:] for row in rows_of(result))
    shown = Table("", "real video", "ours", *(f"{row.method} ({number})" for number, row in enumerate(PUBLISHED, 1)))
    for title, *cells in zip(COLUMNS.values(), real, ours, *published, strict=True):
        shown.add_row(title, *cells)
    console.print(shown)
    for number, row in enumerate(PUBLISHED, 1):
        console.print(f"({number}) published: {row.source}", markup=False, highlight=False)
    for note in notes_of(result):
        console.print(note, markup=False, highlight=False)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
