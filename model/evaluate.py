"""Measure an editor on clips it has the truth of.

    python -m model.evaluate --run RUN --data OUT/shards --split test --out eval.json

Every clip's first seconds are edited with their own sound and depth and a reference frame half a clip away, then judged
by the same detectors as the real frames, whose row stands beside: the protocol moves such numbers more than models do.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from rich.console import Console
from rich.table import Table

from model.config import TrainConfig
from model.data import Clip, ClipTable, DataError
from model.editor import Editor, to_bytes
from model.metrics import FID_UNAVAILABLE, cosine, lip_distance, psnr_db, ssim
from model.progress import Progress
from model.tasks import DataFacts, load_trained
from model.views import audio_window
from pipeline.config import ConfigError
from pipeline.records import AUDIO_RATE_HZ, CLIP_FPS, CROP_PX
from pipeline.storage import as_path, local_path, write_text
from pipeline.weights import MissingWeights, WeightStore
from stages.faces import FaceFinder
from stages.identity import IdentityChecker, IdentityConfig
from stages.landmarks import LandmarkDetector
from stages.sync import SyncConfig, SyncMeasurer

COLUMNS = (
    *("row_id", "num_frames", "face_jpeg", "landmarks", "depth", "pose", "whisper", "audio_pcm16"),
    "crop_box_xyxy_px",
)
MIN_FRAMES = 50
"""Sync means nothing on less than two seconds."""


@dataclass(frozen=True)
class EvaluateConfig:
    max_clips: int = 20
    max_frames: int = 250  # of a clip
    batch_size: int = 8
    use_depth: bool = True
    wrong_audio: bool = False  # ablation: the sound of another moment of the clip


@dataclass(frozen=True)
class Scores:
    """One clip, or the mean of several. None: no face was found in the frames, so it cannot be said."""

    row_id: str
    psnr_db: float | None
    ssim: float | None
    lip_distance_pct: float | None
    csim: float | None
    sync_conf: float | None
    av_offset_ms: float | None
    found_ratio: float


@torch.no_grad()
def edit_clip(
    editor: Editor, settings: TrainConfig, clip: Clip, num_frames: int, config: EvaluateConfig
) -> UInt8[np.ndarray, "t h w 3"]:
    """A clip's frames edited with its own sound."""
    loader, device = settings.loader, next(editor.parameters()).device
    out: list[np.ndarray] = []
    for start in range(0, num_frames, config.batch_size):
        chosen = range(start, min(start + config.batch_size, num_frames))
        references = [(i + clip.num_frames // 2) % clip.num_frames for i in chosen]
        heard = references if config.wrong_audio else chosen
        windows = [audio_window(clip.whisper, i, loader.audio_steps, loader.audio_layers) for i in heard]
        nothing = np.zeros((CROP_PX, CROP_PX), np.uint8)
        depths = [clip.depth(i) if config.use_depth else nothing for i in chosen]
        batch = {
            "target": torch.from_numpy(np.stack([clip.face(i) for i in chosen]).transpose(0, 3, 1, 2).copy()),
            "reference": torch.from_numpy(np.stack([clip.face(i) for i in references]).transpose(0, 3, 1, 2).copy()),
            "depth": torch.from_numpy(np.stack(depths)[:, None]),
            "audio": torch.from_numpy(np.stack(windows)),
        }
        image = editor({name: value.to(device) for name, value in batch.items()}).image
        out.append(to_bytes(image).permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(out)


@dataclass(frozen=True)
class Seen:
    """Frames, and the landmarks found in each in crop pixels; None where there was no face."""

    frames: UInt8[np.ndarray, "t h w 3"]
    points: list[Float[np.ndarray, "p xyz"] | None]


class Judge:
    """Detectors that look at frames without knowing who made them."""

    def __init__(self, weights: WeightStore) -> None:
        self._weights = weights
        self._identity = IdentityChecker(IdentityConfig(), weights)
        self.sync = SyncMeasurer(SyncConfig(), weights)

    def look(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Seen:
        """Find landmarks in each crop, its rim drawn out: detectors want room around a face."""
        room = CROP_PX // 2
        points: list[np.ndarray | None] = []
        with LandmarkDetector(self._weights, FaceFinder(self._weights)) as detector:
            for i, rgb in enumerate(frames):
                wide = cv2.copyMakeBorder(rgb, room, room, room, room, cv2.BORDER_REPLICATE)
                face = detector(wide, i / CLIP_FPS)
                points.append(None if face is None else face.points - np.array([room, room, 0], np.float32))
        return Seen(frames, points)

    def embedding(self, frames: UInt8[np.ndarray, "t h w 3"], clip: Clip) -> Float[np.ndarray, " d"]:
        """ArcFace of the frames, placed by the real clip's landmarks."""
        jpegs = [cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for rgb in frames]
        boxes = clip.matrix("crop_box_xyxy_px")[: len(frames)]
        row = {"face_jpeg": jpegs, "landmarks": clip.landmarks[: len(frames)], "crop_box_xyxy_px": boxes}
        return self._identity(row)["face_embedding"]


def score(judge: Judge, output: Seen, truth: Seen, clip: Clip, name: str) -> Scores:
    """Judge one clip; `output` may be the truth itself, for the real video's row."""
    real, mine = output is truth, output.points
    both = [(a, b) for a, b in zip(mine, truth.points, strict=True) if a is not None and b is not None]
    distance = None if real or not both else lip_distance(*(np.stack(side) for side in zip(*both, strict=True)))
    sync: dict[str, Any] = {}
    if all(points is not None for points in mine):
        audio = clip.array("audio_pcm16")[: len(mine) * AUDIO_RATE_HZ // CLIP_FPS]
        points, boxes = np.stack([p for p in mine if p is not None]), clip.matrix("crop_box_xyxy_px")[: len(mine)]
        sync = judge.sync.measure({"landmarks": points, "crop_box_xyxy_px": boxes, "audio_pcm16": audio})
    ours, theirs = (seen.frames[:, CROP_PX // 2 :] for seen in (output, truth))
    return Scores(
        row_id=name,
        psnr_db=None if real else psnr_db(ours, theirs),
        ssim=None if real else ssim(ours, theirs),
        lip_distance_pct=distance,
        csim=None if real else cosine(judge.embedding(output.frames, clip), judge.embedding(truth.frames, clip)),
        sync_conf=sync.get("sync_conf"),
        av_offset_ms=sync.get("av_offset_ms"),
        found_ratio=sum(points is not None for points in mine) / len(mine),
    )


def mean_scores(scores: list[Scores], name: str) -> Scores:
    """Means over the clips that have the number."""
    values = {}
    for key in asdict(scores[0]):
        known = [v for s in scores if key != "row_id" and (v := getattr(s, key)) is not None]
        values[key] = float(np.mean(known)) if known else None
    return Scores(**{**values, "row_id": name})


def evaluate(
    trained: tuple[Editor, TrainConfig, DataFacts],
    data: str,
    split: str,
    weights: WeightStore,
    config: EvaluateConfig,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores of a split: overall and per clip, ours and the real video's.

    Raises:
        DataError: no clip of the split is long enough, or it has other features than the editor was trained on.
    """
    editor, settings, facts = trained
    table = ClipTable(data, split, COLUMNS, MIN_FRAMES)
    if table.whisper_model != facts.whisper_model:
        raise DataError(f"the shards hold {table.whisper_model}, the editor was trained on {facts.whisper_model}")
    judge, progress = Judge(weights), progress or Progress(active=False)
    ours: list[Scores] = []
    real: list[Scores] = []
    number = min(len(table), config.max_clips)
    with progress:
        for idx in range(number):
            clip, name = table.clip(idx), table.clips[idx].row_id
            num_frames = min(clip.num_frames, config.max_frames)
            truth = judge.look(np.stack([clip.face(i) for i in range(num_frames)]))
            output = judge.look(edit_clip(editor, settings, clip, num_frames, config))
            ours.append(score(judge, output, truth, clip, name))
            real.append(score(judge, truth, truth, clip, name))
            progress.show("evaluate", idx + 1, (idx + 1) / number, {})
    return {
        "protocol": {
            "split": split,
            "clips": number,
            **asdict(config),
            "pixels": "lower half of the 256 px crop",
            "reference": "half a clip away",
            "sync": "kouxing lip-sound expert (not SyncNet)",
            "csim": "InsightFace w600k_mbf",
        },
        "ours": asdict(mean_scores(ours, "ours")),
        "real": asdict(mean_scores(real, "real video")),
        "fid": {"value": None, "why": FID_UNAVAILABLE},
        "clips": [{"ours": asdict(a), "real": asdict(b)} for a, b in zip(ours, real, strict=True)],
    }


def print_table(result: dict[str, Any], console: Console) -> None:
    names = [name for name in result["ours"] if name != "row_id"]
    table = Table("", *names)
    for key in ("real", "ours"):
        cells = ["-" if (value := result[key][name]) is None else f"{value:.3f}" for name in names]
        table.add_row(result[key]["row_id"], *cells)
    console.print(table)
    console.print(f"FID: {result['fid']['why']}", markup=False)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.evaluate", description="Measure an editor on a split.")
    parser.add_argument("--run", type=local_path, required=True, help="a run of python -m model.train")
    parser.add_argument("--data", required=True, help="shards folder, or s3://bucket/folder/shards")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--out", type=as_path, required=True, help="the .json to write")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--max-clips", type=int, default=EvaluateConfig.max_clips)
    parser.add_argument("--max-frames", type=int, default=EvaluateConfig.max_frames, help="of a clip")
    parser.add_argument("--no-depth", action="store_true", help="ablation: without depth")
    parser.add_argument("--wrong-audio", action="store_true", help="ablation: the sound of another moment")
    given = parser.parse_args(arguments)
    config = EvaluateConfig(
        given.max_clips, given.max_frames, use_depth=not given.no_depth, wrong_audio=given.wrong_audio
    )
    weights = WeightStore.from_environment()
    try:
        trained: Any = load_trained(given.run, "editor", weights, given.device)
        result = evaluate(trained, given.data, given.split, weights, config, Progress(active=True))
    except (ConfigError, DataError, MissingWeights) as error:
        print(f"model.evaluate: {error}", file=sys.stderr)
        return 2
    write_text(given.out, json.dumps(result, indent=1))
    print_table(result, Console())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
