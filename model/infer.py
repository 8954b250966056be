"""Dub a video: the same pictures, with a mouth that says another sound.

    python -m model.infer --run RUN --video V --audio A --out Y.mp4 [--a2m RUN2] [--device cuda]

The result is as long as the sound: a longer video is cut, a shorter one runs to and fro, or ends with `--loop stop`.
Frames without a face pass through. Two passes over the video: the first follows the face, the second edits frame by
frame; memory grows by a sound's 64 kB a second and, in a temporary file, by a face's 6 kB a frame of the video.

Every result says that it was made: to the eye, in the container's comment, and by C2PA (`model/provenance.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model.dubbing.dub import DEPTHS, LOOPS, InferConfig, dub
from model.training.devices import default_device
from model.training.load import load_trained
from model.training.progress import Progress
from stages.core.command import UserError, command, make_parser
from stages.core.storage import local_path
from stages.core.weights import WeightStore


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m model.infer", __doc__)
    parser.add_argument("--run", type=local_path, required=True, help="a run of python -m model.train")
    parser.add_argument("--video", type=local_path, required=True)
    parser.add_argument("--audio", type=local_path, required=True, help="any file with sound, a video too")
    parser.add_argument("--out", type=local_path, required=True, help="the .mp4 to write")
    parser.add_argument("--a2m", type=local_path, help="a run of the preset a2m: depth for the new sound")
    parser.add_argument("--depth", choices=DEPTHS, help="default: a2m with --a2m, none without")
    parser.add_argument("--temperature", type=float, default=0.0, help="0: a2m's likeliest motion; 1: as it varies")
    parser.add_argument("--seed", type=int, default=0, help="of what the temperature draws")
    parser.add_argument("--loop", choices=LOOPS, default=InferConfig.loop, help="where the sound is the longer one")
    parser.add_argument("--face", type=int, default=0, metavar="N", help="0: the largest; n: the n-th from the left")
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--batch-size", type=int, default=InferConfig.batch_size)
    parser.add_argument("--no-visible-mark", action="store_true", help="do not write on the pictures; tags stay")
    parser.add_argument("--no-c2pa", action="store_true", help="do not sign; the container's comment stays")
    given = parser.parse_args(arguments)
    weights = WeightStore.from_environment()
    absent = [str(path) for path in (given.video, given.audio) if not path.is_file()]
    if absent:
        raise UserError(f"no such file: {', '.join(absent)}")
    config = InferConfig(
        given.batch_size,
        given.loop,
        given.depth,
        given.face,
        not given.no_visible_mark,
        None if given.no_c2pa else weights.cache.parent / "signing",
        (given.run.name, given.a2m.name if given.a2m else None),
        given.temperature,
        given.seed,
    )
    editor: Any = load_trained(given.run, "editor", weights, given.device)
    motion: Any = load_trained(given.a2m, "a2m", weights, given.device) if given.a2m else None
    given.out.parent.mkdir(parents=True, exist_ok=True)
    done = dub(given.video, given.audio, given.out, editor, motion, weights, config, Progress(active=True))
    print(f"{given.out}: {'; '.join(done.notes())}")


if __name__ == "__main__":
    raise SystemExit(main())
