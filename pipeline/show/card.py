"""The data set card: DIR/README.md, for people, with the front matter that `datasets` and the Hugging Face hub read.

Only facts of this run stand in it: what was kept, under which licences, measured by which weights and thresholds.
"""

from __future__ import annotations

import html
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.dataset.stats import duration_text
from pipeline.rules.policy import PolicyConfig
from pipeline.show.markdown import column_table, table
from stages.core.reasons import DropReason
from stages.core.records import SCHEMA_VERSION, SPLITS
from stages.core.storage import list_files, open_parquet, title_of, write_text
from stages.core.weight_files import WEIGHTS, Weight

if TYPE_CHECKING:
    from pipeline.rules.config import Config

SIZE_CATEGORIES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_card(out: Path, stats: dict[str, Any], config: Config) -> Path:
    """Write DIR/README.md and return its path.

    Args:
        out: folder of the run; its `shards/` are written already.
        stats: what `compute_stats` gives.
        config: of the run; its thresholds are listed.
    """
    target = out / "README.md"
    write_text(target, render_card(out, stats, config.policy))
    return target


def render_card(out: Path, stats: dict[str, Any], policy: PolicyConfig) -> str:
    """The card's text; sections in the order in which a person asks."""
    present = [split for split in SPLITS if list_files(out / "shards", f"{split}-*.parquet")]
    name = title_of(out)
    sections = [
        f"---\n{_front_matter(name, stats, present)}---",
        f"# {name}",
        _summary(stats),
        "## Load it\n\n" + _loading(present),
        "## Splits\n\n" + _splits(stats),
        "## Statistics\n\n" + _statistics(stats),
        "## How it was made\n\n" + _making(stats, policy),
        "## Columns\n\n" + _columns(out, present),
        "## Models that measured it, and their licences\n\n" + _weights(stats),
        "## Licences and consent of the sources\n\n" + _rights(stats),
        "## Biases and limits\n\n" + _limits(stats),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(name: str, stats: dict[str, Any], present: list[str]) -> str:
    languages = [code for code, g in stats["by"]["language"].items() if g["hours_kept"] > 0 and code.isalpha()]
    num_kept = stats["totals"]["num_kept"]
    matter: dict[str, Any] = {
        "pretty_name": name,
        "license": "other",
        "license_name": "see-the-sources",
        "language": [code for code in languages if code != "unknown"],
        "size_categories": [next((label for limit, label in SIZE_CATEGORIES if num_kept < limit), "n>1M")],
        "tags": ["talking-face", "lip-sync", "audio-visual", "video", "audio"],
    }
    if present:
        files = [{"split": split, "path": f"shards/{split}-*.parquet"} for split in present]
        matter["configs"] = [{"config_name": "default", "data_files": files}]
    return yaml.safe_dump(matter, allow_unicode=True, sort_keys=False)


def _summary(stats: dict[str, Any]) -> str:
    totals = stats["totals"]
    if totals["num_kept"] == 0:
        return (
            f"A talking-face data set in which **nothing was kept**: {totals['num_sources']} sources, "
            f"{duration_text(totals['hours_in'])}, went in. `report.html` shows where they went."
        )
    return (
        f"Talking faces with their speech: **{totals['num_kept']} clips, {duration_text(totals['hours_kept'])}**, of "
        f"{totals['num_identities']} people, kept out of {duration_text(totals['hours_in'])} in "
        f"{totals['num_sources']} sources. Each clip shows one face at 25 frames a second with 16 kHz sound, "
        "landmarks, 3D face coefficients, depth and speech features. `report.html` shows all of it in "
        "charts and pictures; `ledger.parquet` says of every record that went in what was "
        "measured and why it was kept or dropped."
    )


def _loading(present: list[str]) -> str:
    if not present:
        return "There are no shards to load."
    split = present[0]
    return f"""Plain Parquet; run these in the folder of this file.

```python
import datasets
clips = datasets.load_dataset("parquet", data_files={{"{split}": "shards/{split}-*.parquet"}}, split="{split}")

import duckdb
duckdb.sql("select split, count(*), sum(end_s - start_s) / 3600 as hours from 'shards/*.parquet' group by split")

import pandas as pd
ledger = pd.read_parquet("ledger.parquet")
ledger.groupby(["drop_stage", "drop_reason"]).size()
```

`face_jpeg` holds one JPEG a frame, `audio_pcm16` the samples, `depth` one 16-bit PNG a frame in tenths of a millimetre
(drawn from `id_coeff`, `exp_coeff` and `pose`); `landmarks` has x, y, z of 478 points one after the other. Whisper's
states are `numpy.frombuffer(whisper[i], "int8") * whisper_step`."""  # noqa: S608 - shown to a person, run by nobody here


def _splits(stats: dict[str, Any]) -> str:
    rows = [
        [split, str(group["num_clips_kept"]), duration_text(group["hours_kept"]), str(group["num_identities"])]
        for split, group in stats["by"]["split"].items()
    ]
    if not rows:
        return "None: nothing was kept."
    note = "No person is in two splits: people are told apart by clusters of face embeddings over the whole set."
    return f"{note}\n\n{table(['split', 'clips', 'length', 'people'], rows)}"


def _statistics(stats: dict[str, Any]) -> str:
    rows = []
    for found in stats["distributions"].values():
        spread = found["kept_spread"]
        if spread is not None:
            numbers = [f"{spread[key]:.3g}" for key in ("p5", "median", "p95")]
            rows.append([found["title"], found["unit"], *numbers])
    if not rows:
        return "Nothing was kept, so nothing can be said of it."
    parts = [table(["of what was kept", "unit", "5 %", "median", "95 %"], rows)]
    for name, title in (("gender", "apparent gender"), ("language", "language"), ("platform", "platform")):
        kept = [(value, group) for value, group in stats["by"][name].items() if group["num_clips_kept"]]
        lines = [
            [foreign(value), str(group["num_clips_kept"]), duration_text(group["hours_kept"])] for value, group in kept
        ]
        parts.append(table([title, "clips", "length"], lines))
    return "\n\n".join(parts)


def _making(stats: dict[str, Any], policy: PolicyConfig) -> str:
    lines = []
    for line in stats["funnel"]:
        reasons = ", ".join(f"{reason} {cost['num']}" for reason, cost in line["reasons"].items())
        out = f"{line['num_out']} {line['unit']}s"
        lines.append(
            [line["stage"], f"{line['num_in']} {line['unit_in']}s", out, duration_text(line["hours_out"]), reasons]
        )
    limits = [[f"`{f.name}`", _listed(getattr(policy, f.name))] for f in fields(policy)]
    return "\n\n".join(
        [
            "By kouxing, after the data recipe of JoyGen (arXiv:2501.01798): every record passes the stages below, "
            "cheapest first. A stage measures; thresholds decide, and can be changed later without touching video "
            "(`python -m pipeline.finalize --out DIR policy.key=value`).",
            table(["stage", "in", "out", "hours out", "dropped because"], lines),
            table(["reason", "meaning"], [[f"`{r}`", r.text] for r in DropReason if str(r) in stats["reasons"]]),
            "Thresholds:",
            table(["threshold", "value"], limits),
        ]
    )


def _listed(value: object) -> str:
    return " ".join(str(item) for item in value) if isinstance(value, tuple | list) else str(value)


def _columns(out: Path, present: list[str]) -> str:
    if not present:
        return (
            "There are no shards; the columns they would have are described in kouxing's `docs/reference/columns.md`."
        )
    with open_parquet(list_files(out / "shards", f"{present[0]}-*.parquet")[0]) as file:
        return f"Schema version {SCHEMA_VERSION}. One row a clip.\n\n{column_table(file.schema_arrow)}"


def _weights(stats: dict[str, Any]) -> str:
    used = [w for w in WEIGHTS.values() if any(w.name in v["versions"].get("weights", {}) for v in stats["versions"])]
    if not used:
        return "No record says which models measured it."
    rows = [[w.name, w.purpose, w.licence, _commercial(w)] for w in used]
    parts = [table(["model", "for", "licence", "commercial use"], rows)]
    closed = [w.name for w in used if not w.commercial]
    if closed:
        parts.append(
            f"**{', '.join(closed)}: not for commercial use.** What they measured (`face_embedding`, "
            "`identity_min_sim`, and identities and splits, which rest on them) is research output."
        )
    return "\n\n".join(parts)


def _commercial(weight: Weight) -> str:
    return "yes" if weight.commercial else "**no**"


def _rights(stats: dict[str, Any]) -> str:
    parts = []
    for name in ("licence", "consent"):
        kept = [(value, group) for value, group in stats["by"][name].items() if group["num_clips_kept"]]
        rows = [
            [
                foreign(value),
                str(group["num_sources_kept"]),
                str(group["num_clips_kept"]),
                duration_text(group["hours_kept"]),
            ]
            for value, group in kept
        ]
        if rows:
            parts.append(table([f"{name} of the source", "videos", "clips", "length"], rows))
    parts.append(
        "The clips keep the licence of the video they were cut from (`licence`, `uri` and `uploader` in every row); "
        "the pipeline's own licence (Apache-2.0) says nothing about them. They show identifiable people: faces, voices "
        "and embeddings are biometric data in many jurisdictions. Before sharing, check that the sources' terms and "
        "the consent of those shown (`consent`) cover the use; do not use the set to recognise people or to put words "
        "into the mouth of somebody who has not agreed. To honour a person's or an uploader's request, run "
        "`python -m pipeline.forget --out DIR --source ID` or `--identity ID`: it takes them out of every file and "
        "keeps them out."
    )
    return "\n\n".join(parts)


def foreign(text: str) -> str:
    """A stranger's words, with no markup in them alive."""
    return re.sub(r"([\\`*_\[\]#!~])", r"\\\1", html.escape(text, quote=False))


def _limits(stats: dict[str, Any]) -> str:
    items = [
        "Gender and age are the guess of a classifier from one face crop; the age regressor is biased towards the "
        "young. They describe the set; they say nothing reliable about a person.",
        "The thresholds prefer frontal faces, clean sound and large pictures, so studio footage and professional "
        "speakers are over-represented; other ways of speaking, older devices and faces turned away are not.",
        "People are clustered by embeddings: one person may be two identities (make-up, years apart), rarely two one.",
        "Language is told by Whisper base per clip; dialects are often heard as another language or as unsure.",
        "Landmarks, pose, depth and coefficients are estimates from one camera; depth is metric only up to the face "
        "model's size, and teeth and tongue are not in it.",
        "Duplicates are found by their sound, and by how the face moves under other sound. A clip of which less than "
        "half stands in other clips is kept.",
    ]
    pending, unknown = stats["totals"]["num_pending"], stats["totals"]["num_sources_of_unknown_length"]
    if pending:
        items.append(f"{pending} rows are pending: wanted, but not measured by all stages when this was written.")
    if unknown:
        items.append(f"{unknown} sources have no known length and count as zero hours in every total above.")
    return "\n".join(f"- {item}" for item in items)
