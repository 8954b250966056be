"""The ordered list of stages, with what each one needs, reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from pipeline.job.tombstones import Gatekeeper
from pipeline.rules.config import Config
from stages.core.node_cache import NodeCache
from stages.core.records import STAGE_COLUMNS, Row
from stages.core.weights import WeightStore
from stages.crawl import Gate

StageFunction = Callable[[Row], Row | Iterator[Row]]


@dataclass(frozen=True)
class Stage:
    """One line of the plan.

    Args:
        build: loads what the stage needs and returns its entry; called once per worker process.
        reads: columns that an earlier stage or the manifest has written.
        payload: columns it writes beside its own of `STAGE_COLUMNS`.
        weights_of: model files it opens; a function where the settings choose them.
        splits_into: for a 1:N stage, the unit of the rows it makes: shot or clip.
        judged_before: the policy also judges before the stage, because the manifest may be enough to drop a row.
        needs_gate: `build` takes a `Gate`, the one that all workers of a run share.
    """

    name: str
    build: Callable[[Config, WeightStore, Path], StageFunction]
    reads: tuple[str, ...]
    payload: tuple[str, ...] = ()
    weights_of: tuple[str, ...] | Callable[[Config], tuple[str, ...]] = ()
    splits_into: str | None = None
    judged_before: bool = False
    needs_gate: bool = False

    @property
    def splits(self) -> tuple[str, str] | None:
        """For a 1:N stage, the index and count columns of the rows it makes."""
        return (f"{self.splits_into}_idx", f"num_{self.splits_into}s") if self.splits_into else None

    @property
    def writes(self) -> tuple[str, ...]:
        return (*(STAGE_COLUMNS[self.name].names if self.name in STAGE_COLUMNS else ()), *self.payload)

    def weights(self, config: Config) -> tuple[str, ...]:
        return self.weights_of(config) if callable(self.weights_of) else self.weights_of

    def behind(self, gate: Gate) -> Stage:
        """The same stage; one that needs a gate is built with this one."""
        return replace(self, build=partial(cast(Any, self.build), gate=gate)) if self.needs_gate else self


def node_cache(config: Config, weights: WeightStore) -> NodeCache:
    """The node's cache of media, beside the model files on the same disk."""
    return NodeCache(weights.cache.parent / "objects", config.run.cache_bytes)


def _crawl(config: Config, weights: WeightStore, out: Path, gate: Gate | None = None) -> StageFunction:
    from stages.crawl import Crawler

    return Gatekeeper(Crawler(config.crawl, out / "media", gate, node_cache(config, weights)), out)


def _probe(config: Config, weights: WeightStore, out: Path) -> StageFunction:
    from stages.probe import probe

    return lambda row: probe(row, config.probe)


def _hear(config: Config, weights: WeightStore, out: Path) -> StageFunction:
    from stages.hear import AudioGate

    return AudioGate(config.hear, weights)


def _scan(config: Config, weights: WeightStore, out: Path) -> StageFunction:
    from stages.scan import ShotScanner

    return ShotScanner(config.scan, weights)


def _track(config: Config, weights: WeightStore, out: Path) -> StageFunction:
    from stages.track import FaceTracker

    return FaceTracker(config.track, config.mouth, weights)


def _identity(config: Config, weights: WeightStore, out: Path) -> StageFunction:
    from stages.identity import IdentityChecker

    return IdentityChecker(config.identity, weights)


def _mouth(config: Config, weights: WeightStore, out: Path) -> StageFunction:
    from stages.mouth import measure_mouth

    return lambda row: measure_mouth(row, config.mouth)


def _speech(config: Config, weights: WeightStore, out: Path) -> StageFunction:
    from stages.speech import SpeechAnalyser

    return SpeechAnalyser(config.speech, weights)


def _sync(config: Config, weights: WeightStore, out: Path) -> StageFunction:
    from stages.sync import SyncMeasurer

    return SyncMeasurer(config.sync, weights)


