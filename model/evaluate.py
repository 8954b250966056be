"""Measure an editor on clips of which the truth is known, or made videos against real ones.

    python -m model.evaluate --run RUN --data OUT/shards --split test --out eval.json
    python -m model.evaluate --pairs REAL_FOLDER MADE_FOLDER --out eval.json

With shards, every clip's first seconds are edited with their own sound and depth and a reference frame half a clip
away. With pairs, the videos are taken as they are. Both are judged by the same detectors as the real frames, which have
their own row, because the protocol changes such numbers more than models do. A table in Markdown is written next to the
JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from rich.console import Console
from torch import nn

from model.judging.judge import LSE_PROTOCOL, Judge, Scores, Shown, mean_scores
from model.judging.pairs import Pair, find_pairs, show_pair
from model.judging.score_table import markdown, print_table
from model.nets.editor import to_bytes
from model.shards.clips import EDITOR_COLUMNS, Clip, ClipTable, DataError
from model.training.config import TrainConfig
from model.training.devices import default_device, inference
from model.training.load import load_trained
from model.training.progress import Progress
from model.training.task import DataFacts
from stages.core.command import command, make_parser
from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS
from stages.core.storage import as_path, local_path, write_text
from stages.core.weight_files import WEIGHTS
from stages.core.weights import WeightStore

COLUMNS = (*EDITOR_COLUMNS, "audio_pcm16")
MIN_FRAMES = 50
"""Least number of frames: sync is meaningless on less than two seconds."""


@dataclass(frozen=True)
class EvaluateConfig:
    max_clips: int = 20  # Largest number of clips
    max_frames: int = 250  # Largest number of frames of a clip
    batch_size: int = 8  # Frames edited at a time
    use_depth: bool = True  # Give depth to the editor, if it was trained with depth
    wrong_audio: bool = False  # Ablation: give the sound of another moment of the clip


@dataclass(frozen=True)
class Comparison:
    """An edited clip and the real one."""

    name: str
    output: Shown
    truth: Shown


def edit_clip(
    editor: nn.Module, settings: TrainConfig, clip: Clip, num_frames: int, config: EvaluateConfig
) -> UInt8[np.ndarray, "t h w 3"]:
    """A clip's frames edited with its own sound."""
    loader, device = settings.loader, next(editor.parameters()).device
    use_depth = config.use_depth and settings.unet.use_depth
    out: list[np.ndarray] = []
    for start in range(0, num_frames, config.batch_size):
        chosen = range(start, min(start + config.batch_size, num_frames))
        references = [(i + clip.num_frames // 2) % clip.num_frames for i in chosen]
        heard = references if config.wrong_audio else chosen
        windows = [clip.heard(i, loader.audio_steps, loader.audio_layers) for i in heard]
        faces = np.stack([clip.face(i) for i in chosen])
        batch = {
            "target": torch.from_numpy(faces.transpose(0, 3, 1, 2).copy()),
            "reference": torch.from_numpy(np.stack([clip.face(i) for i in references]).transpose(0, 3, 1, 2).copy()),
            "audio": torch.from_numpy(np.stack(windows)),
        }
        if use_depth:
            depths = np.stack([clip.depth(i, clip.lips(i)) for i in chosen])[:, None]
            batch |= {"depth": torch.from_numpy(depths), "depth_of": torch.arange(len(chosen))}
        with inference(device.type):
            image = editor({name: value.to(device) for name, value in batch.items()}).image
        out.append(to_bytes(image).permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(out)


def _shards_comparisons(
    editor: nn.Module, settings: TrainConfig, table: ClipTable, config: EvaluateConfig
) -> Iterable[Comparison]:
    for idx in range(min(len(table), config.max_clips)):
        clip = table.clip(idx)
        num_frames = min(clip.num_frames, config.max_frames)
        boxes, points = clip.matrix("crop_box_xyxy_px")[:num_frames], clip.landmarks[:num_frames]
        pcm16 = clip.array("audio_pcm16")[: num_frames * AUDIO_RATE_HZ // CLIP_FPS]
        real = np.stack([clip.face(i) for i in range(num_frames)])
        made = edit_clip(editor, settings, clip, num_frames, config)
        shown = [Shown(frames, boxes, points, pcm16) for frames in (made, real)]
        yield Comparison(table.clips[idx].row_id, shown[0], shown[1])


def evaluate(
    trained: tuple[nn.Module, TrainConfig, DataFacts],
    data: str,
    split: str,
    weights: WeightStore,
    config: EvaluateConfig,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores of a split: overall and per clip, ours and the real video's.

    Args:
        trained: result of `load_trained`, or any module that takes the editor's batch and returns `.image`, a whole
            face or its lower half.
    Raises:
        DataError: no clip of the split is long enough, or it has other features than the editor was trained on.
    """
    editor, settings, facts = trained
    table = ClipTable(data, split, COLUMNS, MIN_FRAMES, face_model=settings.loader.face_model)
    if table.whisper_model != facts.whisper_model:
        raise DataError(f"the shards hold {table.whisper_model}, the editor was trained on {facts.whisper_model}")
    number = min(len(table), config.max_clips)
    judge = Judge(weights, str(next(editor.parameters()).device))
    protocol = {
        "split": split,
        **asdict(config),
        "made frames": "as the network gives them, not blended into the video",
        "codec": "the real frames are the shards' JPEG crops, the made ones not coded; sound is PCM",
        "reference": "half a clip away",
        "crop": "256 px by smoothed landmark boxes",
        "syncnet pictures": "224 px out of the crops, their rim drawn out",
    }
    comparisons = _shards_comparisons(editor, settings, table, config)
    return _judged(judge, comparisons, number, protocol, progress)


def evaluate_pairs(
    pairs: list[Pair],
    weights: WeightStore,
    config: EvaluateConfig,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores of finished videos against their real originals.

    Raises:
        Dropped: a video cannot be read, has no sound, or shows no face for two seconds.
    """
    chosen = pairs[: config.max_clips]
    protocol = {
        "max_frames": config.max_frames,
        "codec": ", ".join(sorted({codec for pair in chosen for codec in pair.codecs()})),
        "crop": "256 px by smoothed landmark boxes of the real video, for both",
        "syncnet pictures": "224 px out of the video by the landmarks' bounds, cut as syncnet_python cuts S3FD's",
    }
    comparisons = (Comparison(pair.name, *show_pair(pair, weights, config.max_frames, MIN_FRAMES)) for pair in chosen)
    return _judged(Judge(weights, device), comparisons, len(chosen), protocol, progress)


def _judged(
    judge: Judge, comparisons: Iterable[Comparison], number: int, protocol: dict[str, Any], progress: Progress | None
) -> dict[str, Any]:
    progress = progress or Progress(active=False)
    ours: list[Scores] = []
    real: list[Scores] = []
    lengths: list[int] = []
    with progress:
        for done, clip in enumerate(comparisons):
            truth, output = judge.look(clip.truth), judge.look(clip.output)
            ours.append(judge.score(output, truth, clip.name))
            real.append(judge.score(truth, truth, clip.name))
            judge.gather(clip.output, clip.truth)
            lengths.append(len(clip.truth.frames))
            progress.show("evaluate", done + 1, (done + 1) / number, {})
    fid = judge.fid()
    return {
        "protocol": {
            **protocol,
            "clips": number,
            "length_s": f"{min(lengths) / CLIP_FPS:.1f} to {max(lengths) / CLIP_FPS:.1f}",
            "fps": CLIP_FPS,
            "sound_hz": AUDIO_RATE_HZ,
            "pixels": "PSNR, SSIM and LPIPS of the crop's lower half, FID of all of it",
            "own sync": f"{judge.sync_expert} (not SyncNet, not LSE)",
            "LSE": LSE_PROTOCOL,
            "csim": "InsightFace w600k_mbf, mean of 8 frames",
            "weights": ", ".join(f"{n} {(WEIGHTS[n].sha256 or '')[:8]}" for n in ("inception", "alexnet", "syncnet")),
        },
        "ours": asdict(mean_scores(ours, "ours")) | {"fid": fid["value"]},
        "real": asdict(mean_scores(real, "real video")) | {"fid": None},
        "fid": fid,
        "absent": judge.absent,
        "clips": [{"ours": asdict(a), "real": asdict(b)} for a, b in zip(ours, real, strict=True)],
    }


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m model.evaluate", __doc__)
    parser.add_argument("--run", type=local_path, help="a run of python -m model.train, with --data")
    parser.add_argument("--data", help="shards folder, or s3://bucket/folder/shards")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument(
        "--pairs",
        type=local_path,
        nargs="+",
        metavar="PATH",
        help="a folder of real videos and one of "
        "made ones with the same names, or a CSV with the columns real and made",
    )
    parser.add_argument("--out", type=as_path, required=True, help="the .json to write; the table goes beside it")
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--max-clips", type=int, default=EvaluateConfig.max_clips)
    parser.add_argument("--max-frames", type=int, default=EvaluateConfig.max_frames, help="of a clip")
    parser.add_argument("--no-depth", action="store_true", help="ablation: without depth")
    parser.add_argument("--wrong-audio", action="store_true", help="ablation: the sound of another moment")
    given = parser.parse_args(arguments)
    if bool(given.pairs) == bool(given.run and given.data):
        parser.error("give --run and --data, or --pairs")
    config = EvaluateConfig(
        given.max_clips, given.max_frames, use_depth=not given.no_depth, wrong_audio=given.wrong_audio
    )
    weights = WeightStore.from_environment()
    if given.pairs:
        pairs = find_pairs(given.pairs)
        result = evaluate_pairs(pairs, weights, config, given.device, Progress(active=True))
    else:
        trained: Any = load_trained(given.run, "editor", weights, given.device)
        result = evaluate(trained, given.data, given.split, weights, config, Progress(active=True))
    write_text(given.out, json.dumps(result, indent=1, ensure_ascii=False))
    write_text(given.out.with_suffix(".md"), markdown(result))
    print_table(result, Console())


if __name__ == "__main__":
    raise SystemExit(main())
