"""Make the installed torch importable, whichever build the package index gave. Runs before other packages are there.

PyPI's Linux build of torch needs CUDA libraries, which the lock leaves out; they are fetched if it does not import.
torchaudio's compiled extensions need CUDA too; beside a CPU build they are removed, and it runs as plain Python.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path


def torch_build() -> str | None:
    """`cpu` or `cuda`; None if torch does not import."""
    code = "import torch; print('cuda' if torch.version.cuda else 'cpu')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def main() -> int:
    build = torch_build()
    if build is None:
        print("This torch needs CUDA libraries: fetching them (several GB).")
        wanted = f"torch=={version('torch').split('+')[0]}"
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", wanted], check=True)
        build = torch_build()
    if build is None:
        print("torch does not import; see the error of: python -c 'import torch'", file=sys.stderr)
        return 1
    if build == "cpu":
        for extension in (Path(sysconfig.get_paths()["purelib"]) / "torchaudio" / "lib").glob("*.so"):
            extension.unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
