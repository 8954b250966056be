"""Two diarizations against the truth: our own joining of windows, and pyannote.audio's pipeline.

    python -m benchmarks.diarization --audio FOLDER [--seconds 8]

Both use the same two networks, segmentation-3.0 and CAM++; pyannote's pipeline joins them by agglomerative clustering,
without PLDA. FOLDER holds sounds of one speaker each. From these, clips are put together in which another speaker says
something in the middle, for half a second to three, and some in which nobody else is heard. pyannote's own sample, a
telephone call with its labels, is scored by its diarization error rate.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from stages.core.command import command, make_parser

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=r"\s*torchcodec")  # it decodes files; this hands over arrays
    import pyannote.audio
    from pyannote.audio import Model
    from pyannote.audio.core.plda import PLDA
    from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.core import Annotation, Segment
from pyannote.database.util import load_rttm
from pyannote.metrics.diarization import DiarizationErrorRate

from pipeline.rules.policy import PolicyConfig
from stages.audio.campplus import EMBEDDING_DIM, MIN_SPEECH_S, VoiceEmbedder
from stages.audio.diarize import GRID_S, DiarizeConfig, Diarizer, Turns, read_network
from stages.audio.vad import SileroVad, VadConfig, join_spans
from stages.core.records import AUDIO_RATE_HZ
from stages.core.weights import WeightStore
from stages.media import decode_audio

SECOND_S = (0.5, 1.0, 2.0, 3.0)
"""Lengths of the second speaker's speech."""
SETTINGS = {
    "segmentation": {"min_duration_off": 0.0},
    "clustering": {"method": "average", "min_cluster_size": 1, "threshold": 1 - DiarizeConfig().min_same_voice_sim},
}


class _Voices(Model):
    """CAM++ in pyannote's interface, which embeds the samples under a mask."""

    def __init__(self, voices: VoiceEmbedder) -> None:
        super().__init__(sample_rate=AUDIO_RATE_HZ)
        self._voices = voices

    @property
    def dimension(self) -> int:
        return EMBEDDING_DIM

    def forward(self, waveforms: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        out = torch.full((len(waveforms), EMBEDDING_DIM), torch.nan)
        for idx, waveform in enumerate(waveforms[:, 0]):
            if weights is not None:
                at = torch.arange(len(waveform)) * weights.shape[1] // len(waveform)
                waveform = waveform[weights[idx, at] > 0.5]  # noqa: PLW2901
            if len(waveform) >= MIN_SPEECH_S * AUDIO_RATE_HZ:
                out[idx] = torch.from_numpy(self._voices(waveform.numpy()))
        return out


class _NoPlda(PLDA):
    """Placeholder that the pipeline requires with every clustering; it is never called."""

    def __init__(self) -> None:
        pass


def pyannote_pipeline(weights: WeightStore, voices: VoiceEmbedder) -> Callable[[np.ndarray], Turns]:
    """pyannote.audio's own pipeline with local weights, agglomerative clustering and no PLDA."""
    pipeline = SpeakerDiarization(
        segmentation=read_network(weights.path("pyannote_segmentation")),
        embedding=_Voices(voices),
        embedding_exclude_overlap=True,
        plda=_NoPlda(),
        clustering="AgglomerativeClustering",
    ).instantiate(SETTINGS)

    def turns(audio: np.ndarray) -> Turns:
        found = pipeline({"waveform": torch.from_numpy(audio)[None], "sample_rate": AUDIO_RATE_HZ, "uri": "audio"})
        return _as_turns(found.speaker_diarization, len(audio))

    return turns


def _as_turns(annotation: Annotation, num_samples: int) -> Turns:
    middles_s = (np.arange(-(-num_samples // round(GRID_S * AUDIO_RATE_HZ))) + 0.5) * GRID_S
    activity = np.zeros((len(middles_s), len(annotation.labels())), bool)
    for idx, label in enumerate(annotation.labels()):
        for segment in annotation.label_timeline(label):
            activity[:, idx] |= (middles_s >= segment.start) & (middles_s < segment.end)
    return Turns(activity[:, np.argsort(-activity.sum(axis=0), kind="stable")])


def _as_annotation(turns: Turns) -> Annotation:
    annotation = Annotation()
    for idx, active in enumerate(turns.activity.T):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(int), [0]]))) * GRID_S
        for start_s, end_s in edges.reshape(-1, 2):
            annotation[Segment(start_s, end_s), idx] = idx
    return annotation


def make_cases(voices: Sequence[np.ndarray], seconds: float) -> list[tuple[float, np.ndarray]]:
    """Length of a second speaker's speech in each sound, and the sound; all of it is speech, equally loud."""
    length = round(seconds * AUDIO_RATE_HZ)
    cases = [(0.0, voice[at : at + length]) for voice in voices for at in range(0, len(voice) - length + 1, length)]
    for k, voice in enumerate(voices):
        for turn, second_s in enumerate(SECOND_S):
            other = voices[(k + 1 + turn % (len(voices) - 1)) % len(voices)]
            begin, num = length // 2 - round(second_s * AUDIO_RATE_HZ / 2), round(second_s * AUDIO_RATE_HZ)
            said = other[:num] * np.sqrt(np.square(voice).mean() / np.square(other[:num]).mean())
            cases.append((second_s, np.concatenate([voice[:begin], said, voice[begin : length - num]])))
    return cases


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.diarization", __doc__)
    parser.add_argument("--audio", type=Path, required=True, help="folder of sounds of one speaker each")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a clip (default: 8)")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    warnings.filterwarnings("ignore")
    weights = WeightStore.from_environment()
    vad, embedder = SileroVad(VadConfig()), VoiceEmbedder(weights, "cpu")
    voices = []
    for path in sorted(args.audio.iterdir()):
        audio = decode_audio(path, 0.0, 60.0)
        speech = join_spans(audio, vad(audio))
        if len(speech) >= args.seconds * AUDIO_RATE_HZ:
            voices.append(speech)
    cases = make_cases(voices, args.seconds)
    ways = {
        "ours": Diarizer(DiarizeConfig(), weights, embedder, "cpu"),
        "pyannote's pipeline": pyannote_pipeline(weights, embedder),
    }
    limit = PolicyConfig().max_second_speaker_ratio
    sample = Path(pyannote.audio.__file__).parent / "sample"
    call, labels = decode_audio(sample / "sample.wav", 0.0, 60.0), load_rttm(sample / "sample.rttm")["sample"]
    print(f"{len(voices)} voices; clips of {args.seconds:g} s in which somebody else speaks for so long")
    print(
        "| | "
        + " | ".join(f"{s:g} s: dropped" for s in (0.0, *SECOND_S))
        + " | share off by | call: DER | CPU-s a clip |"
    )
    print("| --- " * (len(SECOND_S) + 5) + "|")
    for name, way in ways.items():
        start_s = time.process_time()
        shares = np.array([way(audio).second_speaker_ratio for _, audio in cases])
        cpu_s = (time.process_time() - start_s) / len(cases)
        truth = np.array([second_s for second_s, _ in cases])
        dropped = [shares[truth == second_s] > limit for second_s in (0.0, *SECOND_S)]
        der = DiarizationErrorRate()(labels, _as_annotation(way(call)))
        cells = [f"{found.sum()} of {len(found)}" for found in dropped]
        cells += [f"{np.abs(shares - truth / args.seconds).mean():.3f}", f"{der:.3f}", f"{cpu_s:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
