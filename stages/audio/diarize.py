"""Who speaks when: pyannote's segmentation in windows, joined across windows by CAM++ voices.

Source: Plaquet and Bredin, Powerset multi-class cross entropy loss for neural speaker diarization, arXiv:2310.13025.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.core.ranges import ranged
from stages.core.records import AUDIO_RATE_HZ
from stages.core.tensors import read_tensors
from stages.core.weights import WeightStore

if TYPE_CHECKING:
    from pyannote.audio.models.segmentation import PyanNet

    from stages.audio.campplus import VoiceEmbedder

GRID_S = 0.02
"""Grid of the reported activity; the network's own frames are 16.9 ms."""
_LOCAL_SPEAKERS, _SPEAKERS_AT_ONCE = 3, 2  # speakers that segmentation-3.0 distinguishes within a window


@dataclass(frozen=True)
class DiarizeConfig:
    """How windows are cut and when two voices are one."""

    window_s: float = ranged(10.0, above=0)  # Length of a segmentation window. segmentation-3.0 was trained on 10 s
    # Hop between segmentation windows. pyannote's pipeline hops 1 s; a clip is one window anyway
    hop_s: float = ranged(5.0, above=0)
    min_voice_s: float = ranged(0.8, above=0)  # Least speech of one speaker alone for a reliable embedding
    # Least cosine of two voices that are one speaker. Halves of one voice had .54-.94, different voices .50 at most (17
    # recordings)
    min_same_voice_sim: float = 0.5
    # Length of the pieces into which speech of one segmented speaker is cut, to find a second voice in it
    piece_s: float = ranged(1.0, above=0)
    piece_hop_s: float = ranged(0.5, above=0)  # Hop between pieces
    min_pieces: int = 3  # Least number of pieces of a voice. 3 are 2 s of speech
    # Mean cosine below which two groups of pieces are two voices. One voice had .29 and more, two .20 (95 %)
    max_other_voice_sim: float = 0.25


def activity_on_grid(activity: np.ndarray, first_s: float, step_s: float, num_cells: int) -> np.ndarray:
    """Frames of any rate sampled on the 20 ms grid: the frame nearest to the middle of each cell.

    Args:
        activity: (F, S) bool.
        first_s: middle of the first frame.
        step_s: time between frames.
    Returns:
        (num_cells, S) bool.
    """
    centres_s = (np.arange(num_cells) + 0.5) * GRID_S
    frames = np.clip(np.round((centres_s - first_s) / step_s).astype(int), 0, len(activity) - 1)
    return activity[frames]


def cluster_voices(embeddings: np.ndarray, min_sim: float) -> np.ndarray:
    """Join voices, nearest pair of clusters first, while their mean cosine is at least `min_sim`.

    Args:
        embeddings: (V, D), unit length.
    Returns:
        int (V,) cluster of each voice, numbered from 0 in order of appearance.
    """
    clusters = [[i] for i in range(len(embeddings))]
    sims = embeddings @ embeddings.T
    while len(clusters) > 1:
        pairs = [(i, j) for j in range(len(clusters)) for i in range(j)]
        linkage = [float(sims[np.ix_(clusters[i], clusters[j])].mean()) for i, j in pairs]
        best = int(np.argmax(linkage))
        if linkage[best] < min_sim:
            break
        first, second = pairs[best]
        clusters[first] += clusters.pop(second)
    labels = np.zeros(len(embeddings), int)
    for label, members in enumerate(sorted(clusters, key=min)):
        labels[members] = label
    return labels


def two_groups(embeddings: np.ndarray) -> np.ndarray:
    """Split embeddings (V, D) into two groups by Ward's criterion: bool (V,)."""
    from scipy.cluster.hierarchy import fcluster, linkage

    return fcluster(linkage(embeddings, "ward"), 2, "maxclust") == 2


