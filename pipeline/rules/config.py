"""The configuration of a run: one frozen dataclass tree, defaults <- YAML files <- `a.b=value`.

Stage configs live in the stage files and are composed here. What changes measurements enters the config hash; `policy`,
`finalize`, `run`, and what in a stage changes only its speed or its access to a site may change at any time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.rules.policy import PolicyConfig
from stages.core.ranges import one_of, ranged
from stages.core.settings import ConfigError, flattened, load_as
from stages.core.storage import is_file, write_text
from stages.crawl import CHANGES_RESULTS, CrawlConfig, without_password
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
"""Stage settings that change only speed: device, threads, block size."""


@dataclass(frozen=True)
class PoolConfig:
    """Consecutive stages that share a worker process and its resources.

    Args:
        stages: names of its stages, in the plan's order; a pool without any is left out.
        cpus: CPUs that an actor claims; None divides the cluster evenly.
        gpus: GPUs that an actor claims; a fraction lets actors share one.
        max_actors: largest number of actors; None lets Ray scale the pool with the cluster, also while it grows.
    """

    stages: tuple[str, ...] = ()
    cpus: float | None = None
    gpus: float = 0.0
    max_actors: int | None = ranged(None, low=1)


def _default_pools() -> dict[str, PoolConfig]:
    """Few processes for a laptop. On a cluster, split `clip` so that its networks get their own GPU."""
    return {
        "fetch": PoolConfig(("crawl", "probe")),
        "hear": PoolConfig(("hear",)),
        "scan": PoolConfig(("scan",)),
        "track": PoolConfig(("track",)),
        "clip": PoolConfig(("identity", "mouth", "speech", "sync", "geometry", "depth", "features")),
    }


@dataclass(frozen=True)
class RunConfig:
    """Settings that change only the speed or the behaviour of a run."""

    # Pools of consecutive stages, by name. Each pool shares a worker process
    pools: dict[str, PoolConfig] = field(default_factory=_default_pools)
    # Address of the Ray cluster. None: that of the job or of RAY_ADDRESS, else a local Ray of our own
    ray_address: str | None = None
    object_store_bytes: int = 1_000_000_000  # Size of a local Ray's object store. It holds the few blocks in flight
    block_bytes: int = 16_000_000  # Size of a block of rows that stages hand on together. 16 MB are two or three clips
    # full runs all stages. metadata prints what would be fetched, with totals, and fetches nothing
    mode: str = one_of("full", "metadata")
    list_again: bool = False  # Ask playlists, pages and searches again for their entries
    # Sources handed to Ray at once, which bounds the driver's memory. None: 40 a CPU, 500 at least
    wave_sources: int | None = ranged(None, low=1)
    # Wall time of one record in one stage, before record_limit_ratio is added
    record_limit_s: float = ranged(1800.0, above=0)
    # Wall time added to record_limit_s, as a multiple of the video's length. Scanning takes a tenth of it
    record_limit_ratio: float = ranged(10.0, low=0)
    max_tries: int = ranged(3, low=1)  # Workers that may die of one record before it is set aside
    # Share of sources that may end in an unknown error. More of them are a bug and stop the run
    max_error_ratio: float = 0.05
    cache_bytes: int = 50_000_000_000  # Size of each node's cache of media that lie in a bucket
    strict: bool = False  # Raise the first unknown error instead of writing it to the ledger


@dataclass(frozen=True)
class FinalizeConfig:
    """How kept clips become a data set."""

    # ArcFace cosine from which two clips show one person. The same person had .70-.97, others .195 at most
    identity_sim: float = 0.5
    # Least CAM++ cosine of a clip to the voice of its face. 3 s of one voice had .61-.9, 99 % of others under .37
    min_voice_sim: float = 0.4
    # CAM++ cosine from which two clips of a source have one voice. Other voices had .47 at most
    same_voice_sim: float = 0.6
    other_face_sim: float = 0.3  # ArcFace cosine below which two faces surely belong to two people
    # Share of fingerprint bits in which duplicates may differ. Unrelated sound or motion differs in half
    duplicate_bit_error: float = ranged(0.25, high=1)
    duplicate_min_s: float = 2.5  # Least sound or motion that duplicates have in common. In less, chance agrees
    # Share of a clip held by better clips from which it is dropped. From 0.5 on it repeats more than it adds
    duplicate_min_overlap: float = ranged(0.5, high=1)
    val_ratio: float = 0.05  # Share of identities in the validation split
    test_ratio: float = 0.05  # Share of identities in the test split
    shard_bytes: int = 256_000_000  # Size at which a shard is closed
    # Clips in a Parquet row group. A clip takes some MB, and the loader reads single clips
    clips_per_row_group: int = ranged(1, low=1)
    # Write depth maps to the shards. Without them shards take half the size, and training draws depth from the fit
    depth: bool = True
    exact_whisper: bool = False  # Write Whisper's states as half floats instead of 8 bits, at three times the size


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
    """Contradictions between settings, and values that no list of choices covers."""
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
    """The stored configuration of DIR with other thresholds; the defaults if none is stored.

    Raises:
        ConfigError: as `load_config`, or an override of a key that needs new measurements.
    """
    for override in overrides:
        if not override.startswith(("policy.", "finalize.")):
            raise ConfigError(f"{override!r}: only policy.* and finalize.* can be decided again without measuring")
    return load_config(config_files(out), overrides)


def config_files(out: Path) -> list[Path]:
    """The stored configuration file of DIR, for `load_config`; none before its first run."""
    file = out / CONFIG_FILE
    return [file] if is_file(file) else []


def store_config(out: Path, config: Config) -> None:
    write_text(out / CONFIG_FILE, to_yaml(config))


def to_yaml(config: Config) -> str:
    """The configuration as it is stored, without the proxy's password."""
    proxy = config.crawl.proxy and without_password(config.crawl.proxy)
    return OmegaConf.to_yaml(OmegaConf.structured(replace(config, crawl=replace(config.crawl, proxy=proxy))))


def measuring(config: Config) -> dict[str, Any]:
    """The settings that change measurements, by `stage.key`."""
    stages = {key: value for key, value in asdict(config).items() if key not in NOT_MEASURING}
    stages["crawl"] = {key: stages["crawl"][key] for key in CHANGES_RESULTS}
    return {key: value for key, value in flattened(stages, "").items() if key.rsplit(".", 1)[1] not in SPEED_KEYS}


def config_hash(config: Config) -> str:
    return hashlib.sha256(json.dumps(measuring(config), sort_keys=True).encode()).hexdigest()[:12]


def differing_keys(a: Config, b: Config) -> list[str]:
    """`stage.key: old -> new` of every measuring key in which two configurations differ."""
    old, new = measuring(a), measuring(b)
    return [f"{key}: {value} -> {new[key]}" for key, value in old.items() if value != new[key]]
