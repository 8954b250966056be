"""HDTF's published lists as a manifest: each video with its talking spans, under HDTF's own names of clips.

    python -m manifests.hdtf DIR [--out hdtf.yaml]
    python pipeline/run.py --manifest hdtf.yaml --out DIR --config manifests/hdtf_policy.yaml

DIR holds `{RD,WDA,WRA}_{video_url,annotion_time,resolution,crop_wh,crop_ratio}.txt` as HDTF publishes them (CC BY 4.0).
Source: Zhang et al., Flow-guided One-shot Talking Face Generation, CVPR 2021.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from stages.core.command import UserError, command, make_parser
from stages.core.records import Row
from stages.core.spans import Span, read_spans
from stages.core.storage import write_text

SETS = {"RD": "radio", "WDA": "weekly address, Democrats", "WRA": "weekly address, Republicans"}
LICENCE = "the uploader's terms; HDTF's lists are CC BY 4.0"


class ListError(UserError):
    """A list that is missing or cannot be understood; the message names it."""


@dataclass
class Joined:
    """Result of joining the lists.

    Args:
        rows: rows of a manifest.
        loose: entries that could not be joined, one line each.
    """

    rows: list[Row] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)

    @property
    def num_spans(self) -> int:
        return sum(len(row["spans"]) for row in self.rows)

    @property
    def hours(self) -> float:
        return sum(end_s - start_s for row in self.rows for start_s, end_s in row["spans"]) / 3600


def join_lists(folder: Path) -> Joined:
    """Read the lists of all sets that the folder has.

    Raises:
        ListError: no set is complete with addresses and times, or a line is not of HDTF's form.
    """
    joined = Joined()
    present = [name for name in SETS if (folder / f"{name}_video_url.txt").is_file()]
    if not present:
        raise ListError(f"{folder} has none of {', '.join(f'{name}_video_url.txt' for name in SETS)}")
    for name in present:
        _join_set(folder, name, joined)
    return joined


def _join_set(folder: Path, name: str, joined: Joined) -> None:
    urls, times = (_read(folder / f"{name}_{kind}.txt", needed=True) for kind in ("video_url", "annotion_time"))
    sizes, crops, ratios = (_read(folder / f"{name}_{kind}.txt") for kind in ("resolution", "crop_wh", "crop_ratio"))
    clips: set[str] = set()
    for video in sorted(urls.keys() | times.keys()):
        if video not in times or not times[video]:
            joined.loose.append(f"{name}: {video} has an address but no times")
        elif video not in urls or not urls[video]:
            joined.loose.append(f"{name}: {video} has times but no address")
        else:
            spans = _spans(name, video, times[video], joined)
            names = [span_name.removeprefix(f"{name}_") for _, _, span_name in spans]
            clips.update(f"{video}_{idx}" for idx in range(len(times[video])))
            tags = ["hdtf", f"hdtf {SETS[name]}"]
            if video in sizes:
                tags.append(f"hdtf resolution {' '.join(sizes[video])}p")
            tags += [f"{name}_{clip} {text}" for clip in names if (text := _crop(clip, crops, ratios))]
            joined.rows.append(_row(name, video, urls[video][0], spans, tags))
            joined.loose += [f"{name}: {clip} has no crop window" for clip in names if crops and clip not in crops]
    joined.loose += [f"{name}: {clip} has a crop window but no times" for clip in sorted(crops.keys() - clips)]
    joined.loose += [f"{name}: {video} has a resolution but no times" for video in sorted(sizes.keys() - times.keys())]


def _spans(name: str, video: str, times: list[str], joined: Joined) -> list[Span]:
    """The clips of a video; of two that overlap, the list's first: HDTF has one such slip."""
    spans: list[Span] = []
    for idx, time in enumerate(times):
        clip = f"{name}_{video}_{idx}"
        try:
            (span,) = read_spans([time], [clip], video)
        except ValueError as error:
            raise ListError(f"{name}_annotion_time.txt, {video}: {error}") from error
        other = next((taken for taken in spans if span[0] < taken[1] and taken[0] < span[1]), None)
        if other is None:
            spans.append(span)
        else:
            joined.loose.append(f"{name}: {video}_{idx} ({time}) overlaps {other[2]}")
    return sorted(spans)


def _row(name: str, video: str, url: str, spans: list[Span], tags: list[str]) -> Row:
    return {
        "source_id": f"{name}_{video}",
        "uri": url,
        "platform": "youtube",
        "licence": LICENCE,
        "consent": "unknown",
        "language": "en",
        "tags": tags,
        "spans": [[start_s, end_s] for start_s, end_s, _ in spans],
        "span_names": [clip for _, _, clip in spans],
    }


def _crop(clip: str, crops: dict[str, list[str]], ratios: dict[str, list[str]]) -> str:
    """HDTF's window of a clip as WIDTHxHEIGHT+X+Y in pixels of its resolution; its lists say x, width, y, height."""
    if clip not in crops:
        return ""
    if len(crops[clip]) != 4 or not all(number.isdecimal() for number in crops[clip]):
        raise ListError(f"crop_wh of {clip}: expected x, width, y and height, got {' '.join(crops[clip])!r}")
    left, width, top, height = crops[clip]
    ratio = f" ratio {' '.join(ratios[clip])}" if clip in ratios else ""
    return f"crop {width}x{height}+{left}+{top}{ratio}"


def _read(path: Path, *, needed: bool = False) -> dict[str, list[str]]:
    """The words behind each name; `.mp4`, byte-order marks and trailing blanks do not count."""
    if not path.is_file() and not needed:
        return {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ListError(f"{path} cannot be read: {error}") from error
    return dict(_named(lines, path))


def _named(lines: list[str], path: Path) -> Iterator[tuple[str, list[str]]]:
    seen = set()
    for line in lines:
        name, *words = line.split() or [""]
        name = name.removesuffix(".mp4")
        if name in seen:
            raise ListError(f"{path}: {name} stands twice")
        if name:
            seen.add(name)
            yield name, words


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m manifests.hdtf", __doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="with RD_video_url.txt and the like")
    parser.add_argument("--out", type=Path, default=Path("hdtf.yaml"), help="manifest to write: .yaml or .jsonl")
    args = parser.parse_args(arguments)
    joined = join_lists(args.folder)
    if args.out.suffix == ".jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in joined.rows)
    elif args.out.suffix in (".yaml", ".yml"):
        text = yaml.safe_dump({"sources": joined.rows}, allow_unicode=True, sort_keys=False)
    else:
        raise ListError(f"--out {args.out}: name a .yaml or .jsonl file")
    write_text(args.out, text)
    for line in joined.loose:
        print(f"not joined: {line}")
    print(f"{args.out}: {len(joined.rows)} videos, {joined.num_spans} spans, {joined.hours:.2f} h")


if __name__ == "__main__":
    raise SystemExit(main())
