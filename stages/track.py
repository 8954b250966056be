"""Follow the face through a shot: the only full-resolution look at the pictures.

One shot in, its clips out: the stretches that can be used, and those that can't, in the order of the film. Downstream
stages see 256x256 crops, landmarks and 16 kHz sound, never a frame.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from stages.audio.pcm16 import to_pcm16
from stages.core.ranges import ranged
from stages.core.reasons import Dropped, DropReason
from stages.core.records import CLIP_FPS, Row
from stages.core.weights import WeightStore
from stages.face.clip_frames import Region, SeenFrame, bounds, crop_clip, measure_clip
from stages.face.crop import crop_boxes, to_crop
from stages.face.faces import FaceFinder, shorter_sides, shrink
from stages.face.landmarks import FaceLandmarks, LandmarkDetector, head_angles
from stages.face.mouth_look import MouthConfig, look_at_mouth
from stages.media import VideoFrame, decode_audio, decode_video
from stages.shots.jumps import JumpConfig, JumpFinder
from stages.shots.stretches import StretchFinder, cut_evenly

PREVIEW_PX = 128
SECOND_FACE_PX = 15.0
"""Side of the smallest second face in the picture that is searched; YuNet finds ten."""


@dataclass(frozen=True)
class TrackConfig:
    """How a shot is followed, and where it is cut.

    Args:
        max_clip_s: longer stretches are cut into clips up to this.
        min_clip_s: cutting leaves no shorter rest.
        look_every_frames: every so manieth frame is searched for a second face, a hidden mouth and a turned head.
        max_yaw_deg: a head turned further ends a clip; so do the next two.
        look_side_px: longer side at most of the pictures in which faces are searched.
        min_face_conf: YuNet's score of a face, in 0-1.
        min_landmark_conf: score in 0-1 that MediaPipe asks of a face's presence, of its detection and of tracking.
        min_second_face: a smaller face is background: its side over the main face's.
        max_gap_frames: landmarks are interpolated over at most this many frames; a longer gap ends the clip.
        max_jump: a face that moves further in a frame is another: the move of its centre over its side.
        max_still_s: a picture that stands still for longer at a look is held, or a photo.
        jpeg_quality: of the crops.
        jumps: where a piece of the scene is missing, one clip ends and the next begins.
    """

    max_clip_s: float = ranged(8.0, low=0.04, high=30)  # keeps a row with crops, depth and features under 10 MB
    min_clip_s: float = ranged(3.0, at_most="max_clip_s")  # that of the policy
    look_every_frames: int = 5  # 5 Hz: hands come and go slower
    max_yaw_deg: float = 35.0  # beyond it the far lip corner is hidden
    max_pitch_deg: float = 30.0
    max_roll_deg: float = 30.0
    look_side_px: int = ranged(480, low=1)  # a 90 px face in 4K scores .74 at it, .38 at 320
    min_face_conf: float = 0.6  # real faces had .69 and more, false ones .58 and less
    min_landmark_conf: float = 0.5  # MediaPipe's own
    min_second_face: float = 0.25  # people in the background are about a tenth
    max_gap_frames: int = 5  # 0.2 s, a blink or a flash
    max_jump: float = 0.5  # twelve face widths a second
    max_still_s: float = 0.15  # of one picture; two looks in a row, so that 0.4 s of a held one are left out
    jpeg_quality: int = ranged(90, low=1, high=100)  # about 12 KB a crop
    jumps: JumpConfig = field(default_factory=JumpConfig)


class FaceTracker:
    """Tracks the one face of a shot, and cuts the shot where it cannot be used.

    Args:
        config: how.
        mouth: how a hidden mouth is told.
        weights: where `face_landmarker` and `yunet` are found.
    """

    def __init__(self, config: TrackConfig, mouth: MouthConfig, weights: WeightStore) -> None:
        self.config, self._mouth = config, mouth
        self._finder = FaceFinder(weights, config.look_side_px, config.min_face_conf)
        self._landmarks = LandmarkDetector(weights, self._finder, config.min_landmark_conf)

    def __call__(self, row: Row) -> Iterator[Row]:
        """The shot's clips, with the TRACK columns and the payload; the last one tells their number.

        A clip that can't be used is yielded all the same: with `unusable`, the reason that cut it out of the shot, or
        with `fault_reason` and `fault_detail`, and with what was measured.
        """
        path, start_s, end_s = Path(row["media_path"]), row["shot_start_s"], row["shot_end_s"]
        num_planned = max(1, round((end_s - start_s) * CLIP_FPS))
        faults: list[Dropped] = []
        frames = _until_fault(decode_video(path, start_s, end_s, fps=Fraction(CLIP_FPS)), faults)
        clip_idx = num_seen = 0
        complete = False
        for stretch in self._clips(frames):
            clip: Row = {**row, "clip_idx": clip_idx, "start_s": start_s + num_seen / CLIP_FPS}
            clip_idx, num_seen = clip_idx + 1, num_seen + len(stretch.frames)
            complete = stretch.is_last and not faults and num_planned - num_seen <= self.config.max_gap_frames
            clip |= {"num_clips": clip_idx} if complete else {}
            yield self._told(path, clip | {"end_s": start_s + num_seen / CLIP_FPS}, stretch)
        if not complete:
            rest_s = start_s + num_seen / CLIP_FPS
            fault = faults[0] if faults else Dropped(DropReason.TRUNCATED, f"no frame from {rest_s:.2f} s on")
            rest = {"clip_idx": clip_idx, "num_clips": clip_idx + 1, "start_s": rest_s, "end_s": max(rest_s, end_s)}
            yield row | rest | {"num_frames": 0} | _as_fault(fault)

    def close(self) -> None:
        self._landmarks.close()

    def _told(self, path: Path, clip: Row, stretch: _Stretch) -> Row:
        config = self.config
        clip |= measure_clip(stretch.frames, config.jpeg_quality)
        clip |= {"unusable": str(stretch.reason)} if stretch.reason else {}
        try:
            audio = decode_audio(path, clip["start_s"], clip["end_s"])
            pictures = crop_clip(stretch.frames, config.max_gap_frames, config.jpeg_quality)
            return clip | pictures | {"audio_pcm16": to_pcm16(audio)}
        except Dropped as fault:
            return clip | _as_fault(fault)

    def _clips(self, frames: Iterable[VideoFrame]) -> Iterator[_Stretch]:
        """Stretches of the shot, usable and unusable in turn, cut at jumps and to length."""
        most, least = (int(length_s * CLIP_FPS) for length_s in (self.config.max_clip_s, self.config.min_clip_s))
        gathered: list[tuple[DropReason | None, SeenFrame]] = []
        for jumped, reason, frame in self._judged(frames):
            if gathered and (jumped or (gathered[-1][0] is None) != (reason is None)):
                yield from _cut(gathered, most)
                gathered = []
            elif len(gathered) == most + least:
                yield from _cut(gathered[:most], most)
                del gathered[:most]
            gathered.append((reason, frame))
        yield from _cut(gathered, most, is_end=True)

    def _judged(self, frames: Iterable[VideoFrame]) -> Iterator[tuple[bool, DropReason | None, SeenFrame]]:
        """Every frame, with whether something is missing before it, and what keeps it out of a clip."""
        watch = _Watch(self.config, self._mouth, self._finder, self._landmarks)
        judge = StretchFinder(self.config.look_every_frames, self.config.max_gap_frames)
        jumps = JumpFinder(self.config.jumps)
        jumped, reasons, seen = deque[bool](), deque[DropReason | None](), deque[SeenFrame]()
        for frame in frames:
            seen.append(watch.see(frame, judge.is_look))
            face = seen[-1].face
            jumped.extend(jumps.push(frame.pts_s, frame.rgb, None if face is None else face.points))
            still = {DropReason.MOUTH_STATIC} if jumps.still_s > self.config.max_still_s else set()
            reasons.extend(judge.push(face is not None, jumped=watch.jumped, troubles=watch.troubles | still))
            while jumped and reasons:
                yield jumped.popleft(), reasons.popleft(), seen.popleft()
        yield from zip([*jumped, *jumps.finish()], [*reasons, *judge.finish()], seen, strict=True)


@dataclass(frozen=True)
class _Stretch:
    """Frames in a row that make one clip; `reason` is what most of them cannot be used for."""

    reason: DropReason | None
    frames: list[SeenFrame]
    is_last: bool


def _cut(
    gathered: list[tuple[DropReason | None, SeenFrame]], max_frames: int, *, is_end: bool = False
) -> Iterator[_Stretch]:
    begin = 0
    for length in cut_evenly(len(gathered), max_frames):
        reasons = Counter(reason for reason, _ in gathered[begin : begin + length])
        frames = [frame for _, frame in gathered[begin : begin + length]]
        begin += length
        yield _Stretch(reasons.most_common(1)[0][0], frames, is_end and begin == len(gathered))


class _Watch:
    """What is remembered from one frame of a shot to the next."""

    def __init__(
        self, config: TrackConfig, mouth: MouthConfig, finder: FaceFinder, landmarks: LandmarkDetector
    ) -> None:
        self._config, self._mouth, self._finder, self._landmarks = config, mouth, finder, landmarks
        self._max_angles = np.array([config.max_yaw_deg, config.max_pitch_deg, config.max_roll_deg])
        self._box: np.ndarray | None = None
        self._bounds: np.ndarray | None = None
        self._num_missing = 0
        self._second_face = False
        self.jumped = False
        self.troubles: set[DropReason] = set()
        landmarks.reset()

    def see(self, frame: VideoFrame, is_look: bool) -> SeenFrame:
        """The frame as it will be needed; sets `jumped` and, at a look, `troubles`."""
        face = self._landmarks(frame.rgb, frame.time_s)
        self.jumped = False
        if face is not None:
            now = bounds(face.points[None])[0]
            self.jumped = self._bounds is not None and self._has_jumped(self._bounds, now)
            self._box, self._bounds = crop_boxes(face.points[None])[0], now
        self._num_missing = 0 if face is not None else self._num_missing + 1
        region = None
        if self._num_missing <= self._config.max_gap_frames:
            whole = Region(frame.rgb, np.zeros(2, int), np.ones(2, int))
            region = whole if self._box is None else Region.around(frame.rgb, self._box)
        preview = None
        if is_look:
            preview = shrink(frame.rgb, PREVIEW_PX)
            self._look(frame.rgb, face, region)
        return SeenFrame(frame.pts_s, face, region, self._second_face, preview)

    def _has_jumped(self, before: np.ndarray, now: np.ndarray) -> bool:
        move = np.linalg.norm((now[:2] + now[2:]) / 2 - (before[:2] + before[2:]) / 2)
        side = max(np.min(box[2:] - box[:2]) for box in (before, now))
        return bool(move > self._config.max_jump * (1 + self._num_missing) * side)

    def _look(self, rgb: np.ndarray, face: FaceLandmarks | None, region: Region | None) -> None:
        self._second_face = self._finds_second_face(rgb)
        if face is None:  # what was there is still there
            self.troubles = self.troubles - {DropReason.MULTI_FACE}
        else:
            turned = bool((np.abs(head_angles(face.transform[None])[0]) > self._max_angles).any())
            hidden = not turned and region is not None and self._is_mouth_hidden(face, region)
            self.troubles = {DropReason.POSE} if turned else {DropReason.MOUTH_HIDDEN} if hidden else set()
        if self._second_face:
            self.troubles = self.troubles | {DropReason.MULTI_FACE}

    def _is_mouth_hidden(self, face: FaceLandmarks, region: Region) -> bool:
        box = crop_boxes(face.points[None])[0]
        look = look_at_mouth(region.crop(box), to_crop(face.points[None], box[None])[0], self._mouth)
        return look.is_hidden(self._mouth)

    def _finds_second_face(self, rgb: np.ndarray) -> bool:
        """Whether anyone but the followed face is as large as `min_second_face` of it."""
        least = self._config.min_second_face
        if self._bounds is None or self._num_missing > self._config.max_gap_frames:
            sides = shorter_sides(self._finder(rgb))
            return int((sides >= least * sides.max(initial=0)).sum()) > 1
        x0, y0, x1, y1 = self._bounds
        least_px = least * float(min(x1 - x0, y1 - y0))
        boxes = self._finder(rgb, round(max(rgb.shape[:2]) * SECOND_FACE_PX / max(least_px, 1.0)))
        centre_x, centre_y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        elsewhere = (centre_x < x0) | (centre_x > x1) | (centre_y < y0) | (centre_y > y1)
        return bool((elsewhere & (shorter_sides(boxes) >= least_px)).any())


def _until_fault(frames: Iterator[VideoFrame], faults: list[Dropped]) -> Iterator[VideoFrame]:
    """The frames that can be decoded; what ends them too early is put into `faults`."""
    try:
        yield from frames
    except Dropped as fault:
        faults.append(fault)


def _as_fault(dropped: Dropped) -> Row:
    return {"fault_reason": str(dropped.reason), "fault_detail": dropped.detail}
