"""A hundred broken files, the same ones every time; `make fuzz` breaks others for as long as asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.core.reasons import DropReason
from tests.hostile.fuzz import Reader
from tests.hostile.mutate import KINDS, POSITIONS, Mutation, seeds

MAX_CPU_S = 5.0
"""Of one file, by every entry; a sound one takes 0.05 s."""
NUMBERS = st.integers(0, 255)
MUTATION = st.builds(Mutation, st.sampled_from(KINDS), st.integers(0, POSITIONS - 1), NUMBERS, NUMBERS)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return seeds(tmp_path_factory.mktemp("seeds"))


def test_the_originals_are_sound(reader: Reader, originals: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in originals.items():
        (tmp_path / name).write_bytes(content)
        found, _ = reader.read(tmp_path / name)
        assert set(found.values()) == {"ok"}, name


@settings(derandomize=True, max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.lists(MUTATION, min_size=1, max_size=8))
def test_a_broken_file_is_read_or_dropped(
    reader: Reader, originals: dict[str, bytes], tmp_path: Path, data: st.DataObject, mutations: list[Mutation]
) -> None:
    name = data.draw(st.sampled_from(sorted(originals)))
    content = originals[name]
    for mutation in mutations:
        content = mutation.apply(content, list(originals.values()))
    (tmp_path / name).write_bytes(content)
    found, cpu_s = reader.read(tmp_path / name)  # ReaderDied tells of crashes, hangs and exceptions
    assert set(found.values()) <= {"ok", *map(str, DropReason)} - {"error"}
    assert cpu_s < MAX_CPU_S
