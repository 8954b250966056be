"""Clips whose voice does not belong to the face: a narrator's, an interviewer's or a dub's.

A face has the voice that most of its clips have. Within one source a voice also has one face: what is heard over the
pictures of several people is said by at most one of them. Both are decided by counting seconds over many clips, so this
belongs to `finalize`; a face or a source with few clips is not judged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.dataset.identities import merge
from pipeline.rules.config import FinalizeConfig
from stages.core.records import CLIP_FPS, Row

MIN_CLIPS = 3
"""Least number of clips of a face that is judged: with two different clips, neither is known to be the wrong one."""
MAX_COMPARED = 1000
"""Largest number of clips of one face that are compared with each other, spread over all: 4 MB."""


def measure_voices(rows: Sequence[Row], people: Sequence[str], config: FinalizeConfig) -> np.ndarray:
    """Similarity of each clip's voice to the voice of its face.

    The face's voice is the one that most of its other clips have, by length.

    Args:
        rows: clips with `voice_embedding` (192,) of unit length, or without one.
        people: identity of each clip's face.
    Returns:
        float (N,): mean cosine to the face's other clips with its voice; NaN without a voice, for a face with fewer
        than `MIN_CLIPS` clips, and if no voice has more than half of them.
    """
    sims = np.full(len(rows), np.nan)
    for clips in _grouped(people, rows):
        if len(clips) < MIN_CLIPS:
            continue
        voices, seconds = _voices(rows, clips), _seconds(rows, clips)
        some = np.unique(np.linspace(0, len(clips) - 1, min(MAX_COMPARED, len(clips))).astype(int))
        like = voices[some] @ voices[some].T >= config.min_voice_sim
        core = some[like[(like @ seconds[some]).argmax()]]
        if len(core) < 2 or seconds[core].sum() <= seconds[some].sum() / 2:
            continue
        is_core = np.isin(np.arange(len(clips)), core)
        sims[clips] = (voices @ voices[core].sum(axis=0) - is_core) / (len(core) - is_core)
    return sims


def voices_elsewhere(rows: Sequence[Row], people: Sequence[str], config: FinalizeConfig) -> dict[int, str]:
    """Clips whose voice belongs to another face of the source, with that face; "" if no face has more than half of it.

    Faces that may belong to one person, split by a look or a light, are not compared with each other.
    """
    found: dict[int, str] = {}
    for voice in _shared_voices(rows, people, config.same_voice_sim):
        names = np.array([people[idx] for idx in voice])
        seconds = _seconds(rows, voice)
        heard = {name: float(seconds[names == name].sum()) for name in sorted(set(names))}
        owner = max(heard, key=lambda name: heard[name])
        faces = np.stack([np.asarray(rows[idx]["face_embedding"], np.float32) for idx in voice])
        alike = (faces @ faces[names == owner].T).max(axis=1) >= config.other_face_sim
        strange = (names != owner) & ~alike
        if not strange.any():
            continue
        is_clear = heard[owner] > sum(heard.values()) / 2
        for k in np.flatnonzero(strange) if is_clear else range(len(voice)):
            found[voice[k]] = owner if is_clear else ""
    return found


def _shared_voices(rows: Sequence[Row], people: Sequence[str], min_sim: float) -> Iterator[list[int]]:
    """Clips of one source and one voice that show several people."""
    labels, pairs = np.arange(len(rows)), []
    for clips in _grouped([row["source_id"] for row in rows], rows):
        if len({people[idx] for idx in clips}) > 1:
            voices = _voices(rows, clips)
            pairs.append(np.array(clips)[np.argwhere(voices @ voices.T >= min_sim)])
    if pairs:
        labels = merge(labels, *np.concatenate(pairs).T)
    groups: dict[int, list[int]] = defaultdict(list)
    for idx, label in enumerate(labels.tolist()):
        groups[label].append(idx)
    yield from (group for group in groups.values() if len({people[idx] for idx in group}) > 1)


def _grouped(keys: Sequence[str], rows: Sequence[Row]) -> list[list[int]]:
    """Indices of the clips with a voice, by key."""
    groups: dict[str, list[int]] = defaultdict(list)
    for idx, key in enumerate(keys):
        if rows[idx].get("voice_embedding") is not None:
            groups[key].append(idx)
    return list(groups.values())


def _voices(rows: Sequence[Row], clips: list[int]) -> np.ndarray:
    voices = np.stack([np.asarray(rows[idx]["voice_embedding"], np.float32) for idx in clips])
    return voices / np.linalg.norm(voices, axis=1, keepdims=True)


def _seconds(rows: Sequence[Row], clips: list[int]) -> np.ndarray:
    return np.array([rows[idx]["num_frames"] / CLIP_FPS for idx in clips])
