"""Do the lips move with the sound, and if not, how far apart are they? Small constant delays are taken out.

An expert (`stages/lipsync/lip_sound.py`, or SyncNet's or LatentSync's where their weights are supplied) says for each
delay of the sound how well it goes with the lips. The best delay is the clip's offset; how far it stands out says
whether it is their sound at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.audio.pcm16 import to_pcm16
from stages.core.ranges import one_of, ranged
from stages.core.reasons import Dropped
from stages.core.records import AUDIO_RATE_HZ, CLIP_FPS, Row
from stages.core.weights import WeightStore
from stages.lipsync.curves import Expert, best_delay

EXPERTS = ("lips", "syncnet", "latentsync")


@dataclass(frozen=True)
class SyncConfig:
    """How delays are searched, and which are taken out."""

    # the embedded one; syncnet and latentsync need the user's weights and other thresholds
    expert: str = one_of(*EXPERTS)
    max_offset_ms: int = ranged(600, low=40, high=800)  # searched on both sides
    # what is found is right to 40 ms: moving the sound by less would add as much as it takes
    min_correct_ms: int = ranged(60, at_most="max_correct_ms")
    # six frames, as LatentSync; what is further apart was put together by someone else
    max_correct_ms: int = ranged(240, at_most="max_offset_ms")
    # the embedded expert's; under 1 % of 3 s windows with wrong sound reach it
    min_correct_conf: float = ranged(3.5, low=0)
    max_drift_ms: int = 80  # between a clip's halves: two frames; a delay that moves is not taken out
    min_half_ms: int = 3000  # of a half: in 3 s one in nine delays is found in a wrong place, in 2 s one in five
    device: str = one_of("auto", "cpu", "cuda")  # of the user's experts: cpu, cuda or auto


def load_expert(config: SyncConfig, weights: WeightStore) -> Expert:
    """The expert of a configuration.

    Raises:
        ValueError: there is none of that name.
        MissingWeights: the user has not supplied its file.
    """
    if config.expert == "lips":
        from stages.lipsync.lip_sound import LipSound

        return LipSound.load()
    if config.expert == "syncnet":
        from stages.lipsync.syncnet import SyncNetExpert

        return SyncNetExpert(weights, config.device)
    if config.expert == "latentsync":
        from stages.lipsync.latentsync import StableSyncNetExpert

        return StableSyncNetExpert(weights, config.device)
    raise ValueError(f"sync.expert is {config.expert!r}, want one of {', '.join(EXPERTS)}")


class SyncMeasurer:
    """Adds the SYNC columns, and moves `audio_pcm16` where the delay is small, certain and constant."""

    def __init__(self, config: SyncConfig, weights: WeightStore) -> None:
        self.config, self._expert = config, load_expert(config, weights)

    def __call__(self, row: Row) -> Row:
        measured = self.measure(row)
        shift_ms = self._shift_ms(measured)
        if not shift_ms:
            return row | measured | {"av_shift_ms": 0.0}
        from stages.media import decode_audio

        late_s = shift_ms / 1000
        try:
            audio = decode_audio(Path(row["media_path"]), row["start_s"] + late_s, row["end_s"] + late_s)
        except Dropped as fault:
            raise Dropped(fault.reason, fault.detail, measured) from fault
        pcm16 = to_pcm16(audio)
        return row | measured | {"av_shift_ms": shift_ms, "audio_pcm16": pcm16}

    def measure(self, row: Row) -> Row:
        """The measured columns alone.

        Args:
            row: what the expert reads; `speech_ratio`, 1 where it is not known.
        """
        config, curves = self.config, self._expert.curves(row)
        best = best_delay(curves.whole, curves.delays_ms, config.max_offset_ms)
        offset_ms = float(curves.delays_ms[best])
        length_s = len(row["audio_pcm16"]) / AUDIO_RATE_HZ
        measured = {
            "sync_expert": self._expert.name,
            "av_offset_ms": offset_ms,
            "av_offset_frames": round(offset_ms * CLIP_FPS / 1000),
            "sync_conf": self._expert.confidence(curves.whole, best, length_s * row.get("speech_ratio", 1.0)),
            "sync_dist": self._expert.distance(float(curves.whole[best])),
        }
        if length_s * 1000 >= 2 * config.min_half_ms:
            halves = [best_delay(half, curves.delays_ms, config.max_offset_ms) for half in curves.halves]
            measured["av_drift_ms"] = float(curves.delays_ms[halves[1]] - curves.delays_ms[halves[0]])
        return measured

    def _shift_ms(self, measured: Row) -> float:
        config, offset_ms = self.config, measured["av_offset_ms"]
        certain = measured["sync_conf"] >= config.min_correct_conf
        constant = abs(measured.get("av_drift_ms", 0.0)) <= config.max_drift_ms
        small = config.min_correct_ms <= abs(offset_ms) <= config.max_correct_ms
        return offset_ms if certain and constant and small else 0.0
