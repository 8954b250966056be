"""Serve a page on this machine to dub videos: pick, record, watch.

    python -m model.web --run RUN [--a2m RUN2] [--port 7860]

Jobs run one after the other. Uploads and results lie in a temporary folder that goes when the server ends. It listens
on this machine alone unless `--host` says otherwise; it asks nobody for a password.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.multipart import BodyPartReader

from model.dubbing.dub import DEPTHS, LOOPS, InferConfig, dub
from model.training.devices import default_device
from model.training.load import load_trained
from model.training.progress import Progress
from stages.core.command import UserError, command, make_parser
from stages.core.reasons import Dropped
from stages.core.settings import ConfigError
from stages.core.storage import local_path
from stages.core.weights import MissingWeights, WeightStore

PAGE = Path(__file__).parent / "web.html"
PORT = 7860
MAX_UPLOAD_BYTES = 2 << 30
CHUNK_BYTES = 1 << 20
FILES = ("video", "audio")


class Refused(Exception):
    """A request that cannot be served; the message is for the person at the page."""


class JobProgress(Progress):
    """Keeps a job's progress for the page."""

    def __init__(self) -> None:
        super().__init__(active=False)
        self.share, self.text = 0.0, "waiting"

    def say(self, text: str) -> None:
        self.text = text

    def show(self, name: str, step: int, share: float, metrics: dict[str, float]) -> None:  # noqa: ARG002
        self.share, self.text = share, f"frame {step}"


@dataclass
class Job:
    """One dub; `state` is waiting, running, done or failed."""

    folder: Path
    options: InferConfig
    state: str = "waiting"
    notes: list[str] = field(default_factory=list)
    progress: JobProgress = field(default_factory=JobProgress)

    def facts(self) -> dict[str, Any]:
        state = {"state": self.state, "notes": self.notes}
        return state | {"share": round(self.progress.share, 3), "text": self.progress.text}


class Studio:
    """The models, and a queue of jobs."""

    def __init__(self, editor: Any, motion: Any, weights: WeightStore, config: InferConfig, folder: Path) -> None:
        self.has_motion = motion is not None
        self.config, self._folder = config, folder
        self._editor, self._motion, self._weights = editor, motion, weights
        self._jobs: dict[str, Job] = {}
        self._worker = ThreadPoolExecutor(1)

    def close(self) -> None:
        self._worker.shutdown(wait=True, cancel_futures=True)

    def job(self, request: web.Request) -> Job:
        found = self._jobs.get(request.match_info["id"])
        if found is None:
            raise Refused("there is no such job")
        return found

    async def start(self, request: web.Request) -> str:
        """Take uploads and options, queue the job and return its id."""
        name = uuid.uuid4().hex[:12]
        folder = self._folder / name
        folder.mkdir()
        options: dict[str, str] = {}
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name in FILES:
                await _save(part, folder / part.name)
            elif isinstance(part, BodyPartReader) and part.name:
                options[part.name] = (await part.text())[:100]
        missing = [file for file in FILES if not (folder / file).is_file() or not (folder / file).stat().st_size]
        if missing:
            raise Refused(f"choose a file first: {' and '.join(missing)}")
        self._jobs[name] = job = Job(folder, _options(self.config, options))
        self._worker.submit(self._run, job)
        return name

    def _run(self, job: Job) -> None:
        job.state = "running"
        video, audio = (job.folder / name for name in FILES)
        motion = self._motion if job.options.depth in (None, "a2m") else None
        out = job.folder / "dubbed.mp4"
        try:
            done = dub(video, audio, out, self._editor, motion, self._weights, job.options, job.progress)
        except (ConfigError, Dropped, MissingWeights) as error:
            job.notes, job.state = [str(error)], "failed"
        except BaseException as error:
            job.notes, job.state = [f"something is wrong here: {error!r}"], "failed"
            raise
        else:
            job.notes, job.state = done.notes(), "done"


async def _save(part: BodyPartReader, path: Path) -> None:
    size = 0
    with path.open("wb") as file:
        while chunk := await part.read_chunk(CHUNK_BYTES):
            size += len(chunk)
            if size > MAX_UPLOAD_BYTES:
                raise Refused(f"{part.name} is larger than {MAX_UPLOAD_BYTES >> 30} GB")
            file.write(chunk)


def _options(config: InferConfig, given: dict[str, str]) -> InferConfig:
    loop, depth, face = given.get("loop", config.loop), given.get("depth") or None, given.get("face") or "0"
    if loop not in LOOPS or depth not in (None, *DEPTHS) or not face.isdecimal():
        raise Refused("these settings are none of those on the page")
    return replace(config, loop=loop, depth=depth, face=int(face))


def make_app(studio: Studio) -> web.Application:
    """The page at `/`, its API below `/api/jobs`."""

    @web.middleware
    async def in_words(request: web.Request, handler: Any) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        try:
            if origin is not None and origin.split("://")[-1] != request.host:
                raise Refused("another site may not use this page")
            return await handler(request)
        except Refused as error:
            return web.json_response({"error": str(error)}, status=400)

    async def page(_request: web.Request) -> web.StreamResponse:
        text = PAGE.read_text(encoding="utf-8").replace("{depth}", "" if studio.has_motion else "disabled")
        return web.Response(text=text, content_type="text/html")

    async def start(request: web.Request) -> web.StreamResponse:
        return web.json_response({"id": await studio.start(request)}, status=202)

    async def facts(request: web.Request) -> web.StreamResponse:
        return web.json_response(studio.job(request).facts())

    async def result(request: web.Request) -> web.StreamResponse:
        job = studio.job(request)
        if job.state != "done":
            raise Refused("this job has no result yet")
        return web.FileResponse(job.folder / "dubbed.mp4")

    async def close(_app: web.Application) -> None:
        await asyncio.to_thread(studio.close)

    app = web.Application(middlewares=[in_words])
    app.add_routes([web.get("/", page), web.post("/api/jobs", start), web.get("/api/jobs/{id}", facts)])
    app.add_routes([web.get("/api/jobs/{id}/video", result)])
    app.on_cleanup.append(close)
    return app


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m model.web", __doc__)
    parser.add_argument("--run", type=local_path, required=True, help="a run of python -m model.train")
    parser.add_argument("--a2m", type=local_path, help="a run of the preset a2m: depth for the new sound")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--device", default=default_device())
    given = parser.parse_args(arguments)
    weights = WeightStore.from_environment()
    names = (given.run.name, given.a2m.name if given.a2m else None)
    config = InferConfig(signing=weights.cache.parent / "signing", names=names)
    editor = load_trained(given.run, "editor", weights, given.device)
    motion = load_trained(given.a2m, "a2m", weights, given.device) if given.a2m else None
    with tempfile.TemporaryDirectory(prefix="kouxing-web-") as folder:
        studio = Studio(editor, motion, weights, config, Path(folder))
        try:
            web.run_app(make_app(studio), host=given.host, port=given.port)
        except OSError as error:
            raise UserError(f"{error.strerror}: choose another --port or --host") from error


if __name__ == "__main__":
    raise SystemExit(main())
