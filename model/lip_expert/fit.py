"""The lip-sound expert fitted: canonical correlations of lips and sound on clips of many people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.dataset.identities import cluster_identities
from pipeline.rules.config import FinalizeConfig
from stages.audio.pcm16 import from_pcm16
from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS, NUM_LANDMARKS, Row
from stages.face.crop import to_source
from stages.lipsync.lip_sound import MAX_STEPS, MEL_STEPS_PER_FRAME, RATE_HZ, LipSound, lip_features, sound_features

COLUMNS = ("row_id", "source_id", "start_s", "speech_ratio", "landmarks", "crop_box_xyxy_px", "audio_pcm16")
SAMPLES_PER_FRAME = AUDIO_RATE_HZ // CLIP_FPS
PEAK_STEPS = 20
"""A syllable: nearer to the best delay than 200 ms, the agreement is no chance."""


@dataclass(frozen=True)
class SyncTrainConfig:
    num_series: int = 16  # compared; fewer cost accuracy, more gain nothing
    ridge: float = 0.5  # added to the variances, which are 1: holds back what only a few people do
    rounds: int = 3  # of training; before each but the first the sources are moved
    max_source_ms: float = 200.0  # a source is moved by no more
    min_speech_ratio: float = 0.3  # clips with less teach nothing


@dataclass(frozen=True)
class Take:
    """Clips of one source that follow each other, as one.

    Args:
        person: the same number for the same face.
        points: float32 (T, 478, 3) landmarks in source pixels.
        audio: float32 (T * 640,) at 16 kHz.
    """

    source_id: str
    person: int
    points: np.ndarray
    audio: np.ndarray


@dataclass(frozen=True)
class Features:
    """A take as the expert takes it in: lips (T, ...) at 25 Hz, sound (4 T, ...) at 100 Hz."""

    source_id: str
    person: int
    lips: np.ndarray
    sound: np.ndarray

    @staticmethod
    def of(take: Take) -> Features:
        return Features(take.source_id, take.person, lip_features(take.points), sound_features(take.audio))


def read_takes(folders: Sequence[Path], config: SyncTrainConfig) -> list[Take]:
    """Every clip of the Parquet files in these folders that has landmarks, sound and speech.

    Raises:
        ValueError: there is none.
    """
    rows: dict[str, Row] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.parquet"))):
        file = pq.ParquetFile(path)
        for batch in file.iter_batches(1, columns=[*COLUMNS, "face_embedding"]):
            row = batch.to_pylist()[0]
            if row["landmarks"] and row["face_embedding"] and (row["speech_ratio"] or 0) >= config.min_speech_ratio:
                rows[row["row_id"]] = row
    if not rows:
        raise ValueError(f"no clip with landmarks, a face, sound and speech in {', '.join(map(str, folders))}")
    ordered = sorted(rows.values(), key=lambda row: (row["source_id"], row["start_s"]))
    names = cluster_identities(ordered, FinalizeConfig())
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    takes: list[Take] = []
    end_s = 0.0
    for row, name in zip(ordered, names, strict=True):
        take = _take_of(row, numbers[name])
        before = takes[-1] if takes else None
        if before and before.source_id == take.source_id and abs(row["start_s"] - end_s) < 0.5 / CLIP_FPS:
            points, audio = np.concatenate([before.points, take.points]), np.concatenate([before.audio, take.audio])
            takes[-1] = Take(take.source_id, take.person, points, audio)
        else:
            takes.append(take)
        end_s = row["start_s"] + len(take.points) / CLIP_FPS
    return takes


def _take_of(row: Row, person: int) -> Take:
    crop_points = np.asarray(row["landmarks"], np.float32).reshape(-1, NUM_LANDMARKS, 3)
    audio = np.zeros(len(crop_points) * SAMPLES_PER_FRAME, np.float32)
    given = from_pcm16(row["audio_pcm16"])[: len(audio)]
    audio[: len(given)] = given
    return Take(row["source_id"], person, to_source(crop_points, np.asarray(row["crop_box_xyxy_px"])), audio)


def held_out(takes: Sequence[Features], config: SyncTrainConfig) -> Iterator[tuple[LipSound, list[Features]]]:
    """For each person an expert trained on all others, and the person's takes."""
    for person in sorted({take.person for take in takes}):
        yield train([t for t in takes if t.person != person], config), [t for t in takes if t.person == person]


