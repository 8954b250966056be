"""HDTF's lists in their published form, with its slips, become a manifest that the pipeline reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.hdtf import main
from pipeline.job.manifest import read_manifest
from pipeline.rules.config import load_config

LISTS = {
    "RD_video_url.txt": "\ufeffRadio1 https://www.youtube.com/watch?v=one&t=6s\nRadio2 https://www.youtube.com/watch?v=two\n",
    "RD_annotion_time.txt": "Radio1.mp4 00:20-01:35 02:00-02:40 \nRadio3.mp4 00:10-00:30\n\n",
    "RD_resolution.txt": "Radio1.mp4 720\nRadio2.mp4 1080\n",
    "RD_crop_wh.txt": "Radio1_0.mp4 483 390 10 390\nRadio9_0.mp4 1 2 3 2\n",
    "RD_crop_ratio.txt": "Radio1_0.mp4 1.2\n",
    "WRA_video_url.txt": "Smith0 https://www.youtube.com/watch?v=three  \r\n",
    "WRA_annotion_time.txt": "Smith0.mp4 08:10-08:30 00:33-08:53 1:00:05-1:00:10\r\n",
}


@pytest.fixture
def lists(tmp_path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    for name, text in LISTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("suffix", ["yaml", "jsonl"])
def test_videos_and_spans_keep_hdtfs_names(lists, tmp_path, suffix):
    assert main([str(lists), "--out", str(tmp_path / f"m.{suffix}")]) == 0
    radio, smith = read_manifest(tmp_path / f"m.{suffix}")
    assert (radio["source_id"], radio["uri"]) == ("RD_Radio1", "https://www.youtube.com/watch?v=one&t=6s")
    assert (radio["platform"], radio["declared_language"]) == ("youtube", "en")
    assert radio["spans"] == [[20.0, 95.0], [120.0, 160.0]]
    assert radio["span_names"] == ["RD_Radio1_0", "RD_Radio1_1"]
    assert {"hdtf resolution 720p", "RD_Radio1_0 crop 390x390+483+10 ratio 1.2"} <= set(radio["tags"])
    assert smith["spans"] == [[490.0, 510.0], [3605.0, 3610.0]]
    assert smith["span_names"] == ["WRA_Smith0_0", "WRA_Smith0_2"]


def test_what_cannot_be_joined_is_told(lists, tmp_path, capsys):
    assert main([str(lists), "--out", str(tmp_path / "m.yaml")]) == 0
    *loose, total = capsys.readouterr().out.splitlines()
    assert loose == [
        "not joined: RD: Radio1_1 has no crop window",
        "not joined: RD: Radio2 has an address but no times",
        "not joined: RD: Radio3 has times but no address",
        "not joined: RD: Radio9_0 has a crop window but no times",
        "not joined: RD: Radio2 has a resolution but no times",
        "not joined: WRA: Smith0_1 (00:33-08:53) overlaps WRA_Smith0_0",
    ]
    assert total.endswith("2 videos, 4 spans, 0.04 h")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("RD_annotion_time.txt", None, "RD_annotion_time.txt cannot be read"),
        ("RD_annotion_time.txt", "Radio1.mp4 00:20\n", "RD_annotion_time.txt, Radio1: expected a span like"),
        ("RD_crop_wh.txt", "Radio1_0.mp4 483 390\n", "crop_wh of Radio1_0: expected x, width, y and height"),
        ("RD_video_url.txt", "Radio1 https://a\nRadio1.mp4 https://b\n", "Radio1 stands twice"),
    ],
)
def test_a_list_of_another_form_is_an_error_by_name(lists, tmp_path, capsys, name, text, message):
    (lists / name).unlink()
    if text is not None:
        (lists / name).write_text(text)
    assert main([str(lists), "--out", str(tmp_path / "m.yaml")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "m.yaml").exists()


def test_a_folder_without_lists_and_an_unknown_format(lists, tmp_path, capsys):
    assert main([str(tmp_path), "--out", str(tmp_path / "m.yaml")]) == 2
    assert "RD_video_url.txt" in capsys.readouterr().err
    assert main([str(lists), "--out", str(tmp_path / "m.xml")]) == 2
    assert "m.xml" in capsys.readouterr().err


def test_the_policy_beside_it_is_a_configuration():
    config = load_config([Path(__file__).parents[2] / "manifests" / "hdtf_policy.yaml"])
    assert config.policy.languages == ("en",)
