"""The report's page: what a run kept, what it dropped and why, in one self-contained file.

The page needs and allows no network: its security policy admits only its own scripts, by hash. Titles come from
strangers and are shown as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.dataset.stats import duration_text
from pipeline.job.parts import NoDataSet
from pipeline.rules.config import CONFIG_FILE, stored_config
from pipeline.rules.policy import PolicyConfig
from pipeline.show import charts
from pipeline.show.gallery import read_gallery
from pipeline.show.text import printable
from stages.core.reasons import DropReason
from stages.core.storage import is_file, read_text, title_of, write_text

TEMPLATE = "report_template.html.j2"
SCRIPT = "report.js"


def write_report(out: Path) -> Path:
    """Write DIR/report.html and return its path.

    Args:
        out: a finalized run: ledger.parquet, stats.json and config.yaml.
    Raises:
        NoDataSet: one of the three is missing; the message says which.
        ConfigError: config.yaml cannot be used.
    """
    for name in ("ledger.parquet", "stats.json", CONFIG_FILE):
        if not is_file(out / name):
            raise NoDataSet(f"{out / name} is missing: run python -m pipeline.finalize --out {out} first")
    stats = json.loads(read_text(out / "stats.json"))
    target = out / "report.html"
    write_text(target, _render(out, stats, stored_config(out).policy))
    return target


def _render(out: Path, stats: dict[str, Any], policy: PolicyConfig) -> str:
    from plotly.offline import get_plotlyjs

    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["hours"] = duration_text
    panels = [
        ("What is in it: the paper's Figure 2", charts.figure_two(stats, policy)),
        ("Beside it", charts.beside(stats, policy)),
    ]
    kept, dropped = read_gallery(out / "ledger.parquet", policy)
    own_script, plotly_script = (here / SCRIPT).read_text(encoding="utf-8"), get_plotlyjs()
    return environment.get_template(TEMPLATE).render(
        name=printable(title_of(out)),
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        stats=stats,
        totals=stats["totals"],
        reason_text={str(reason): reason.text for reason in DropReason},
        panels=panels,
        figures=[_as_json(chart.figure) for _, group in panels for chart in group if chart.figure is not None],
        dark=charts.DARK,
        kept=kept,
        dropped=dropped,
        thresholds=_thresholds(policy),
        plotly_script=plotly_script,
        own_script=own_script,
        script_hashes=[_hash(plotly_script), _hash(own_script)],
    )


def _as_json(figure: Any) -> dict[str, Any]:
    return json.loads(figure.to_json())


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _thresholds(policy: PolicyConfig) -> list[tuple[str, str, bool]]:
    """Name and value of each threshold, and whether it differs from its default."""
    default = PolicyConfig()
    return [(f.name, _shown(policy, f.name), _shown(policy, f.name) != _shown(default, f.name)) for f in fields(policy)]


def _shown(policy: PolicyConfig, name: str) -> str:
    value = getattr(policy, name)
    return " ".join(value) if isinstance(value, list | tuple) else str(value)
