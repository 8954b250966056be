"""Clips of shards, one by one: where each lies, and what of it is decoded when."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.shards.clip_cache import ClipCache
from model.shards.mouth_depth import MouthDepth, fitted_model
from model.shards.views import audio_window, lip_mask
from stages.audio.pcm16 import from_pcm16
from stages.core.command import UserError
from stages.core.ranges import ranged
from stages.core.records import NUM_LANDMARKS
from stages.core.storage import StorageError, UnknownStorage, as_path, list_files, open_parquet
from stages.face3d.camera import crop_focal_px
from stages.face3d.model import FaceModel
from stages.lipsync import lip_sound


@dataclass(frozen=True)
class LoaderConfig:
    num_workers: int = ranged(2, low=0)
    min_reference_frames: int = 5  # distance of the reference frame from the target
    audio_steps: int = 10  # of 20 ms, centred on the frame
    audio_layers: int = 5  # encoder layers side by side in the shards; one token each
    draws_per_visit: int = 64  # samples drawn from a clip each time it is read
    pool_clips: int = 64  # clips whose samples are shuffled together
    cache_clips: int = 160  # decompressed on the temporary disk for all workers of a process, 4 MB each
    window_frames: int = 75  # a2m: frames of a training sequence
    face_model: str | None = None  # path of what the clips were fitted with; None: the embedded one that they name


SOUND_COLUMNS = ("whisper", "whisper_step")
FIT_COLUMNS = ("id_coeff", "exp_coeff", "pose", "crop_box_xyxy_px")
EDITOR_COLUMNS = ("row_id", "num_frames", "face_jpeg", "landmarks", *FIT_COLUMNS, *SOUND_COLUMNS)
MOTION_COLUMNS = ("row_id", "num_frames", "exp_coeff", "audio_pcm16", *SOUND_COLUMNS)
OPEN_CLIPS = 128
"""Clips that a process holds open: what is mapped from the cache is shared, and takes no memory of its own."""


class DataError(UserError):
    """Shards that cannot be trained on; the message says which and why."""


def token_width(config: LoaderConfig, whisper_model: str, whisper_dim: int) -> int:
    """Numbers of an audio token: of a step, one layer's.

    Raises:
        DataError: the features are not of as many layers.
    """
    if whisper_dim % config.audio_layers:
        raise DataError(
            f"{whisper_model} gives {whisper_dim} numbers a step, not a multiple of "
            f"loader.audio_layers={config.audio_layers}"
        )
    return whisper_dim // config.audio_layers


@dataclass(frozen=True)
class ClipRef:
    """Where a clip lies."""

    file_idx: int
    row_group: int
    row: int
    num_frames: int
    row_id: str


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """(T, width) of the one row of a list<fixed_size_list> column."""
    inner = column[0].values
    return inner.flatten().to_numpy(zero_copy_only=False).reshape(len(inner), -1)


class Clip:
    """One row, decoded frame by frame as needed.

    Args:
        face: gives the model that it was fitted with, which only its depth needs.
    """

    def __init__(self, table: pa.Table, face: Callable[[], FaceModel]) -> None:
        self._table, self._face = table, face

    def matrix(self, column: str) -> np.ndarray:
        """(T, width) of any list-of-lists column that was read."""
        return _matrix(self._table[column])

    def array(self, column: str) -> np.ndarray:
        """(T,) of any numeric list column that was read."""
        return self._table[column][0].values.to_numpy(zero_copy_only=False)

    @cached_property
    def num_frames(self) -> int:
        return self._table["num_frames"][0].as_py()

    def whisper(self, steps: np.ndarray) -> np.ndarray:
        """(S, layers * dim) float32 at these steps of 20 ms; beyond the end the last one."""
        states = self._states[np.minimum(steps, len(self._states) - 1)].astype(np.float32)
        return states if self._step is None else states * self._step

    def heard(self, frame: int, steps: int, layers: int) -> np.ndarray:
        """(steps * layers, dim) float32, the frame's `audio_window`."""
        window = audio_window(self._states, frame, steps, layers)
        return window if self._step is None else window * np.tile(self._step.reshape(layers, -1), (steps, 1))

    @cached_property
    def _states(self) -> np.ndarray:
        """As stored: float16, or int8 in units of `_step`."""
        steps = self._table["whisper"][0].values
        if not pa.types.is_binary(steps.type):
            return _matrix(self._table["whisper"])
        _, offsets, levels = steps.buffers()
        first, *_, end = np.frombuffer(offsets, np.int32)[steps.offset : steps.offset + len(steps) + 1]
        return np.frombuffer(levels, np.int8)[first:end].reshape(len(steps), -1)

    @cached_property
    def _step(self) -> np.ndarray | None:
        return self.array("whisper_step") if "whisper_step" in self._table.column_names else None

    @cached_property
    def landmarks(self) -> np.ndarray:
        """(T, 478, 3) in crop pixels."""
        return _matrix(self._table["landmarks"]).reshape(-1, NUM_LANDMARKS, 3)

    @cached_property
    def exp_coeff(self) -> np.ndarray:
        return _matrix(self._table["exp_coeff"])

    @cached_property
    def sound(self) -> np.ndarray:
        """(T, F) float32 what the lip-sound expert hears in the middle of every frame."""
        heard = lip_sound.sound_features(from_pcm16(self.array("audio_pcm16")))
        middle = np.arange(self.num_frames) * lip_sound.MEL_STEPS_PER_FRAME + lip_sound.MEL_STEPS_PER_FRAME // 2
        return heard[np.minimum(middle, len(heard) - 1)].astype(np.float32)

    @cached_property
    def pose(self) -> np.ndarray:
        return _matrix(self._table["pose"])

    def face_jpeg(self, frame: int) -> pa.Buffer:
        return self._jpegs[frame].as_buffer()

    def pictures(self, column: str) -> pa.BinaryArray:
        """(T,) of any column of encoded pictures that was read."""
        return self._table[column][0].values

    @cached_property
    def _jpegs(self) -> pa.BinaryArray:
        return self.pictures("face_jpeg")

    @cached_property
    def _mouth(self) -> MouthDepth:
        return MouthDepth(self._face(), self.array("id_coeff"))

    @cached_property
    def _focal_px(self) -> np.ndarray:
        return crop_focal_px(self.matrix("crop_box_xyxy_px").astype(np.float64))

    def face(self, frame: int) -> np.ndarray:
        """(256, 256, 3) uint8 RGB."""
        rgb = cv2.imdecode(np.frombuffer(self.face_jpeg(frame), np.uint8), cv2.IMREAD_COLOR_RGB)
        if rgb is None:
            raise DataError(f"frame {frame} of {self._table['row_id'][0]} is not a JPEG picture")
        return rgb

    def lips(self, frame: int) -> np.ndarray:
        """(256, 256) bool."""
        return lip_mask(self.landmarks[frame])

    def depth(self, frame: int, lips: np.ndarray) -> np.ndarray:
        """The depth picture of the mouth, (256, 256) uint8, drawn from the fit within `lips`."""
        return self._mouth(self.exp_coeff[frame], self.pose[frame], self._focal_px[frame], lips)


