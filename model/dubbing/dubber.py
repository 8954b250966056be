"""Edits the frames of one video with one sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from model.dubbing.compose import Composer
from model.dubbing.face_track import FaceTrack
from model.dubbing.head_motion import FaceMotion
from model.dubbing.playback import to_and_fro
from model.dubbing.sound import Sound
from model.nets.editor import to_bytes
from model.training.config import TrainConfig
from model.training.devices import inference
from stages.core.records import CLIP_FPS
from stages.face.crop import crop_face


def sound_time_s(number: int, fps: Fraction) -> float:
    """Start of the frame at 25 fps with the same middle as frame `number`, because sounds are centred on the middle."""
    return float((number + Fraction(1, 2)) / fps - Fraction(1, 2 * CLIP_FPS))


class Dubber:
    """Edits frames in order.

    Args:
        motion: source of depth; None edits without depth, for which the editor is trained, too.
        predicted: whether depth is that of the mouth predicted from the sound, not of the video's own.
    """

    def __init__(
        self,
        editor: nn.Module,
        config: TrainConfig,
        sound: Sound,
        track: FaceTrack,
        motion: FaceMotion | None,
        predicted: bool = True,
    ) -> None:
        self._editor, self._config, self._sound, self._track = editor, config, sound, track
        self._motion, self._predicted = motion, predicted
        self._device = next(editor.parameters()).device
        self._composer = Composer()

    def edit(self, frames: list[UInt8[np.ndarray, "h w 3"]], places: list[tuple[int, float]]) -> list[np.ndarray]:
        """Edit frames.

        Args:
            frames: source frames with a face.
            places: number in the video and time in the sound, in seconds, of each frame.
        """
        loader = self._config.loader
        crops = [crop_face(rgb, self._track.boxes[i]) for rgb, (i, _) in zip(frames, places, strict=True)]
        pictures = torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2).copy())
        audio = np.stack([self._sound.window(t, loader.audio_steps, loader.audio_layers) for _, t in places])
        batch = {"target": pictures, "reference": pictures, "audio": torch.from_numpy(audio)}
        if self._motion is not None:
            depths = np.stack([self._depth(self._motion, i, t)[None] for i, t in places])
            batch |= {"depth": torch.from_numpy(depths), "depth_of": torch.arange(len(places))}
        with inference(self._device.type):
            output = self._editor({k: v.to(self._device) for k, v in batch.items()}).image
        painted = to_bytes(output).permute(0, 2, 3, 1).cpu().numpy()
        return [
            self._composer(rgb, crop, face, self._track.boxes[i], self._track.points[i])
            for rgb, crop, face, (i, _) in zip(frames, crops, painted, places, strict=True)
        ]

    def _depth(self, motion: FaceMotion, frame: int, time_s: float) -> UInt8[np.ndarray, "h w"]:
        expression = self._sound.expression(time_s) if self._predicted else motion.expression(frame)
        return motion.depth(frame, expression)

    def run(self, frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: Fraction, batch: int) -> Iterator[np.ndarray]:
        """All frames in order, those with a face edited, `batch` at a time."""
        length = len(self._track.found)
        waiting: list[tuple[np.ndarray, int, float]] = []
        for number, rgb in enumerate(frames):
            waiting.append((rgb, to_and_fro(number, length), sound_time_s(number, fps)))
            if len(waiting) == batch:
                yield from self._flush(waiting)
                waiting = []
        yield from self._flush(waiting)

    def _flush(self, waiting: list[tuple[np.ndarray, int, float]]) -> Iterator[np.ndarray]:
        chosen = [(rgb, (i, t)) for rgb, i, t in waiting if self._track.found[i]]
        edited = iter(self.edit([rgb for rgb, _ in chosen], [place for _, place in chosen]) if chosen else [])
        for rgb, i, _ in waiting:
            yield next(edited) if self._track.found[i] else rgb