def chance_of(takes: Sequence[Features], config: SyncTrainConfig) -> float:
    """Spread of the agreement with sound of other moments, for one second of it, of people not trained on."""
    spreads: list[float] = []
    for expert, mine in held_out(takes, config):
        for take in mine:
            curve = expert.compare(take.lips, take.sound)
            far = np.abs(np.arange(len(curve)) - curve.argmax()) > PEAK_STEPS
            spreads.append(float(curve[far].std()) * (len(take.lips) / CLIP_FPS) ** 0.5)
    return float(np.mean(spreads))


def train(takes: Sequence[Features], config: SyncTrainConfig) -> LipSound:
    """The expert for these takes, each person counting by the square root of their time."""
    delays = dict.fromkeys((take.source_id for take in takes), 0)
    expert = fit(takes, delays, config)
    for _ in range(config.rounds - 1):
        delays = source_delays(expert, takes, config)
        expert = fit(takes, delays, config)
    return expert


def source_delays(expert: LipSound, takes: Sequence[Features], config: SyncTrainConfig) -> dict[str, int]:
    """Delay of every source's sound in steps of 10 ms, against their median."""
    curves: dict[str, np.ndarray] = {}
    for take in takes:
        curve = len(take.lips) * expert.compare(take.lips, take.sound)
        curves[take.source_id] = curves.get(take.source_id, 0) + curve
    found = {name: int(curve.argmax()) - MAX_STEPS for name, curve in curves.items()}
    median, most = int(np.median(list(found.values()))), round(config.max_source_ms * RATE_HZ / 1000)
    return {name: int(np.clip(delay - median, -most, most)) for name, delay in found.items()}


def fit(takes: Sequence[Features], delays: dict[str, int], config: SyncTrainConfig) -> LipSound:
    """Regularised canonical correlation analysis of lips and sound, each source moved by its delay.

    Source: Hotelling, Relations between two sets of variates, Biometrika 28 (1936); ridge after Vinod (1976).
    """
    frames: dict[int, int] = {}
    for take in takes:
        frames[take.person] = frames.get(take.person, 0) + len(take.lips)
    lips, sound, weights = [], [], []
    for take in takes:
        at = MEL_STEPS_PER_FRAME * np.arange(len(take.lips)) + MEL_STEPS_PER_FRAME // 2 + delays[take.source_id]
        heard = (at >= 0) & (at < len(take.sound))
        seen, said = take.lips[heard], take.sound[at[heard]]
        lips.append(seen - seen.mean(axis=0))
        sound.append(said - said.mean(axis=0))
        weights.append(np.full(len(seen), frames[take.person] ** -0.5))
    weight = np.concatenate(weights)[:, None]
    weight /= weight.sum()
    x, y = np.concatenate(lips), np.concatenate(sound)
    x_scale, y_scale = (np.sqrt((weight * side**2).sum(axis=0)) for side in (x, y))
    x, y = x / x_scale, y / y_scale
    x_white, y_white = (_whitening(side.T @ (weight * side), config.ridge) for side in (x, y))
    left, strength, right = np.linalg.svd(x_white @ (x.T @ (weight * y)) @ y_white)
    count = config.num_series
    share = np.sqrt(strength[:count])
    made = {**asdict(config), "num_people": len(frames), "seconds": round(sum(frames.values()) / CLIP_FPS, 1)}
    return LipSound(
        (x_white @ left[:, :count] * share / x_scale[:, None]).astype(np.float32),
        (y_white @ right[:count].T * share / y_scale[:, None]).astype(np.float32),
        1.0,
        made,
    )


def _whitening(covariance: np.ndarray, ridge: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance + ridge * np.eye(len(covariance)))
    return vectors / np.sqrt(values) @ vectors.T
