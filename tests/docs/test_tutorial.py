"""The tutorial, as a reader types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, first_missing, read, steps

HOUSES = ("manifests", "model", "pipeline", "stages")
TUTORIAL = read(Path("docs/tutorial.md"))


def test_the_tutorial_shows_what_its_commands_print() -> None:
    shown = [output for _, output in steps(TUTORIAL)]
    assert len(shown) >= 9
    assert all(shown)


@pytest.mark.tutorial
def test_the_commands_of_the_tutorial_print_what_it_shows(tmp_path: Path) -> None:
    for house in HOUSES:
        (tmp_path / house).symlink_to(ROOT / house)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for script, shown in steps(TUTORIAL):
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", script],
            check=False,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        assert first_missing(shown, done.stdout) is None, f"{script}\n{done.stdout}"
