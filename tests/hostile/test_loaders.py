"""Model files are data: no loader here runs what stands in one, and none that would can creep in."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from model.training.editor_task import read_state
from stages.audio.diarize import read_network
from stages.audio.whisper_weights import encoder_from_openai
from stages.core.tensors import UnsafeWeights, read_tensors
from stages.face3d.load import load_face_model
from stages.face3d.model import FaceModelError

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "stages", "model", "manifests", "benchmarks")
PICKLES = frozenset({"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"})
RUNS_CODE = frozenset(
    {
        "from_pretrained",  # of libraries that unpickle, pyannote among them
        "load_from_checkpoint",
        "read_pickle",
        "unsafe_load",
        "full_load",
        "register_custom_ops_library",
    }
)


def _name(node: ast.expr) -> str:
    """`torch.jit.load` of the expression that says so."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id if isinstance(node, ast.Name) else "_", *reversed(parts)])


def _is(call: ast.Call, keyword: str, value: object) -> bool:
    return any(k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is value for k in call.keywords)


def unsafe_loads(source: str) -> Iterator[str]:
    """Line and name of every call that may run code from a file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"{node.lineno}: import {name}" for name in modules if name.split(".")[0] in PICKLES)
        if not isinstance(node, ast.Call):
            continue
        name = _name(node.func)
        last = name.rsplit(".", 1)[-1]
        wrong = (
            (name == "torch.load" and not _is(node, "weights_only", True))
            or (name in ("np.load", "numpy.load") and not _is(node, "allow_pickle", False))
            or (
                name == "yaml.load"
                and not any("Safe" in ast.unparse(a) or "loader" in ast.unparse(a) for a in node.keywords)
            )
            or name.startswith(("torch.hub.", "torch.jit.load", "torch.package", "torch.classes.load"))
            or name in ("eval", "exec", "os.system", "os.popen")
            or last in RUNS_CODE
            or _is(node, "shell", True)
            or _is(node, "trust_remote_code", True)
            or _is(node, "weights_only", False)
        )
        if wrong:
            yield f"{node.lineno}: {name}"


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "import pickle",
        "from joblib import load",
        "Model.from_pretrained(path)",
        "torch.hub.load('a', 'b')",
        "torch.jit.load(path)",
        "yaml.load(text, Loader=yaml.UnsafeLoader)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_search_finds_what_it_is_for(source: str) -> None:
    assert list(unsafe_loads(source))


def test_no_module_loads_what_could_run() -> None:
    found = {
        str(file.relative_to(ROOT)): problems
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
        if (problems := list(unsafe_loads(file.read_text())))
    }
    own = found.pop("stages/core/tensors.py")
    assert [problem.split(": ")[1] for problem in own] == ["import pickle"]  # for the name of its error
    assert not found


class _Malice:
    """Unpickling it makes a file."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (self._trace,)


@pytest.mark.parametrize("read", [read_tensors, read_state, read_network, encoder_from_openai])
@pytest.mark.parametrize("as_zip", [True, False])
def test_a_checkpoint_with_code_is_refused_and_not_run(
    read: Callable[[Path], object], as_zip: bool, tmp_path: Path
) -> None:
    path, trace = tmp_path / "model.pt", tmp_path / "ran"
    content = {"state_dict": {"w": torch.zeros(2)}, "hyper_parameters": _Malice(trace), "model_state_dict": {}}
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    with pytest.raises(UnsafeWeights, match="may be code") as refused:
        read(path)
    assert str(path) in str(refused.value) and "safetensors" in str(refused.value)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_a_bare_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(pickle.dumps(_Malice(tmp_path / "ran")))
    with pytest.raises(UnsafeWeights):
        read_tensors(tmp_path / "model.bin")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02", b"\x00" * 100, b"<html>404</html>"])
def test_a_damaged_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(UnsafeWeights, match=r"model\.bin"):
        read_tensors(tmp_path / "model.bin")


def test_a_safe_checkpoint_is_read(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "model.pt")
    assert read_tensors(tmp_path / "model.pt")["w"].tolist() == [1.0, 1.0]


def test_a_face_model_with_objects_is_refused_and_not_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "face.npz", mean=np.array([_Malice(tmp_path / "ran")], dtype=object))
    with pytest.raises(FaceModelError, match="allow_pickle"):
        load_face_model(tmp_path / "face.npz")
    assert not (tmp_path / "ran").exists()