class ClipTable:
    """The clips of one split, addressable one by one.

    Args:
        root: folder of `{split}-*.parquet` files, local or in a bucket (`s3://bucket/shards`).
        min_frames: shorter clips are left out, and counted in `num_too_short`.
        cache_clips: how many to keep decompressed for all processes that share this table.
        face_model: path of the face model that the clips were fitted with; None: the embedded one that they name.
    Raises:
        DataError: no such shards, or none of their clips is long enough.
    """

    def __init__(
        self,
        root: str,
        split: str,
        columns: tuple[str, ...],
        min_frames: int,
        cache_clips: int = 0,
        face_model: str | None = None,
    ) -> None:
        self.root, self.columns = root, list(columns)
        self._shared = ClipCache(cache_clips) if cache_clips else None
        self.files = _list_shards(root, split)
        self._open: dict[int, pq.ParquetFile] = {}
        self._cache: OrderedDict[int, Clip] = OrderedDict()
        if not self.files:
            raise DataError(f"no {split}-*.parquet in {root}: give the shards folder of a finished pipeline run")
        every = [ref for file_idx in range(len(self.files)) for ref in self._refs(file_idx)]
        self.clips = [ref for ref in every if ref.num_frames >= min_frames]
        self.num_too_short = len(every) - len(self.clips)
        if not self.clips:
            raise DataError(f"none of the {len(every)} {split} clips in {root} has {min_frames} frames")
        schema = self._file(0).schema_arrow
        self.exp_dim = schema.field("exp_coeff").type.value_type.list_size
        first = self._file(0).read_row_group(0, ["whisper_model", "geometry_model", "whisper_step"])
        states = schema.field("whisper").type.value_type
        self.whisper_dim: int = len(first["whisper_step"][0]) if pa.types.is_binary(states) else states.list_size
        self.whisper_model: str = first["whisper_model"][0].as_py()
        self.geometry_model: str = first["geometry_model"][0].as_py()
        self.face = partial(fitted_model, face_model, self.geometry_model)
        self._forget_handles()

    def __len__(self) -> int:
        return len(self.clips)

    def clip(self, idx: int) -> Clip:
        """Clip `idx`, from memory if it was read lately."""
        if idx in self._cache:
            self._cache.move_to_end(idx)
            return self._cache[idx]
        read = partial(self._read, self.clips[idx])
        clip = Clip(self._shared.get(idx, read) if self._shared else read(), self.face)
        self._cache[idx] = clip
        while len(self._cache) > OPEN_CLIPS:
            self._cache.popitem(last=False)
        return clip

    def _read(self, ref: ClipRef) -> pa.Table:
        table = self._file(ref.file_idx).read_row_group(ref.row_group, self.columns, use_threads=False)
        if table.num_rows > 1:  # a slice alone would keep the whole group in memory
            table = table.take([ref.row])
        return table.combine_chunks()

    def _refs(self, file_idx: int) -> Iterator[ClipRef]:
        file = self._file(file_idx)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, ["num_frames", "row_id"])
            pairs = zip(table["num_frames"].to_pylist(), table["row_id"].to_pylist(), strict=True)
            for row, (num_frames, row_id) in enumerate(pairs):
                yield ClipRef(file_idx, group, row, num_frames, row_id)

    def _file(self, idx: int) -> pq.ParquetFile:
        if idx not in self._open:
            self._open[idx] = open_parquet(self.files[idx])
        return self._open[idx]

    def _forget_handles(self) -> None:
        """Workers open files of their own."""
        self._open.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}, "_cache": OrderedDict()}


def _list_shards(root: str, split: str) -> list[Path]:
    try:
        return list_files(as_path(root).expanduser(), f"{split}-*.parquet")
    except (StorageError, UnknownStorage) as error:
        raise DataError(str(error)) from error
