"""The report page: complete, self-contained, and deaf to what strangers wrote into their titles."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.report import main
from pipeline.rules.policy import PolicyConfig
from pipeline.show.gallery import MAX_KEPT, MAX_PER_REASON, make_card, read_gallery
from pipeline.show.page import write_report
from stages.core.reasons import DropReason
from tests.ledger_rows import HOSTILE_TITLES, make_rows, write_out
from tests.rows import thumb_jpeg


class Page(HTMLParser):
    """What a browser would see: elements with attributes, text outside scripts, and each script's text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts = "", []
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else self._inside
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def data(self, name: str):
        index = [attributes.get("id") for attributes in self.all("script")].index(name)
        return json.loads(self.scripts[index])


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Page:
    return Page(write_report(write_out(tmp_path_factory.mktemp("report") / "口型集", make_rows())))


def test_nothing_is_loaded_from_elsewhere(full):
    for tag, attributes in full.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "srcset", "poster", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")
    policy = next(m["content"] for m in full.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_the_security_policy_admits_exactly_the_scripts_of_the_page(full):
    policy = next(m["content"] for m in full.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    admitted = set(re.findall(r"'sha256-([^']+)'", policy))
    code = [t for a, t in zip(full.all("script"), full.scripts, strict=True) if a.get("type") != "application/json"]
    assert {base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in code} == admitted
    assert "unsafe-eval" not in policy
    assert not any(name.startswith("on") for _, attributes in full.elements for name in attributes)


def test_hostile_titles_are_shown_as_text(full):
    assert HOSTILE_TITLES[0] in full.text
    assert HOSTILE_TITLES[2] in full.text
    assert not [image for image in full.all("img") if image.get("src") == "x"]
    assert "{{ 7*7 }} ${7*7} gnp.exe" in full.text
    assert "\u202e" not in full.text
    assert len(full.scripts) == 4


def test_a_uri_is_a_link_only_if_it_is_http():
    row = {"row_id": "a", "source_id": "a", "title": "t", "uri": "javascript:alert(1)"}
    assert not make_card(row, PolicyConfig()).is_link
    assert make_card(row | {"uri": "https://example.org/"}, PolicyConfig()).is_link


def test_charts_cover_figure_two_and_what_stands_beside_it(full):
    for title in [
        *("Video length", "Frame rate", "Gender", "Face size", "Apparent age", "Head pose", "Speech quality"),
        *("Detail of the crop", "Face without shading"),
        *("Mouth width", "Mouth seen", "Light on the mouth", "Lip motion", "Teeth seen"),
        *("Language", "Hours per source", "Split"),
    ]:
        assert title in full.text
    places = [a for a in full.all("div") if a.get("class") == "plot"]
    assert len(places) == len(full.data("figures")) == 24
    face = next(f for f in full.data("figures") if f["layout"]["xaxis"].get("title", {}).get("text") == "px")
    assert [shape["x0"] for shape in face["layout"]["shapes"]] == [PolicyConfig().min_face_px]


def test_every_colour_of_the_figures_has_its_dark_counterpart(full):
    colours = set(re.findall(r'"(#[0-9a-f]{6})"', json.dumps(full.data("figures"))))
    assert colours
    assert colours <= set(full.data("dark"))


def test_every_reason_has_its_group_and_the_funnel_links_to_it(full):
    groups = {a["id"] for a in full.all("div") if a.get("class") == "reason"}
    assert groups == {f"reason-{reason}" for reason in DropReason}
    assert {a["href"][1:] for a in full.all("a") if a.get("class") == "chip"} == groups


def test_gallery_is_limited_and_says_how_many_more(tmp_path):
    out = write_out(tmp_path / "out", make_rows())
    kept, dropped = read_gallery(out / "ledger.parquet", PolicyConfig())
    duplicates = next(group for group in dropped if group.key == "duplicate_clip")
    assert len(kept.cards) == MAX_KEPT
    assert len({card.row_id.split("-s0")[0] for card in kept.cards}) == MAX_KEPT
    assert kept.num_hidden == kept.num - MAX_KEPT
    assert len(duplicates.cards) == MAX_PER_REASON
    assert base64.b64decode(kept.cards[0].thumb).startswith(b"\xff\xd8")


def test_failing_measurements_come_first_beside_their_threshold():
    row = {"row_id": "a-s0000-c000", "source_id": "a", "face_px": 200.0, "yaw_deg": 52.0, "thumb_jpeg": thumb_jpeg(0)}
    card = make_card(row | {"drop_stage": "track", "drop_detail": "yaw_deg 52 > 35"}, PolicyConfig())
    assert [(r.name, r.value, r.limit, r.holds) for r in card.readings] == [
        ("Yaw", "52°", "≤ 35", False),
        ("Face size", "200 px", "≥ 90", True),
    ]


def test_changed_thresholds_are_marked(tmp_path):
    out = write_out(tmp_path / "out", make_rows(2))
    (out / "config.yaml").write_text("policy: {min_face_px: 120, languages: [zh, en]}\n")
    text = write_report(out).read_text(encoding="utf-8")
    changed = re.findall(r'<div class="changed"><span>(\w+)</span><span class="num">([^<]*)<', text)
    assert changed == [("languages", "zh en"), ("min_face_px", "120.0")]


@pytest.mark.parametrize("kind", ["nothing kept", "nothing at all"])
def test_an_empty_data_set_has_a_page(tmp_path, kind):
    rows = [row for row in make_rows(0) if row["verdict"] == "drop" and row["drop_stage"] != "finalize"]
    page = Page(write_report(write_out(tmp_path / "out", rows if kind == "nothing kept" else [])))
    assert "Nothing was kept." in page.text
    assert "no data" in page.text
    assert "Nothing was dropped." in page.text or kind == "nothing kept"


def test_command_names_what_is_missing(tmp_path, capsys):
    assert main(["--out", str(tmp_path)]) == 2
    assert "ledger.parquet is missing: run python -m pipeline.finalize" in capsys.readouterr().err
    write_out(tmp_path / "out", make_rows(1))
    assert main(["--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").is_file()