def _geometry(config: Config, weights: WeightStore, out: Path) -> StageFunction:
    if config.geometry.method == "deep3d":
        from stages.fit.deep3d import Deep3dFitter

        return Deep3dFitter(config.geometry, weights)
    from stages.geometry import FaceFitter

    return FaceFitter(config.geometry, config.mouth)


def _depth(config: Config, weights: WeightStore, out: Path) -> StageFunction:
    from stages.depth import DepthRenderer

    return DepthRenderer(config.depth)


def _features(config: Config, weights: WeightStore, out: Path) -> StageFunction:
    from stages.features import WhisperFeatures

    return WhisperFeatures(config.features, weights)


_SPANS = ("spans", "span_names")
_WHISPER = ("whisper_base", "whisper_base_config", "whisper_base_tokenizer", "whisper_base_vocabulary")


def _encoder(config: Config) -> tuple[str, ...]:
    return (f"whisper_{config.features.model}",)


def _regressor(config: Config) -> tuple[str, ...]:
    return ("deep3d",) if config.geometry.method == "deep3d" else ()


def _sync_weights(config: Config) -> tuple[str, ...]:
    return {"syncnet": ("syncnet",), "latentsync": ("stable_syncnet",)}.get(config.sync.expert, ())


STAGES: tuple[Stage, ...] = (
    # Cheapest rejection first: sound before any frame is decoded, a coarse look before tracking.
    Stage(
        "crawl",
        _crawl,
        reads=("source_id", "uri", "expect_sha256", "expect_format_id"),
        judged_before=True,  # nothing is fetched without a sufficient licence and consent
        needs_gate=True,
    ),
    Stage("probe", _probe, reads=("media_path", *_SPANS)),
    Stage("hear", _hear, reads=("media_path", "duration_s", "audio_codec", *_SPANS), weights_of=("dnsmos", *_WHISPER)),
    Stage(
        "scan",
        _scan,
        reads=("media_path", "duration_s", *_SPANS),
        payload=("thumb_jpeg",),
        weights_of=("yunet",),
        splits_into="shot",
    ),
    Stage(
        "track",
        _track,
        reads=("media_path", "shot_start_s", "shot_end_s"),
        payload=(
            "pts_s",
            "face_jpeg",
            "landmarks",
            "face_found",
            "blendshapes",
            "crop_box_xyxy_px",
            "bbox_xyxy_px",
            "audio_pcm16",
        ),
        weights_of=("face_landmarker", "yunet"),
        splits_into="clip",
    ),
    Stage(
        "identity",
        _identity,
        reads=("face_jpeg", "landmarks", "crop_box_xyxy_px"),
        weights_of=("arcface_mbf", "gender", "age"),
    ),
    Stage("mouth", _mouth, reads=("face_jpeg", "landmarks", "crop_box_xyxy_px")),
    Stage(
        "speech",
        _speech,
        reads=("audio_pcm16",),
        weights_of=("pyannote_segmentation", "campplus", "dnsmos", *_WHISPER),
    ),
    Stage(
        "sync",
        _sync,
        reads=(
            *("landmarks", "crop_box_xyxy_px", "face_jpeg", "audio_pcm16", "speech_ratio"),
            *("media_path", "start_s", "end_s"),  # the sound of a clip that is moved
        ),
        payload=("audio_pcm16",),
        weights_of=_sync_weights,
    ),
    Stage(
        "geometry",
        _geometry,
        reads=("face_jpeg", "landmarks", "face_found", "crop_box_xyxy_px", "mouth_visible_ratio"),
        payload=("pose", "id_coeff", "exp_coeff"),
        weights_of=_regressor,
    ),
    Stage(
        "depth",
        _depth,
        reads=("pose", "id_coeff", "exp_coeff", "crop_box_xyxy_px", "geometry_model"),
        payload=("depth",),
    ),
    Stage(
        "features",
        _features,
        reads=("audio_pcm16", "landmarks", "crop_box_xyxy_px"),
        payload=("whisper",),
        weights_of=_encoder,
    ),
)

STAGE_NAMES: tuple[str, ...] = tuple(stage.name for stage in STAGES)
