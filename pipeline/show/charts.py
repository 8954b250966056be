"""The report's charts: statistics in, Plotly figures out.

Figures carry the light theme's colours. The page swaps them for the dark theme's by value, so each role has one colour.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pipeline.dataset.stats import UNKNOWN, duration_text
from pipeline.rules.policy import PolicyConfig
from pipeline.show.text import printable

if TYPE_CHECKING:
    import plotly.graph_objects as go

KEPT, NOT_KEPT = "#0f766e", "#e0a458"
SECOND, THIRD = "#7c5cbf", "#c2557a"
INK, MUTED, GRID = "#1c2426", "#667276", "#e4e8e8"
LIMIT = "#b42318"
DARK = {
    KEPT: "#3fb8a9",
    NOT_KEPT: "#a8722c",
    SECOND: "#a993e6",
    THIRD: "#e58bab",
    INK: "#e8eeee",
    MUTED: "#93a1a4",
    GRID: "#2c3538",
    LIMIT: "#ff8a7a",
}
"""The dark theme's colour for each colour of the light theme."""

HEIGHT_PX = 250
MAX_BARS = 10
MAX_LABEL_CHARS = 18


@dataclass(frozen=True)
class Chart:
    """One card of the report; `figure` is None where nothing has been measured."""

    title: str
    note: str
    figure: go.Figure | None
    wide: bool = False


def figure_two(stats: dict[str, Any], policy: PolicyConfig) -> list[Chart]:
    """The four panels of the paper's Figure 2."""
    spread = stats["distributions"]
    return [
        _histogram(spread["video_length"], policy),
        _hours_by(stats["by"]["fps"], "Frame rate", "frames a second of the source", in_too=True, number=True),
        _hours_by(stats["by"]["gender"], "Gender", "apparent, by classifier"),
        _histogram(spread["face_size"], policy),
    ]


def beside(stats: dict[str, Any], policy: PolicyConfig) -> list[Chart]:
    """Charts that the paper does not have."""
    spread = stats["distributions"]
    pose = [spread["yaw"], spread["pitch"], spread["roll"]]
    quality = [spread["dnsmos_sig"], spread["dnsmos_bak"], spread["dnsmos_ovr"]]
    return [
        _histogram(spread["age"], policy),
        _lines("Head pose", "95th percentile of the angle in a clip", pose, "deg"),
        _lines("Speech quality", "DNSMOS P.835", quality, "1 bad - 5 good", ("speech", "background", "overall")),
        _histogram(spread["snr"], policy),
        _hours_by(stats["by"]["language"], "Language", "by Whisper", in_too=True),
        _histogram(spread["clip_length"], policy),
        _histogram(spread["av_offset"], policy),
        _histogram(spread["sync_conf"], policy),
        _histogram(spread["detail"], policy),
        _histogram(spread["flat"], policy),
        _histogram(spread["mouth_size"], policy),
        _histogram(spread["mouth_visible"], policy),
        _histogram(spread["mouth_light"], policy),
        _histogram(spread["mouth_motion"], policy),
        _histogram(spread["teeth"], policy),
        _hours_by(stats["by"]["split"], "Split", "no identity is in two"),
        _hours_by(stats["by"]["platform"], "Platform", "where sources came from", in_too=True),
        _histogram(spread["fit_error"], policy),
        _identities(stats["identities"]),
        _sources(stats["sources"]),
    ]


