"""The configuration of a run: one frozen dataclass tree, defaults <- YAML files <- `a.b=value`.

Stage configs live in the stage files and are composed here. What changes measurements enters the config hash; `policy`,
`finalize`, `run`, and what in a stage changes only its speed or its access to a site may change at any time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.rules.policy import PolicyConfig
from stages.core.ranges import one_of, ranged
from stages.core.settings import ConfigError, flattened, load_as
from stages.core.storage import is_file, write_text
from stages.crawl import CHANGES_RESULTS, CrawlConfig
from stages.depth import DepthConfig
from stages.face.mouth_look import MouthConfig
from stages.face3d.load import EMBEDDED
from stages.features import FeaturesConfig
from stages.fit.config import GeometryConfig
from stages.hear import HearConfig
from stages.identity import IdentityConfig
from stages.probe import ProbeConfig
from stages.scan import ScanConfig
from stages.speech import SpeechConfig
from stages.sync import SyncConfig
from stages.track import TrackConfig

CONFIG_FILE = "config.yaml"
NOT_MEASURING = ("policy", "run", "finalize")
SPEED_KEYS = ("device", "num_threads", "provider", "block_frames", "chunk_frames")
"""Of stages: on what they run, and in pieces of which size."""


@dataclass(frozen=True)
class PoolConfig:
    """Consecutive stages that share a worker process and its resources.

    Args:
        stages: names, in the plan's order; a pool without any is left out.
        cpus: CPUs an actor claims; None shares the cluster out evenly.
        gpus: GPUs an actor claims; a fraction lets actors share one.
        max_actors: None lets Ray scale the pool with the cluster, also while it grows.
    """

    stages: tuple[str, ...] = ()
    cpus: float | None = None
    gpus: float = 0.0
    max_actors: int | None = ranged(None, low=1)


def _default_pools() -> dict[str, PoolConfig]:
    """Few processes on a laptop; on a cluster split `clip` up, so that its networks get a GPU of their own."""
    return {
        "fetch": PoolConfig(("crawl", "probe")),
        "hear": PoolConfig(("hear",)),
        "scan": PoolConfig(("scan",)),
        "track": PoolConfig(("track",)),
        "clip": PoolConfig(("identity", "mouth", "speech", "sync", "geometry", "depth", "features")),
    }


@dataclass(frozen=True)
class RunConfig:
    """What changes only speed or the way a run behaves."""

    pools: dict[str, PoolConfig] = field(default_factory=_default_pools)
    ray_address: str | None = None  # None: that of the job or of RAY_ADDRESS, else a local Ray of our own
    object_store_bytes: int = 1_000_000_000  # of a local Ray; holds the few blocks in flight
    block_bytes: int = 16_000_000  # rows handed on together: two or three clips
    mode: str = one_of("full", "metadata")  # metadata: list what would be fetched, with totals, and fetch nothing
    list_again: bool = False  # ask playlists, pages and searches anew what they list
    # handed to Ray at once; None: 40 a CPU, 500 at least. Bounds the driver's memory
    wave_sources: int | None = ranged(None, low=1)
    record_limit_s: float = ranged(1800.0, above=0)  # wall time of one record in one stage ...
    # ... plus this much of its video's length; scanning takes a tenth of it
    record_limit_ratio: float = ranged(10.0, low=0)
    max_tries: int = ranged(3, low=1)  # workers that may die of one record before it is set aside
    max_error_ratio: float = 0.05  # of sources; unknown errors beyond it are a bug, not bad luck
    cache_bytes: int = 50_000_000_000  # on each node, of media that lie in a bucket
    strict: bool = False  # raise the first unknown error instead of writing it to the ledger


@dataclass(frozen=True)
class FinalizeConfig:
    """How kept clips become a data set."""

    identity_sim: float = 0.5  # ArcFace cosine that joins two clips: same person .70-.97, others <= .195
    # CAM++ cosine to the face's own voice; 3 s of one voice .61-.9, 99 % of others under .37
    min_voice_sim: float = 0.4
    same_voice_sim: float = 0.6  # CAM++ cosine of two clips of a source that have one voice; others had .47 at most
    other_face_sim: float = 0.3  # ArcFace cosine below which two faces are surely two people's
    # fingerprint bits that may differ; unrelated sound or motion differs in half
    duplicate_bit_error: float = ranged(0.25, high=1)
    duplicate_min_s: float = 2.5  # common sound or motion; in less, chance agrees
    # of a clip, held by better ones: dropped, it repeats more than it adds
    duplicate_min_overlap: float = ranged(0.5, high=1)
    val_ratio: float = 0.05  # of identities
    test_ratio: float = 0.05
    shard_bytes: int = 256_000_000
    clips_per_row_group: int = ranged(1, low=1)  # a clip takes some MB: the loader reads single clips
    depth: bool = True  # False: no depth maps in the shards, half the size; training draws its own from the fit
    exact_whisper: bool = False  # half floats instead of 8 bits, three times the size


@dataclass(frozen=True)
class Config:
    crawl: CrawlConfig = field(default_factory=CrawlConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    hear: HearConfig = field(default_factory=HearConfig)
    scan: ScanConfig = field(default_factory=ScanConfig)
    track: TrackConfig = field(default_factory=TrackConfig)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    mouth: MouthConfig = field(default_factory=MouthConfig)
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    sync: SyncConfig = field(default_factory=SyncConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    depth: DepthConfig = field(default_factory=DepthConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    finalize: FinalizeConfig = field(default_factory=FinalizeConfig)
    run: RunConfig = field(default_factory=RunConfig)


def load_config(files: Sequence[Path] = (), overrides: Sequence[str] = ()) -> Config:
    """The configuration of a pipeline run, as `load_as` reads it.

    Raises:
        ConfigError: as `load_as`, or settings that contradict each other, by name.
    """
    config = load_as(Config, files, overrides)
    if faults := list(_conflicts(config)):
        raise ConfigError("; ".join(faults))
    return config


def _conflicts(config: Config) -> Iterator[str]:
    """What is wrong between settings, or with words that no list of choices holds."""
    policy, finalize, model = config.policy, config.finalize, config.geometry.model
    if policy.min_clip_s > config.track.max_clip_s:
        yield f"policy.min_clip_s={policy.min_clip_s} is above track.max_clip_s={config.track.max_clip_s}"
    if config.depth.model != model:
        yield "depth.model must be the model of geometry.model, which clips are fitted with"
    if model not in EMBEDDED and not model.endswith((".npz", ".mat")):
        yield (
            f"geometry.model={model} must be one of {', '.join(EMBEDDED)}, or the path of an .npz file or of "
            "BFM_model_front.mat"
        )
    if finalize.val_ratio + finalize.test_ratio > 1:
        yield "finalize.val_ratio and finalize.test_ratio together are above 1"
    if not policy.languages or not all(re.fullmatch("[a-z]{2,3}", language) for language in policy.languages):
        yield f"policy.languages={list(policy.languages)} must be ISO 639 codes, such as zh, and one at least"


def stored_config(out: Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration that DIR was made with, where it is stored, with other thresholds.

    Raises:
        ConfigError: as `load_config`, or an override of what cannot be changed without measuring.
    """
    for override in overrides:
        if not override.startswith(("policy.", "finalize.")):
            raise ConfigError(f"{override!r}: only policy.* and finalize.* can be decided again without measuring")
    return load_config(config_files(out), overrides)


def config_files(out: Path) -> list[Path]:
    """The configuration that DIR was made with, for `load_config`; none before its first run."""
    file = out / CONFIG_FILE
    return [file] if is_file(file) else []


def store_config(out: Path, config: Config) -> None:
    write_text(out / CONFIG_FILE, to_yaml(config))


def to_yaml(config: Config) -> str:
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def measuring(config: Config) -> dict[str, Any]:
    """The part of the configuration that changes what is measured, by `stage.key`."""
    stages = {key: value for key, value in asdict(config).items() if key not in NOT_MEASURING}
    stages["crawl"] = {key: stages["crawl"][key] for key in CHANGES_RESULTS}
    return {key: value for key, value in flattened(stages, "").items() if key.rsplit(".", 1)[1] not in SPEED_KEYS}


def config_hash(config: Config) -> str:
    return hashlib.sha256(json.dumps(measuring(config), sort_keys=True).encode()).hexdigest()[:12]


def differing_keys(a: Config, b: Config) -> list[str]:
    """`stage.key: old -> new` of every measuring key in which two configurations differ."""
    old, new = measuring(a), measuring(b)
    return [f"{key}: {value} -> {new[key]}" for key, value in old.items() if value != new[key]]
