"""The same clips as the reference keeps them, as WebDataset and MosaicML Streaming keep them, and as our shards.

Every layout writes a folder, and gives batches of it. The two libraries share our decoding and augmentation, so that
what differs is how samples are stored and found; the reference's own way is written anew from its training code
(JoyGen at 0f51fb8: loose files, PIL, float tensors).
"""

from __future__ import annotations

import importlib.machinery
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch.utils.data import DataLoader, Dataset

from model.shards.clips import EDITOR_COLUMNS, Clip, ClipTable, LoaderConfig
from model.shards.samples import MOUTH_MARGIN_PX, EditorDataset, endless_loader
from model.shards.views import (
    AugmentConfig,
    Views,
    apply_change,
    depth_view,
    draw_change,
    lip_mask,
    reference_frame,
    widened,
)
from stages.core.records import CROP_PX, NUM_LANDMARKS
from stages.depth import decode_depth, joygen_view
from stages.face.landmarks import LIPS_OUTER

LOADER, AUGMENT = LoaderConfig(cache_clips=64), AugmentConfig()
"""The cache holds as many clips as one shuffle pool, because in a large set more would not be hit."""
FORK = "fork"
"""Start method of the other layouts' workers; a forked worker of ours would hang."""
SHUFFLED = 1000
"""Samples of WebDataset's shuffle buffer, as many as `pool_clips` of our visits hold."""


@dataclass(frozen=True)
class Layout:
    """One way to keep clips. `batches` gives them without end, `workers` processes reading."""

    name: str
    write: Callable[[ClipTable, Path], None]
    batches: Callable[[Path, int, int], Iterator[Any]]


def _again(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def _encoded(kind: str, picture: np.ndarray) -> bytes:
    done, data = cv2.imencode(kind, picture)
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} could not be written as {kind}")
    return data.tobytes()


# The reference: four files a frame.


def _write_reference(table: ClipTable, folder: Path) -> None:
    names: list[str] = []
    for number in range(len(table)):
        clip, place = table.clip(number), folder / f"{number:05d}"
        depths = clip.pictures("depth")
        place.mkdir(parents=True)
        for i in range(clip.num_frames):
            stem = place / f"{i:08d}"
            depth = joygen_view(decode_depth(depths[i].as_buffer()))
            (place / f"{stem.name}_face.jpg").write_bytes(_encoded(".jpg", clip.face(i)[..., ::-1]))
            (place / f"{stem.name}_depth.jpg").write_bytes(_encoded(".jpg", np.repeat(depth[..., None], 3, 2)))
            np.save(f"{stem}_lm.npy", np.rint(clip.landmarks[i, :468, :2]).astype(np.int64))
            np.save(f"{stem}_whisper.npy", clip.heard(i, LOADER.audio_steps, LOADER.audio_layers))
            names.append(f"{place.name}/{stem.name}_face.jpg")
        np.save(place / "valid_indices.npy", np.arange(clip.num_frames))
    (folder / "train.txt").write_text("\n".join(names))


class _LooseFiles(Dataset[Any]):
    def __init__(self, folder: Path) -> None:
        self._folder, self._names = folder, (folder / "train.txt").read_text().split("\n")

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, idx: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        random = np.random.default_rng()
        path, size = self._folder / self._names[idx], (CROP_PX, CROP_PX)
        number, stem = int(path.name[:8]), str(path).removesuffix("_face.jpg")
        face = cv2.resize(_read(path), size)
        whisper = torch.tensor(np.load(f"{stem}_whisper.npy", allow_pickle=False))
        depth = np.zeros((*size, 3), np.uint8)
        if random.random() >= AUGMENT.depth_drop_prob:
            depth, marks = _read(Path(f"{stem}_depth.jpg")), np.load(f"{stem}_lm.npy", allow_pickle=False)
            mask = np.zeros_like(depth)
            cv2.fillPoly(mask, [marks[list(LIPS_OUTER)].astype(np.int32)], (1, 1, 1))
            shift = random.uniform(-AUGMENT.depth_shift, AUGMENT.depth_shift, 2) * CROP_PX
            move = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])
            depth = cv2.warpAffine(cv2.resize(depth * mask, size), move, size)
        valid = np.load(path.parent / "valid_indices.npy", allow_pickle=False)
        other = random.choice(valid)
        while abs(other - number) < LOADER.min_reference_frames:
            other = random.choice(valid)
        reference = cv2.resize(_read(path.parent / f"{other:08d}_face.jpg"), size)
        side = round(CROP_PX * np.sqrt(random.uniform(AUGMENT.min_crop_scale, 1)))
        left, top = random.integers(0, CROP_PX - side, 2, endpoint=True)
        box = (left, top, left + side, top + side)
        face, reference, depth = (
            Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)).crop(box).resize(size, Image.Resampling.BILINEAR)
            for picture in (face, reference, depth)
        )
        both = Image.new("RGB", (CROP_PX, 2 * CROP_PX))
        both.paste(face, (0, 0))
        both.paste(reference, (0, CROP_PX))
        return whisper, _to_float(_jittered(both, random)), _to_float(depth)


