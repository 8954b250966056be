"""Show a clip's geometry as a video: crop, landmarks, mesh, the face's own colours, depth.

    python -m pipeline.geometry_view --out DIR CLIP --video FILE.mp4

CLIP is the row_id of a kept clip. Landmarks: the detector's in green, the fitted model's in red. Depth is what stands
in the shard, or drawn where shards are made without; red near and blue far, and the mouth region is outlined.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from pipeline.show.clip_geometry import open_clip
from stages.audio.pcm16 import from_pcm16
from stages.core.command import command, make_parser
from stages.core.records import CLIP_FPS
from stages.core.storage import as_path
from stages.media import write_video


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m pipeline.geometry_view", __doc__)
    parser.add_argument("--out", required=True, help="folder of a run, or s3://bucket/folder")
    parser.add_argument("--video", type=Path, required=True, help="the .mp4 to write")
    parser.add_argument("clip", help="row_id of a kept clip")
    args = parser.parse_args(arguments)
    clip = open_clip(as_path(args.out), args.clip)
    sound = from_pcm16(clip.row["audio_pcm16"])
    args.video.parent.mkdir(parents=True, exist_ok=True)
    write_video(args.video, clip.pictures(), Fraction(CLIP_FPS), sound)
    print(f"{args.video}: {clip.num_frames} frames; crop, landmarks, mesh, own colours, depth")


if __name__ == "__main__":
    raise SystemExit(main())
