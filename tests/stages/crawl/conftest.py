"""The loopback site of the crawl's tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.known.media_files import steady, tone, write_media
from tests.stages.crawl.video_site import Handler, Site, open_site

Route = Callable[[Handler, int], None]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_media(tmp_path_factory.mktemp("video") / "a.mp4", steady(50), sound=tone(2.0))


@pytest.fixture
def site(tmp_path: Path, video: Path) -> Iterator[Site]:
    """A site with one good video, `/talk.mp4`."""
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copy(video, folder / "talk.mp4")
    with open_site(folder) as opened:
        yield opened