def _read(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path))
    if picture is None:
        raise FileNotFoundError(path)
    return picture


def _jittered(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Brightness, contrast and saturation in random order, as torchvision changes PIL pictures."""
    enhancers = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    for idx in random.permutation(3):
        picture = enhancers[idx](picture).enhance(random.uniform(1 - AUGMENT.colour_jitter, 1 + AUGMENT.colour_jitter))
    if random.random() < AUGMENT.grayscale_prob:
        picture = ImageOps.grayscale(picture).convert("RGB")
    return picture


def _to_float(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def _reference_batches(folder: Path, batch: int, workers: int) -> Iterator[Any]:
    data = _LooseFiles(folder)
    return _again(DataLoader(data, batch, True, drop_last=True, num_workers=workers, multiprocessing_context=FORK))


# The libraries: a sample a frame, its parts as our shards hold them, its sound cut out.


def _parts(clip: Clip, i: int) -> dict[str, bytes]:
    sound = clip.heard(i, LOADER.audio_steps, LOADER.audio_layers)
    return {
        "face": bytes(clip.face_jpeg(i)),
        "depth": clip.pictures("depth")[i].as_py(),
        "landmarks": np.asarray(clip.landmarks[i], np.float16).tobytes(),
        "centre": np.float32(clip.pose[i, 5]).tobytes(),
        "sound": sound.astype(np.float16).tobytes(),
    }


def _sample(parts: dict[str, bytes], reference_jpeg: bytes, random: np.random.Generator) -> dict[str, torch.Tensor]:
    """What `EditorDataset` makes of a clip, from a sample's own parts."""
    change = draw_change(AUGMENT, random)
    lips = lip_mask(np.frombuffer(parts["landmarks"], np.float16).reshape(NUM_LANDMARKS, 3))
    depth = None
    if random.random() >= AUGMENT.depth_drop_prob:
        centre_mm = float(np.frombuffer(parts["centre"], np.float32)[0])
        depth = depth_view(decode_depth(parts["depth"]), lips, centre_mm)
    views = Views(_rgb(parts["face"]), _rgb(reference_jpeg), depth, widened(lips, MOUTH_MARGIN_PX))
    views = apply_change(views, change)
    sound = np.frombuffer(parts["sound"], np.float16).reshape(LOADER.audio_steps * LOADER.audio_layers, -1)
    target, reference = (
        torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))) for rgb in (views.target, views.reference)
    )
    return {
        "target": target,
        "reference": reference,
        "depth": torch.from_numpy(views.depth if views.depth is not None else np.zeros_like(views.mouth))[None],
        "mouth": torch.from_numpy(views.mouth)[None],
        "audio": torch.from_numpy(sound.astype(np.float32)),
    }


def _rgb(jpeg: bytes) -> np.ndarray:
    rgb = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    if rgb is None:
        raise ValueError("not a JPEG picture")
    return rgb