def _base(height_px: int = HEIGHT_PX) -> go.Figure:
    import plotly.graph_objects as go

    figure = go.Figure()
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": GRID, "fixedrange": True, "automargin": True}
    figure.update_layout(
        template="none",
        height=height_px,
        barmode="stack",
        bargap=0.12,
        showlegend=False,
        margin={"l": 8, "r": 12, "t": 8, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": MUTED, "size": 12, "family": "system-ui, 'Noto Sans CJK SC', 'PingFang SC', sans-serif"},
        legend={"orientation": "h", "x": 0, "y": 1.14, "font": {"color": INK}},
        hoverlabel={"align": "left"},
        xaxis={**axis, "showgrid": False},
        yaxis=axis,
    )
    return figure


def _histogram(found: dict[str, Any], policy: PolicyConfig) -> Chart:
    import plotly.graph_objects as go

    per = "clips" if found["per"] == "clip" else "videos"
    note = _spread_note(found["kept_spread"], found["unit"], per)
    if not any(found["kept"]) and not any(found["not_kept"]):
        return Chart(found["title"], note, None)
    edges, uneven = found["edges"], found["unit"] == "s" and found["per"] == "source"
    labels = [_bin_label(low, high, found["unit"]) for low, high in pairwise(edges)]
    middles = labels if uneven else [(a + b) / 2 for a, b in pairwise(edges)]
    figure = _base()
    for name, key, colour in (("kept", "kept", KEPT), ("not kept", "not_kept", NOT_KEPT)):
        hover = [f"{label}<br>{count} {per} {name}" for label, count in zip(labels, found[key], strict=True)]
        bars = go.Bar(x=middles, y=found[key], name=name, marker={"color": colour}, hovertext=hover, hoverinfo="text")
        figure.add_trace(bars)
    figure.update_yaxes(title={"text": per})
    occupied = [i for i, pair in enumerate(zip(found["kept"], found["not_kept"], strict=True)) if any(pair)]
    if uneven:
        figure.update_xaxes(type="category", range=[occupied[0] - 0.6, occupied[-1] + 0.6])
    else:
        limits = _limits(found["limits"], policy)
        low = min([edges[occupied[0]], *limits])
        high = max([edges[occupied[-1] + 1], *limits])
        room = (high - low) * 0.04
        figure.update_xaxes(title={"text": found["unit"]}, range=[low - room, high + room])
        for limit in limits:
            figure.add_vline(x=limit, line={"color": LIMIT, "width": 1.5, "dash": "dot"})
    return Chart(found["title"], note, figure)


def _limits(names: list[str], policy: PolicyConfig) -> list[float]:
    values = [float(getattr(policy, name)) for name in names]
    return [*values, *(-value for name, value in zip(names, values, strict=True) if name == "max_av_offset_ms")]


def _bin_label(low: float, high: float, unit: str) -> str:
    if unit != "s" or high <= 60:
        return f"{low:g}-{high:g} {unit}"
    if high <= 3600:
        return f"{low / 60:g}-{high / 60:g} min"
    return f"{low / 3600:g}-{high / 3600:g} h"


def _spread_note(spread: dict[str, float] | None, unit: str, per: str) -> str:
    if spread is None:
        return "nothing kept was measured"
    show = _seconds_text if unit == "s" else lambda value: f"{value:.3g} {'' if unit == '1-5' else unit}".strip()
    ends = f"{show(spread['p5'])} to {show(spread['p95'])}"
    return f"kept {per}: median {show(spread['median'])}, 5-95 % {ends}"


def _seconds_text(value: float) -> str:
    return duration_text(value / 3600)


def _lines(title: str, note: str, found: list[dict[str, Any]], unit: str, names: tuple[str, ...] = ()) -> Chart:
    """Several distributions of kept clips over one axis, as outlines."""
    import plotly.graph_objects as go

    if not any(any(one["kept"]) for one in found):
        return Chart(title, "nothing kept was measured", None)
    figure = _base()
    figure.update_layout(showlegend=True)
    colours, dashes = (KEPT, SECOND, THIRD), ("solid", "dash", "dot")
    for one, name, colour, dash in zip(
        found, names or [f["title"].lower() for f in found], colours, dashes, strict=True
    ):
        middles = [(a + b) / 2 for a, b in zip(one["edges"][:-1], one["edges"][1:], strict=True)]
        line = {"color": colour, "width": 2.2, "dash": dash, "shape": "spline", "smoothing": 0.4}
        curve = go.Scatter(x=middles, y=one["kept"], name=name, mode="lines", line=line)
        figure.add_trace(curve)
    figure.update_xaxes(title={"text": unit})
    figure.update_yaxes(title={"text": "clips kept"}, rangemode="tozero")
    medians = [f"{one['kept_spread']['median']:.3g}" for one in found if one["kept_spread"]]
    return Chart(title, f"{note}; medians {', '.join(medians)}", figure)


def _hours_by(
    groups: dict[str, dict[str, Any]], title: str, note: str, *, in_too: bool = False, number: bool = False
) -> Chart:
    """Horizontal bars of hours kept, most first; with `in_too`, hours of the sources not kept are stacked on them."""
    items = [(name, g) for name, g in groups.items() if g["hours_kept"] > 0 or (in_too and g["hours_in"] > 0)]
    if not items:
        return Chart(title, "nothing kept was measured", None)
    shown = items[:MAX_BARS]
    if number:
        shown.sort(key=lambda item: (item[0] == UNKNOWN, float(item[0]) if item[0] != UNKNOWN else 0.0))
    hidden = f"; {len(items) - MAX_BARS} more are not shown" if len(items) > MAX_BARS else ""
    labels = [name for name, _ in shown]
    kept = [group["hours_kept"] for _, group in shown]
    lost = [max(group["hours_in"] - group["hours_kept"], 0.0) if in_too else 0.0 for _, group in shown]
    hover = [
        f"{_label(name)}<br>{duration_text(g['hours_kept'])} kept of {duration_text(g['hours_in'])}"
        f"<br>{g['num_clips_kept']} clips, {g['num_identities']} identities, {g['num_sources_kept']} videos"
        for name, g in shown
    ]
    return Chart(title, note + hidden, _bars(labels, kept, lost, hover))


def _bars(labels: list[str], kept: list[float], lost: list[float], hover: list[str], height_px: int = 0) -> go.Figure:
    """Stacked horizontal bars, first label on top, in the hours' natural unit."""
    import plotly.graph_objects as go

    totals = [a + b for a, b in zip(kept, lost, strict=True)]
    scale, unit = (1, "hours") if max(totals) >= 1 else (60, "minutes") if max(totals) * 60 >= 1 else (3600, "seconds")
    texts = [f"{x * scale:.1f}" for x in kept]
    if any(lost):
        texts = [f"{text} of {total * scale:.1f}" for text, total in zip(texts, totals, strict=True)]
    rows = [str(i) for i in range(len(labels))]
    figure = _base(height_px or HEIGHT_PX)
    for hours, colour in [(kept, KEPT), (lost, NOT_KEPT)] if any(lost) else [(kept, KEPT)]:
        lengths = [x * scale for x in hours]
        bars = {"x": lengths, "y": rows, "orientation": "h", "marker": {"color": colour}}
        figure.add_trace(go.Bar(**bars, hovertext=hover, hoverinfo="text"))
    figure.data[-1].update(text=texts, textposition="outside", constraintext="none", cliponaxis=False)
    figure.update_layout(bargap=0.35 if len(labels) > 3 else 0.5)
    room = 1.15 if height_px else 1.5 if any(lost) else 1.3
    figure.update_xaxes(
        title={"text": f"{unit} kept of all" if any(lost) else f"{unit} kept"},
        showgrid=True,
        range=[0, max(totals) * scale * room],
    )
    ticks = {"tickmode": "array", "tickvals": rows, "ticktext": [_label(label) for label in labels]}
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, tickfont={"color": INK}, **ticks)
    return figure


