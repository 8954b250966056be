"""TalkVid's metadata in its published form becomes a manifest that the pipeline reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manifests.talkvid import main
from pipeline.job.manifest import read_manifest


def clip(video: str, scene: int, start_s: float, end_s: float, **info: str) -> dict[str, Any]:
    """A clip with the keys that TalkVid publishes and the importer reads, and some that it does not."""
    told = {"Person ID": "597", "Language": "Chinese", "Video Link": f"https://www.youtube.com/watch?v={video}"}
    return {
        "id": f"videovideo{video}-scene{scene}",
        "height": 1080,
        "fps": 24.0,
        "start-time": start_s,
        "end-time": end_s,
        "info": told | info,
        "dover_scores": 8.9,
    }


CLIPS = [
    clip("Tr6MMsoWAog", 2, 10.5, 15.25),
    clip("Tr6MMsoWAog", 1, 0.0, 5.141666666666667, **{"Video Link": "https://youtu.be/Tr6MMsoWAog"}),
    clip("Tr6MMsoWAog", 3, 15.0, 20.0),
    clip("AAAAAAAAAAA", 1, 1.0, 4.0, Language="English"),
    clip("AAAAAAAAAAA", 2, 5.0, 9.0, **{"Language": "English", "Person ID": "9"}),
]


def _write(folder: Path, content: object) -> Path:
    (folder / "clips.json").write_text(json.dumps(content))
    return folder / "clips.json"


def test_a_row_a_video_with_the_names_of_its_clips(tmp_path, capsys):
    out = tmp_path / "m.jsonl"
    assert main([str(_write(tmp_path, CLIPS)), "--out", str(out)]) == 0
    first, second = read_manifest(out)
    assert first["uri"] == "https://www.youtube.com/watch?v=Tr6MMsoWAog"
    assert first["spans"] == [[0.0, 5.141666666666667], [10.5, 15.25]]
    assert first["span_names"] == ["videovideoTr6MMsoWAog-scene1", "videovideoTr6MMsoWAog-scene2"]
    assert (first["speaker_id"], first["declared_language"], first["platform"]) == ("talkvid-597", "zh", "youtube")
    assert "speaker_id" not in second and second["declared_language"] == "en"
    assert capsys.readouterr().out.splitlines() == [
        "not joined: videovideoTr6MMsoWAog-scene3 overlaps videovideoTr6MMsoWAog-scene2",
        "not joined: https://www.youtube.com/watch?v=AAAAAAAAAAA has 2 people; speaker_id is left to be measured",
        f"{out}: 2 videos, 4 of 5 clips, 0.00 h",
    ]


def test_only_some_languages(tmp_path):
    out = tmp_path / "m.jsonl"
    assert main([str(_write(tmp_path, CLIPS)), "--out", str(out), "--language", "zh", "ja"]) == 0
    assert [row["declared_language"] for row in read_manifest(out)] == ["zh"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"clips": []}, "expected a list of clips"),
        ([CLIPS[0], {"id": "x"}], "clip 2: not of TalkVid's form: KeyError('info')"),
        ([clip("AAAAAAAAAAA", 1, 5.0, 5.0)], "clip 1: videovideoAAAAAAAAAAA-scene1 goes from 5 to 5 s"),
        ([clip("AAAAAAAAAAA", 1, 0.0, float("nan"))], "clip 1: videovideoAAAAAAAAAAA-scene1 goes from 0 to nan s"),
        ([clip("AAAAAAAAAAA", 1, 0.0, 5.0), clip("AAAAAAAAAAA", 1, 6.0, 9.0)], "2 spans need as many different names"),
        ([clip("AAAAAAAAAAA", 1, 0.0, 5.0, **{"Video Link": "gone"})], "clip 1: 'gone' is no address"),
    ],
)
def test_metadata_of_another_form_is_an_error_by_clip(tmp_path, capsys, content, message):
    assert main([str(_write(tmp_path, content)), "--out", str(tmp_path / "m.jsonl")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "m.jsonl").exists()


def test_no_file_and_an_unknown_format(tmp_path, capsys):
    assert main([str(tmp_path / "gone.json"), "--out", str(tmp_path / "m.jsonl")]) == 2
    assert main([str(_write(tmp_path, CLIPS)), "--out", str(tmp_path / "m.xml")]) == 2
    assert "gone.json cannot be read" in capsys.readouterr().err