def _write_webdataset(table: ClipTable, folder: Path) -> None:
    import webdataset  # pyright: ignore[reportMissingImports]

    folder.mkdir()
    random = np.random.default_rng(0)
    with webdataset.ShardWriter(str(folder / "%05d.tar"), maxcount=SHUFFLED, verbose=0) as sink:
        for number in range(len(table)):
            clip = table.clip(number)
            for i in range(clip.num_frames):
                # A stream cannot look for another frame: each sample carries one reference for good.
                other = int(reference_frame(clip.num_frames, i, LOADER.min_reference_frames, random))
                sink.write(
                    {"__key__": f"{number:05d}-{i:05d}", **_parts(clip, i), "other": bytes(clip.face_jpeg(other))}
                )


def _webdataset_batches(folder: Path, batch: int, workers: int) -> Iterator[Any]:
    import webdataset  # pyright: ignore[reportMissingImports]

    shards = sorted(str(path) for path in folder.glob("*.tar"))
    data = webdataset.WebDataset(shards, shardshuffle=len(shards), nodesplitter=None, resampled=True, seed=0)
    data = data.shuffle(SHUFFLED).map(_of_tar)
    return _again(DataLoader(data, batch, num_workers=workers, multiprocessing_context=FORK))


def _of_tar(parts: dict[str, bytes]) -> dict[str, torch.Tensor]:
    return _sample(parts, parts["other"], np.random.default_rng())


def _streaming() -> Any:
    """MosaicML's package, without the torchvision that it imports for data sets of its own that are not used here."""
    names = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
    for name in names:
        if name not in sys.modules:
            module: Any = types.ModuleType(name)
            module.__spec__, module.VisionDataset, module.to_tensor = (
                importlib.machinery.ModuleSpec(name, None),
                object,
                None,
            )
            sys.modules[name] = module
    import streaming  # pyright: ignore[reportMissingImports]

    return streaming


def _write_streaming(table: ClipTable, folder: Path) -> None:
    columns = {"clip": "int", "frame": "int", "frames": "int"} | dict.fromkeys(
        ("face", "depth", "landmarks", "centre", "sound"), "bytes"
    )
    with _streaming().MDSWriter(out=str(folder), columns=columns) as sink:
        for number in range(len(table)):
            clip = table.clip(number)
            for i in range(clip.num_frames):
                sink.write({"clip": number, "frame": i, "frames": clip.num_frames, **_parts(clip, i)})


def _streaming_batches(folder: Path, batch: int, workers: int) -> Iterator[Any]:
    base: Any = _streaming().StreamingDataset

    class Frames(base):
        def __getitem__(self, idx: int) -> dict[str, torch.Tensor]:
            parts, random = super().__getitem__(idx), np.random.default_rng()
            other = reference_frame(parts["frames"], parts["frame"], LOADER.min_reference_frames, random)
            return _sample(parts, super().__getitem__(idx - parts["frame"] + int(other))["face"], random)

    data = Frames(local=str(folder), shuffle=True, batch_size=batch, num_canonical_nodes=1)
    return _again(DataLoader(data, batch, num_workers=workers, multiprocessing_context=FORK))


# Ours.


def _write_shards(table: ClipTable, folder: Path) -> None:
    """Only the columns that the editor reads, in the layout of `pipeline.finalize`."""
    from stages.core.storage import open_parquet, parquet_writer

    folder.mkdir()
    columns = [*EDITOR_COLUMNS, *_FACTS]
    schema = open_parquet(table.files[0]).read_row_group(0, columns).schema
    with parquet_writer(folder / "train-00000.parquet", schema) as writer:
        for ref in table.clips:
            clip = open_parquet(table.files[ref.file_idx]).read_row_group(ref.row_group, columns)
            writer.write_table(clip.slice(ref.row, 1))


_FACTS = ("whisper_model", "geometry_model", "exp_coeff")


def _shard_batches(folder: Path, batch: int, workers: int) -> Iterator[Any]:
    data = EditorDataset(str(folder), "train", LOADER, AUGMENT, seed=0)
    return endless_loader(data, batch, 0, workers)


LAYOUTS = (
    Layout("reference, loose files", _write_reference, _reference_batches),
    Layout("WebDataset", _write_webdataset, _webdataset_batches),
    Layout("MosaicML Streaming", _write_streaming, _streaming_batches),
    Layout("kouxing, Parquet", _write_shards, _shard_batches),
)
