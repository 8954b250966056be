"""Scores of the pipeline's results against the truth: pure functions on both."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np

from benchmarks.wild.films.film import Film, Span
from stages.track import TrackConfig

TOLERANCE_S = 0.12
"""Tolerance of an edge: three frames at 25 fps."""
NEAR_S = 0.5
"""Largest distance at which a found cut matches a true one."""
LONGEST_CLIP_S = TrackConfig().max_clip_s
KEPT, SHORT = "kept", "too_short"


@dataclass(frozen=True)
class Truth:
    """Truth about a written film; fields as in `Film`."""

    recipe: str
    parameters: dict[str, Any]
    clips: tuple[str, ...]
    path: str
    fps: str
    duration_s: float
    spans: tuple[Span, ...]
    cuts_s: tuple[tuple[float, float], ...] = ()
    offset_ms: float = 0.0

    @staticmethod
    def of(film: Film, recipe: str, parameters: dict[str, Any], clips: tuple[str, ...], path: str) -> Truth:
        shared = {"fps": str(film.fps), "duration_s": film.duration_s, "spans": film.spans}
        return Truth(recipe, parameters, clips, path, **shared, cuts_s=film.cuts_s, offset_ms=film.offset_ms)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Truth:
        spans = tuple(Span(s["start_s"], s["end_s"], tuple(s["reasons"]), s["may_keep"]) for s in data["spans"])
        cuts = tuple((a, b) for a, b in data["cuts_s"])
        return Truth(**data | {"spans": spans, "cuts_s": cuts, "clips": tuple(data["clips"])})


@dataclass(frozen=True)
class Piece:
    """One row of the pipeline: [start_s, end_s) kept, or dropped for a reason.

    Args:
        measured: its measurements.
    """

    start_s: float
    end_s: float
    reason: str | None
    shot_start_s: float | None = None
    measured: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    truth: Truth
    pieces: tuple[Piece, ...]

    @property
    def kept(self) -> list[Piece]:
        return [piece for piece in self.pieces if piece.reason is None]

    @property
    def dropped(self) -> list[Piece]:
        return [piece for piece in self.pieces if piece.reason is not None]


def overlap_s(a: Any, b: Any) -> float:
    """Length in which two things with `start_s` and `end_s` are both there."""
    return max(0.0, min(a.end_s, b.end_s) - max(a.start_s, b.start_s))


def keepable_runs(truth: Truth, min_clip_s: float) -> list[Span]:
    """The longest stretches without fault or cut; those shorter than a clip are faulty, for that."""
    edges = [span.start_s for span in truth.spans if not span.reasons]
    edges += [edge for cut in truth.cuts_s for edge in cut]
    runs: list[Span] = []
    for span in truth.spans:
        if span.reasons:
            continue
        inner = sorted({edge for edge in edges if span.start_s < edge < span.end_s})
        bounds = [span.start_s, *inner, span.end_s]
        for start_s, end_s in pairwise(bounds):
            joins = runs and runs[-1].end_s == start_s and not any(a <= start_s <= b for a, b in truth.cuts_s)
            if joins:
                runs[-1] = Span(runs[-1].start_s, end_s)
            else:
                runs.append(Span(start_s, end_s))
    return [run if run.end_s - run.start_s >= min_clip_s else Span(run.start_s, run.end_s, (SHORT,)) for run in runs]


@dataclass(frozen=True)
class Purity:
    """Precision and recall of kept material, in seconds and in clips."""

    kept_s: float
    pure_s: float
    keepable_s: float
    num_kept: int
    num_pure: int


def purity(results: Iterable[Result], min_clip_s: float) -> Purity:
    """A kept clip belongs to the run that it overlaps most; its overlap with others and with faults is impure.

    Border cases count as neither. A clip is pure if it reaches no further than `TOLERANCE_S` out of its run.
    """
    kept_s = pure_s = keepable_s = 0.0
    num_kept = num_pure = 0
    for result in results:
        runs = [run for run in keepable_runs(result.truth, min_clip_s) if not run.reasons]
        keepable_s += sum(run.end_s - run.start_s for run in runs)
        borders = [span for span in result.truth.spans if span.may_keep]
        for piece in result.kept:
            counted_s = piece.end_s - piece.start_s - sum(overlap_s(piece, border) for border in borders)
            if counted_s <= TOLERANCE_S:
                continue
            inside_s = min(counted_s, max((overlap_s(piece, run) for run in runs), default=0.0))
            kept_s, pure_s = kept_s + counted_s, pure_s + inside_s
            num_kept, num_pure = num_kept + 1, num_pure + int(counted_s - inside_s <= TOLERANCE_S)
    return Purity(kept_s, pure_s, keepable_s, num_kept, num_pure)


@dataclass
class Tally:
    """Counts of one reason: its events, those caught for it, rows dropped for it, and those of them that were right."""

    events: int = 0
    caught: int = 0
    drops: int = 0
    right: int = 0

    @property
    def recall(self) -> float | None:
        return self.caught / self.events if self.events else None

    @property
    def precision(self) -> float | None:
        return self.right / self.drops if self.drops else None

    @property
    def f1(self) -> float | None:
        recall, precision = self.recall, self.precision
        if recall is None or precision is None:
            return None
        return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def outcome(result: Result, span: Span) -> str:
    """Outcome of a stretch of a film: `kept` if a kept clip has more than a tolerance of it, else the reason.

    A right one among several reasons counts. A stretch without a row was cut out, which is right, too.
    """
    slack_s = min(TOLERANCE_S, (span.end_s - span.start_s) / 2)
    if any(overlap_s(piece, span) > slack_s + 1e-6 for piece in result.kept):
        return KEPT
    found = [piece.reason for piece in result.dropped if overlap_s(piece, span) > 0]
    right = [reason for reason in found if reason in span.reasons]
    return str((right or found or [span.reasons[0] if span.reasons else "cut_out"])[0])


def tally_reasons(results: Iterable[Result], min_clip_s: float) -> dict[str, Tally]:
    """Per reason. An event is a faulty span of a film; it is caught if it is left out for one of its reasons.

    A dropped row is right if it overlaps a span that may be dropped for its reason.
    """
    tallies: dict[str, Tally] = defaultdict(Tally)
    for result in results:
        faults = [span for span in result.truth.spans if span.reasons]
        faults += [run for run in keepable_runs(result.truth, min_clip_s) if run.reasons]
        for span in faults:
            if not span.may_keep and span.reasons != (SHORT,):
                tally = tallies[span.reasons[0]]
                tally.events += 1
                tally.caught += int(outcome(result, span) in span.reasons)
        for piece in result.dropped:
            tally = tallies[str(piece.reason)]
            tally.drops += 1
            tally.right += int(any(piece.reason in span.reasons and overlap_s(piece, span) > 0 for span in faults))
    return dict(tallies)


def confusion(results: Iterable[Result], min_clip_s: float) -> Counter[tuple[str, str]]:
    """Counts of expected outcome (a stretch's first reason, or `kept`) and actual outcome."""
    counts: Counter[tuple[str, str]] = Counter()
    for result in results:
        spans = [span for span in result.truth.spans if span.reasons and not span.may_keep]
        counts.update((span.reasons[0], outcome(result, span)) for span in spans)
        runs = [run for run in keepable_runs(result.truth, min_clip_s) if not run.reasons]
        counts.update((KEPT, _run_outcome(result, run)) for run in runs)
    return counts


def _run_outcome(result: Result, run: Span) -> str:
    """`kept` if most of a keepable run was kept, else the reason that cost most of it."""
    lost: Counter[str] = Counter()
    for piece in result.pieces:
        lost[piece.reason or KEPT] += overlap_s(piece, run)  # pyright: ignore[reportArgumentType]
    if not lost or not any(lost.values()):
        return "cut_out"
    return max(lost, key=lambda reason: lost[reason])


@dataclass(frozen=True)
class CutScore:
    """Found and true cuts, false positives, and distances of the found ones in frames."""

    num_true: int
    num_found: int
    num_false: int
    errors_frames: tuple[float, ...]


def score_cuts(results: Iterable[Result]) -> CutScore:
    """The first boundary of a film is its beginning and not counted; within a dissolve every place is right.

    Boundaries are those of shots, and those between two clips of a shot that can both be used and would fit into one.
    """
    num_true = num_found = num_false = 0
    errors: list[float] = []
    for result in results:
        fps = _rate(result.truth.fps)
        shots = {piece.shot_start_s for piece in result.pieces if piece.shot_start_s}
        found = sorted(shots | {b.start_s for a, b in pairwise(result.pieces) if _is_one_cut(a, b)})
        used: set[float] = set()
        for start_s, end_s in result.truth.cuts_s:
            num_true += 1
            off_s, at_s = min(((max(start_s - b, b - end_s, 0.0), b) for b in found), default=(np.inf, 0.0))
            if off_s <= NEAR_S:
                num_found += 1
                used |= {b for b in found if max(start_s - b, b - end_s, 0.0) <= off_s} | {at_s}
                errors.append(off_s * fps)
        num_false += len(set(found) - used)
    return CutScore(num_true, num_found, num_false, tuple(errors))


def _is_one_cut(piece: Piece, following: Piece) -> bool:
    usable = "unusable" not in piece.measured and "unusable" not in following.measured
    joined = usable and piece.shot_start_s == following.shot_start_s and piece.end_s == following.start_s
    return joined and following.end_s - piece.start_s <= LONGEST_CLIP_S


def clip_edge_errors(results: Iterable[Result], min_clip_s: float) -> list[float]:
    """Distances of kept clips' edges from those of the keepable run, in frames of the film.

    Only edges inside a film count: at its beginning and end there is nothing to find.
    """
    errors: list[float] = []
    for result in results:
        fps, length_s = _rate(result.truth.fps), result.truth.duration_s
        for run in keepable_runs(result.truth, min_clip_s):
            kept = [piece for piece in result.kept if overlap_s(piece, run) > 0.5 * (piece.end_s - piece.start_s)]
            if run.reasons or not kept:
                continue
            if run.start_s > 0:
                errors.append(abs(min(piece.start_s for piece in kept) - run.start_s) * fps)
            if run.end_s < length_s - 1e-6:
                errors.append(abs(max(piece.end_s for piece in kept) - run.end_s) * fps)
    return errors


def wilson(successes: int, total: int) -> tuple[float, float]:
    """95 % Wilson interval of a share, observed as successes / total."""
    if total == 0:
        return 0.0, 1.0
    z = 1.959964
    share, spread = successes / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def median_and_95(values: Sequence[float]) -> tuple[float, float] | None:
    return (float(np.median(values)), float(np.percentile(values, 95))) if len(values) else None


def _rate(fps: str) -> float:
    numerator, _, denominator = fps.partition("/")
    return int(numerator) / int(denominator or 1)
