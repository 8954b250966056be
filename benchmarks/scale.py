"""Simulation of a cluster of any size with the measured cost of each record: run time, load and bottleneck.

    python -m benchmarks.scale benchmarks/stages.jsonl --cores 64 --sources 20000

Sources are drawn with replacement from those measured (`benchmarks.stages`) and handed on in waves, as the stream does.
Actors of a pool take records first come, first served; a pool has as many actors as its share of the work asks for,
which is what Ray's own scaling tends to. Loading models, moving rows and machines that die cost what the options say.
"""

from __future__ import annotations

import heapq
import json
import random
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.rules.config import RunConfig
from stages.core.command import command, make_parser

POOLS = RunConfig().pools
POOL_OF = {stage: name for name, pool in POOLS.items() for stage in pool.stages}


@dataclass(frozen=True)
class Work:
    """CPU seconds in one pool, and the work that follows from it."""

    pool: str
    cpu_s: float
    then: tuple[Work, ...] = ()


def work_of(events: list[dict]) -> Work:
    """The tree of one source: its file-level pools in sequence, then its shots, then their clips."""
    busy: dict[str, list[float]] = defaultdict(list)
    for event in events:
        busy[event["stage"]].append(event["busy_s"])
    num_clips = len(busy["identity"])
    clip_s = sum(sum(busy[stage]) for stage in POOLS["clip"].stages) / max(num_clips, 1)
    clips = [Work("clip", clip_s) for _ in range(num_clips)]
    tracks = []
    for idx, cpu_s in enumerate(busy["track"]):
        tracks.append(Work("track", cpu_s, tuple(clips[idx :: len(busy["track"])])))
    node, then = None, tuple(tracks)
    for name in ("scan", "hear", "fetch"):
        cpu_s = sum(sum(busy[stage]) for stage in POOLS[name].stages)
        if cpu_s or node:
            node = Work(name, cpu_s, then)
            then = (node,)
    return node or Work("fetch", 0.0)


def totals(work: Work) -> dict[str, float]:
    """CPU seconds by pool."""
    summed: dict[str, float] = defaultdict(float)
    summed[work.pool] += work.cpu_s
    for child in work.then:
        for pool, cpu_s in totals(child).items():
            summed[pool] += cpu_s
    return summed


def share_out(cores: int, load: dict[str, float]) -> dict[str, int]:
    """Actors by pool: one each, the rest where the load per actor is highest."""
    actors = dict.fromkeys(POOLS, 1)
    for _ in range(cores - len(actors)):
        actors[max(actors, key=lambda pool: load.get(pool, 0.0) / actors[pool])] += 1
    return actors


def simulate(jobs: list[Work], actors: dict[str, int], load_s: float, loss_per_s: float, rng: random.Random) -> float:
    """Seconds until all jobs are done.

    Args:
        load_s: time until an actor has loaded its models.
        loss_per_s: probability that an actor's machine is lost in a second; its current work is repeated.
    """
    queues = {pool: deque[Work]() for pool in actors}
    queues["fetch"].extend(jobs)
    idle = dict(actors)
    running: list[tuple[float, int, Work]] = []
    now_s, ticket = load_s, 0
    while True:
        for pool, queue in queues.items():
            while queue and idle[pool]:
                work = queue.popleft()
                lost = rng.random() < work.cpu_s * loss_per_s
                took_s = work.cpu_s * (1 + rng.random()) + load_s if lost else work.cpu_s
                heapq.heappush(running, (now_s + took_s, ticket, work))
                ticket, idle[pool] = ticket + 1, idle[pool] - 1
        if not running:
            return now_s
        now_s, _, work = heapq.heappop(running)
        idle[work.pool] += 1
        for child in work.then:
            queues[child.pool].append(child)


def print_costs(measured: list[dict], hours: float) -> None:
    """Per stage: rows, what passed, and CPU seconds for a minute of the video that its rows stand for."""
    print(f"{len(measured)} sources, {hours:.2f} h")
    print("| stage | rows | passed | minutes in | CPU s a minute |\n|---|---|---|---|---|")
    for stage in POOL_OF:
        events = [(event, record) for record in measured for event in record["events"] if event["stage"] == stage]
        minutes = sum((event["hours"] or record["length_s"] / 3600) * 60 for event, record in events)
        busy_s = sum(event["busy_s"] for event, _ in events)
        passed = sum(event["dropped"] is None for event, _ in events)
        print(f"| {stage} | {len(events)} | {passed} | {minutes:.1f} | {busy_s / max(minutes, 1e-9):.2f} |")
    kept = [event for record in measured for event in record["events"] if event["stage"] == "features"]
    kept_hours = sum(event["hours"] for event in kept)
    num_bytes = sum(record["row_bytes"] for record in measured) / max(kept_hours, 1e-9)
    print(f"kept {kept_hours:.3f} h, {num_bytes / 1e9:.1f} GB an hour\n")


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.scale", __doc__)
    parser.add_argument("measured", type=Path)
    parser.add_argument("--cores", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--sources", type=int, default=20_000)
    parser.add_argument("--load-s", type=float, default=20.0)
    parser.add_argument("--losses-per-day", type=float, default=1.0, help="of each actor's machine")
    args = parser.parse_args(arguments)
    measured = [json.loads(line) for line in args.measured.read_text().splitlines()]
    works = [work_of(record["events"]) for record in measured]
    hours = sum(record["length_s"] for record in measured) / 3600
    load: dict[str, float] = defaultdict(float)
    for work in works:
        for pool, cpu_s in totals(work).items():
            load[pool] += cpu_s
    print_costs(measured, hours)
    print("| cores | waves of | wall h | busy | hours of video per core hour |\n|---|---|---|---|---|")
    for cores in args.cores:
        for wave in (500, 2000, 20_000):
            rng = random.Random(0)
            jobs = rng.choices(range(len(works)), k=args.sources)
            wall_s = 0.0
            for first in range(0, len(jobs), wave):
                some = [works[idx] for idx in jobs[first : first + wave]]
                actors = share_out(cores, load)
                wall_s += simulate(some, actors, args.load_s, args.losses_per_day / 86_400, rng)
            cpu_s = sum(sum(totals(works[idx]).values()) for idx in jobs)
            video_h = sum(measured[idx]["length_s"] for idx in jobs) / 3600
            busy, rate = cpu_s / (cores * wall_s), video_h / (cores * wall_s / 3600)
            print(f"| {cores} | {wave} | {wall_s / 3600:.2f} | {busy:.0%} | {rate:.2f} |")


if __name__ == "__main__":
    raise SystemExit(main())