def _label(text: str) -> str:
    """A label that is safe for Plotly: no tags, no control characters, not too long."""
    plain = printable(text)
    short = plain if len(plain) <= MAX_LABEL_CHARS else plain[: MAX_LABEL_CHARS - 1] + "…"
    return html.escape(short, quote=False)


def _identities(found: dict[str, Any]) -> Chart:
    spread = found["minutes"]
    if spread is None:
        return Chart("Identities", "nothing kept was measured", None)
    top = found["top"][:MAX_BARS]
    hover = [f"{_label(one['identity_id'])}<br>{one['num_clips_kept']} clips" for one in top]
    kept = [one["hours_kept"] for one in top]
    figure = _bars([one["identity_id"] for one in top], kept, [0.0] * len(top), hover)
    shown = f", the {len(top)} longest are shown" if found["num"] > len(top) else ""
    return Chart("Identities", f"{found['num']} people{shown}; median {spread['median']:.3g} min each", figure)


def _sources(found: dict[str, Any]) -> Chart:
    top = [one for one in found["top"] if one["hours_in"] > 0 or one["hours_kept"] > 0]
    if not top:
        return Chart("Hours per source", "no source has a known length", None, wide=True)
    labels = [one["title"] or one["source_id"] for one in top]
    kept = [one["hours_kept"] for one in top]
    lost = [max(one["hours_in"] - one["hours_kept"], 0.0) for one in top]
    hover = [
        f"{_label(one['source_id'])}<br>{_label(one['title'])}<br>{one['num_clips_kept']} clips, "
        f"{duration_text(one['hours_kept'])} of {duration_text(one['hours_in'])}"
        for one in top
    ]
    others = found["others"]
    note = "most kept first"
    if others["num_sources"]:
        note += f"; {others['num_sources']} more gave {duration_text(others['hours_kept'])}"
    return Chart("Hours per source", note, _bars(labels, kept, lost, hover, 60 + 24 * len(top)), wide=True)
