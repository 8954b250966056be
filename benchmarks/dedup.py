"""Seconds and memory for duplicates and identities over a whole data set of made-up clips.

    python -m benchmarks.dedup [--clips 400 5000 50000]

Fingerprints are random words, so that pairs meet by chance as well; one clip in a hundred is a copy with one bit in
eight flipped, every second of these in a mirror and with other sound. A person has fifty clips. Times are process time,
so that other load on the machine matters less.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence

import numpy as np

from pipeline.dataset.dedup import choose_copies, find_overlaps
from pipeline.dataset.identities import cluster_identities
from pipeline.rules.config import FinalizeConfig
from stages.core.command import command, make_parser
from stages.core.records import Row
from stages.face.motion_print import SIDE_BITS

NUM_WORDS, NUM_MOTION_WORDS = 60, 60
"""Number of words of sound and of motion in 6 s."""
CLIPS_PER_PERSON = 50
COPY_EVERY = 50
FLIPPED = 1 / 8
FACE_NOISE = 0.4
"""Noise of face and voice embeddings; two clips of one person then have a cosine of about .85."""
VOICE_DIM = 192


def make_clips(num_clips: int, seed: int = 0) -> list[Row]:
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**32, (num_clips, NUM_WORDS), dtype=np.uint32)
    motions = rng.integers(0, 2**32, (num_clips, NUM_MOTION_WORDS), dtype=np.uint32)
    people = rng.normal(size=(-(-num_clips // CLIPS_PER_PERSON), 512)).astype(np.float32)
    voices = rng.normal(size=(len(people), VOICE_DIM)).astype(np.float32)
    rows = []
    for idx in range(num_clips):
        voice = voices[idx % len(people)] + FACE_NOISE * rng.normal(size=VOICE_DIM).astype(np.float32)
        face = people[idx % len(people)] + FACE_NOISE * rng.normal(size=512).astype(np.float32)
        if idx // len(people) % 2 and idx % COPY_EVERY == 0:  # of an earlier clip of the same person, itself no copy
            is_mirrored = idx // COPY_EVERY % 2 == 0
            motions[idx] = _flipped(motions[idx - len(people)], rng) ^ (SIDE_BITS if is_mirrored else 0)
            if not is_mirrored:
                words[idx] = _flipped(words[idx - len(people)], rng)
        rows.append(
            {
                "row_id": f"clip{idx:06d}",
                "audio_fingerprint": words[idx],
                "motion_fingerprint": motions[idx],
                "source_id": f"source{idx // 5:06d}",
                "voice_embedding": (voice / np.linalg.norm(voice)).astype(np.float16),
                "face_embedding": (face / np.linalg.norm(face)).astype(np.float16),
                "num_frames": 150,
                "face_px": 200.0,
            }
        )
    return rows


def _flipped(words: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    flips = rng.random((len(words), 32)) < FLIPPED
    return words ^ np.packbits(flips, axis=1).view(np.uint32).ravel()


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.dedup", __doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[400, 5_000, 50_000], help="ascending")
    print("   clips  duplicates CPU-s  identities CPU-s  peak MB of the process")
    for num_clips in parser.parse_args(arguments).clips:
        rows, config = make_clips(num_clips), FinalizeConfig()
        start = time.process_time()
        doomed = choose_copies(rows, find_overlaps(rows, config), config)
        middle = time.process_time()
        people = set(cluster_identities(rows, config))
        end = time.process_time()
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{num_clips:8} {len(doomed):11} {middle - start:5.1f} {len(people):11} {end - middle:5.1f} {peak_mb:8}")


if __name__ == "__main__":
    raise SystemExit(main())
