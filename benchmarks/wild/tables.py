"""Scores as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from benchmarks.wild.score import (
    KEPT,
    Result,
    clip_edge_errors,
    confusion,
    keepable_runs,
    median_and_95,
    outcome,
    overlap_s,
    purity,
    score_cuts,
    tally_reasons,
    wilson,
)


def report(results: Sequence[Result], min_clip_s: float) -> str:
    parts = [
        ("Kept", kept_table(results, min_clip_s)),
        ("Reasons", reason_table(results, min_clip_s)),
        ("Edges", edge_table(results, min_clip_s)),
        ("Expected and got", confusion_table(results, min_clip_s)),
        ("Recipes", recipe_table(results, min_clip_s)),
    ]
    return "\n\n".join(f"### {title}\n\n{table}" for title, table in parts) + "\n"


def kept_table(results: Sequence[Result], min_clip_s: float) -> str:
    of = purity(results, min_clip_s)
    inside_s = sum(
        overlap_s(piece, run)
        for result in results
        for run in keepable_runs(result.truth, min_clip_s)
        for piece in result.kept
        if not run.reasons
    )
    low, high = wilson(of.num_pure, of.num_kept)
    rows = [
        ("films", f"{len(results)}"),
        ("purity in seconds", f"{_ratio(of.pure_s, of.kept_s)} of {of.kept_s:.0f} s kept"),
        ("pure clips", f"{_ratio(of.num_pure, of.num_kept)} of {of.num_kept} ({low:.2f}-{high:.2f})"),
        ("kept of what should be", f"{_ratio(inside_s, of.keepable_s)} of {of.keepable_s:.0f} s"),
    ]
    return markdown(("", ""), rows)


def reason_table(results: Sequence[Result], min_clip_s: float) -> str:
    rows = []
    for reason, tally in sorted(tally_reasons(results, min_clip_s).items()):
        rows.append(
            (
                reason,
                _share_of(tally.right, tally.drops),
                _share_of(tally.caught, tally.events),
                "-" if tally.f1 is None else f"{tally.f1:.2f}",
            )
        )
    return markdown(("reason", "precision (95 %), rows", "recall (95 %), events", "F1"), rows)


def edge_table(results: Sequence[Result], min_clip_s: float) -> str:
    cuts = score_cuts(results)
    rows = [
        (
            "cuts",
            f"{cuts.num_found} of {cuts.num_true} found, {cuts.num_false} false",
            _spread(cuts.errors_frames),
        ),
        ("edges of sub-clips", "", _spread(clip_edge_errors(results, min_clip_s))),
    ]
    return markdown(("", "", "off by, frames: median, 95 %"), rows)


def confusion_table(results: Sequence[Result], min_clip_s: float) -> str:
    counts = confusion(results, min_clip_s)
    expected = sorted({wanted for wanted, _ in counts})
    rows = []
    for wanted in expected:
        got = Counter({found: n for (want, found), n in counts.items() if want == wanted})
        rows.append((wanted, str(sum(got.values())), _counts(got)))
    return markdown(("expected", "spans", "got"), rows)


def recipe_table(results: Sequence[Result], min_clip_s: float) -> str:
    rows = []
    for name in dict.fromkeys(result.truth.recipe for result in results):
        own = [result for result in results if result.truth.recipe == name]
        rows.append((name, _expected(own[0]), str(len(own)), _counts(_outcomes(own, min_clip_s))))
    return markdown(("film", "expected", "films", "spans got"), rows)


def _expected(result: Result) -> str:
    labels = [span.reasons[0] + ("?" if span.may_keep else "") if span.reasons else KEPT for span in result.truth.spans]
    return ", ".join(dict.fromkeys(labels))


def _outcomes(results: Iterable[Result], min_clip_s: float) -> Counter[str]:
    """What faulty spans became, and keepable runs, these marked with a +."""
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(outcome(result, span) for span in result.truth.spans if span.reasons)
        one = confusion([result], min_clip_s)
        counts.update({f"+{found}": n for (wanted, found), n in one.items() if wanted == KEPT})
    return counts


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _ratio(part: float, whole: float) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def _share_of(part: int, whole: int) -> str:
    if not whole:
        return "-"
    low, high = wilson(part, whole)
    return f"{part / whole:.2f} ({low:.2f}-{high:.2f}), {whole}"


def _spread(errors: Sequence[float]) -> str:
    found = median_and_95(errors)
    return "-" if found is None else f"{found[0]:.1f}, {found[1]:.1f} ({len(errors)})"


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.most_common())
