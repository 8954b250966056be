"""Which code measured a row."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def code_version() -> str:
    """Like `0.1.0+1f3a9c2e04d7`: the release, and a hash of the code that measures, which says more."""
    release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    digest = hashlib.sha256()
    for file in sorted((ROOT / "stages").rglob("*.py")):
        digest.update(f"{file.relative_to(ROOT).as_posix()}\n".encode() + file.read_bytes())
    return f"{release}+{digest.hexdigest()[:12]}"