@dataclass(frozen=True)
class Turns:
    """Who speaks when.

    Args:
        activity: (T, S) bool on the 20 ms grid, a column per speaker, the main speaker first.
    """

    activity: np.ndarray

    @property
    def num_speakers(self) -> int:
        return self.activity.shape[1]

    @property
    def second_speaker_ratio(self) -> float:
        """Share of speech in which somebody besides the main speaker is heard."""
        return self._share(np.count_nonzero(self.activity[:, 1:], axis=1) > 0)

    @property
    def overlap_ratio(self) -> float:
        """Share of speech with two voices at once."""
        return self._share(np.count_nonzero(self.activity, axis=1) > 1)

    @property
    def main_alone(self) -> np.ndarray:
        """(T,) bool: only the main speaker speaks."""
        main, others = np.hsplit(self.activity, [1])
        return (np.count_nonzero(main, axis=1) == 1) & (np.count_nonzero(others, axis=1) == 0)

    def _share(self, cells: np.ndarray) -> float:
        speech = self.activity.any(axis=1).sum()
        return float(cells.sum() / speech) if speech else 0.0


def samples_of(audio: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The samples inside the marked cells of the 20 ms grid."""
    mask = np.repeat(cells, round(GRID_S * AUDIO_RATE_HZ))[: len(audio)]
    return audio[: len(mask)][mask]


def read_network(path: Path) -> PyanNet:
    """segmentation-3.0 from its checkpoint. pyannote's own `from_pretrained` would run any code in it."""
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet
    from torch.torch_version import TorchVersion

    checkpoint = read_tensors(path, (Specifications, Problem, Resolution, TorchVersion))
    network = PyanNet(**checkpoint["hyper_parameters"])
    network.specifications = checkpoint["pyannote.audio"]["specifications"]
    network.setup()
    network.load_state_dict(checkpoint["state_dict"])
    return network


class Diarizer:
    """segmentation-3.0 and CAM++.

    pyannote reports its use to its makers unless `PYANNOTE_METRICS_ENABLED=0`, which `main` sets.

    Args:
        voices: the embedder, shared with the stage that also embeds the clip's voice.
        device: cpu, cuda or auto.
    Raises:
        MissingWeights: a checkpoint was found nowhere.
    """

    def __init__(
        self, config: DiarizeConfig, weights: WeightStore, voices: VoiceEmbedder, device: str = "auto"
    ) -> None:
        import torch

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"\s*torchcodec")  # needed for files only; this passes arrays
            from pyannote.audio.utils.powerset import Powerset

        self.config = config
        self._voices = voices
        self._device = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")
        if device != "auto":
            self._device = torch.device(device)
        self._model = read_network(weights.path("pyannote_segmentation")).eval().to(self._device)
        self._powerset = Powerset(_LOCAL_SPEAKERS, _SPEAKERS_AT_ONCE).to(self._device)
        frames = self._model.receptive_field
        self._first_s, self._step_s = frames.start + frames.duration / 2, frames.step

    def __call__(self, audio: np.ndarray) -> Turns:
        """Turns in some audio.

        Args:
            audio: float32 (N,) mono 16 kHz, at least 0.1 s.
        """
        num_cells = -(-len(audio) // round(GRID_S * AUDIO_RATE_HZ))
        windows = [  # [(first cell, (cells, local speakers))]
            (first, self._split_voices(audio[first * round(GRID_S * AUDIO_RATE_HZ) :], local))
            for first, local in self._local_turns(audio, num_cells)
        ]
        speakers = [(first, active) for first, local in windows for active in local.T if active.any()]
        if not speakers:
            return Turns(np.zeros((num_cells, 0), bool))
        labels = self._global_labels(audio, windows, speakers)
        votes = np.zeros((num_cells, labels.max() + 1))
        looks = np.zeros((num_cells, 1))
        for first, local in windows:
            looks[first : first + len(local)] += 1
        for (first, active), label in zip(speakers, labels, strict=True):
            votes[first : first + len(active), label] += active
        activity = votes >= 0.5 * looks
        activity = activity[:, activity.any(axis=0)]
        order = np.argsort(-activity.sum(axis=0), kind="stable")
        return Turns(activity[:, order])

    def _local_turns(self, audio: np.ndarray, num_cells: int) -> list[tuple[int, np.ndarray]]:
        import torch

        length, hop = (round(s * AUDIO_RATE_HZ) for s in (self.config.window_s, self.config.hop_s))
        cell = round(GRID_S * AUDIO_RATE_HZ)
        starts = [0] if len(audio) <= length else [*range(0, len(audio) - length, hop), len(audio) - length]
        windows = []
        for start in starts:
            start -= start % cell  # noqa: PLW2901
            window = audio[start : start + length]
            with torch.inference_mode():
                scores = self._model(torch.from_numpy(np.ascontiguousarray(window))[None, None].to(self._device))
                local = self._powerset(scores)[0].bool().cpu().numpy()
            cells = min(-(-len(window) // cell), num_cells - start // cell)
            windows.append((start // cell, activity_on_grid(local, self._first_s, self._step_s, cells)))
        return windows

    def _split_voices(self, audio: np.ndarray, local: np.ndarray) -> np.ndarray:
        """Local speakers (cells, S), each split into its voices.

        Segmentation takes voices that follow each other without a pause for one speaker.
        """
        crowd = local.sum(axis=1)
        parts = [part for active in local.T for part in self._voices_of(audio, active, active & (crowd == 1))]
        return np.stack(parts, axis=1)

    def _voices_of(self, audio: np.ndarray, active: np.ndarray, alone: np.ndarray) -> list[np.ndarray]:
        speech, config = samples_of(audio, alone), self.config
        if len(speech) < (config.piece_s + (2 * config.min_pieces - 1) * config.piece_hop_s) * AUDIO_RATE_HZ:
            return [active]
        voices = self._voices.pieces(speech, config.piece_s, config.piece_hop_s)
        is_other = two_groups(voices)
        sim = float((voices[is_other] @ voices[~is_other].T).mean())
        if min(is_other.sum(), (~is_other).sum()) < config.min_pieces or sim >= config.max_other_voice_sim:
            return [active]
        place_s = (np.cumsum(alone) - 0.5) * GRID_S  # place of each cell in `speech`, or of the cell before
        piece = np.round((place_s - config.piece_s / 2) / config.piece_hop_s).astype(int).clip(0, len(voices) - 1)
        halves = [side[piece] for side in (~is_other, is_other)]
        return [part for half in halves for part in self._voices_of(audio, active & half, alone & half)]

    def _global_labels(
        self, audio: np.ndarray, windows: list[tuple[int, np.ndarray]], speakers: list[tuple[int, np.ndarray]]
    ) -> np.ndarray:
        """The speaker of the whole audio for each window's local speaker.

        Voices that speak alone long enough are clustered. A shorter one joins the nearest cluster that its own window
        does not hold yet, because segmentation distinguished it from those. Without such a cluster it is a new speaker.
        """
        from stages.audio.campplus import MIN_SPEECH_S

        cell = round(GRID_S * AUDIO_RATE_HZ)
        crowd = {first: local.sum(axis=1) for first, local in windows}
        speech = []
        for first, active in speakers:
            alone = active & (crowd[first] == 1)
            speech.append(samples_of(audio[first * cell :], alone if alone.any() else active))
        voices = [self._voices(s) if len(s) >= MIN_SPEECH_S * AUDIO_RATE_HZ else None for s in speech]
        clear = [i for i, s in enumerate(speech) if len(s) >= self.config.min_voice_s * AUDIO_RATE_HZ]
        labels = np.full(len(speakers), -1)
        centroids: list[np.ndarray] = []
        if clear:
            clear_voices = np.array([voices[i] for i in clear])
            labels[clear] = cluster_voices(clear_voices, self.config.min_same_voice_sim)
            centroids = [clear_voices[labels[clear] == label].mean(axis=0) for label in range(labels.max() + 1)]
        for idx in np.flatnonzero(labels < 0):
            taken = {labels[i] for i in range(len(speakers)) if speakers[i][0] == speakers[idx][0]}
            free = [label for label in range(len(centroids)) if label not in taken]
            voice = voices[idx]
            if free and voice is not None:
                labels[idx] = max(free, key=lambda label: float(voice @ centroids[label]))
            else:
                labels[idx] = labels.max() + 1
        return labels
