"""TalkVid's metadata as a manifest: each video with the spans of its clips, under TalkVid's own names of clips.

    python -m manifests.talkvid FILE.json [--out talkvid.jsonl] [--language zh ...]
    python pipeline/run.py --manifest talkvid.jsonl --out DIR

FILE is the list of clips that TalkVid publishes (CC BY-NC 4.0): `id`, `start-time`, `end-time` in seconds, and `info`
with `Video Link`, `Person ID` and `Language`.
Source: Chen et al., TalkVid, arXiv:2508.13618.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.command import UserError, command, make_parser
from stages.core.records import Row
from stages.core.spans import read_spans
from stages.core.storage import write_text
from stages.crawl.links import canonical

LICENCE = "the uploader's terms; TalkVid's metadata is CC BY-NC 4.0"
LANGUAGES = {
    "Arabic": "ar",
    "Chinese": "zh",
    "English": "en",
    "French": "fr",
    "German": "de",
    "Hindi": "hi",
    "Italian": "it",
    "Japanese": "ja",
    "Korean": "ko",
    "Polish": "pl",
    "Portuguese": "pt",
    "Russian": "ru",
    "Spanish": "es",
    "Thai": "th",
}
"""TalkVid's names of languages, and ours."""


class MetadataError(UserError):
    """Metadata that cannot be understood; the message names the clip."""


@dataclass(frozen=True)
class _Clip:
    """A clip of TalkVid; times in seconds."""

    name: str
    start_s: float
    end_s: float
    uri: str
    person: str | None
    language: str | None


def read_clips(path: Path) -> list[_Clip]:
    """The clips of a file.

    Raises:
        MetadataError: no such file, not JSON, or a clip without a name, an address or times.
    """
    try:
        items = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise MetadataError(f"{path} cannot be read: {error}") from error
    if not isinstance(items, list):
        raise MetadataError(f"{path}: expected a list of clips")
    return [_clip(item, f"{path}, clip {number}") for number, item in enumerate(items, start=1)]


def _clip(item: Any, where: str) -> _Clip:
    try:
        info = item["info"]
        name, start_s, end_s = str(item["id"]), float(item["start-time"]), float(item["end-time"])
        uri = canonical(str(info["Video Link"]).strip())
        person, language = (str(info.get(key) or "").strip() for key in ("Person ID", "Language"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MetadataError(f"{where}: not of TalkVid's form: {error!r}") from error
    if not 0 <= start_s < end_s < float("inf"):
        raise MetadataError(f"{where}: {name} goes from {start_s:g} to {end_s:g} s")
    if not uri.startswith(("http://", "https://")):
        raise MetadataError(f"{where}: {uri!r} is no address")
    return _Clip(name, start_s, end_s, uri, person or None, LANGUAGES.get(language))


def join_clips(clips: list[_Clip]) -> tuple[list[Row], list[str]]:
    """Rows of a manifest, one a video, and what could not be joined, one line each.

    Of clips that overlap, the first stays. A video with several people gets no speaker, one in several languages none.

    Raises:
        MetadataError: two clips of a video have one name.
    """
    by_video: dict[str, list[_Clip]] = defaultdict(list)
    for clip in clips:
        by_video[clip.uri].append(clip)
    rows, loose = [], []
    for uri, members in by_video.items():
        taken: list[_Clip] = []
        for clip in sorted(members, key=lambda clip: (clip.start_s, clip.end_s)):
            if taken and clip.start_s < taken[-1].end_s:
                loose.append(f"{clip.name} overlaps {taken[-1].name}")
            else:
                taken.append(clip)
        try:
            spans = read_spans([[clip.start_s, clip.end_s] for clip in taken], [clip.name for clip in taken], uri)
        except ValueError as error:
            raise MetadataError(f"{uri}: {error}") from error
        people, languages = {clip.person for clip in taken}, {clip.language for clip in taken}
        row: Row = {
            "uri": uri,
            "licence": LICENCE,
            "consent": "unknown",
            "tags": ["talkvid"],
            "spans": [[start_s, end_s] for start_s, end_s, _ in spans],
            "span_names": [name for _, _, name in spans],
        }
        if len(people) == 1 and None not in people:
            row["speaker_id"] = f"talkvid-{people.pop()}"
        elif len(people) > 1:
            loose.append(f"{uri} has {len(people)} people; speaker_id is left to be measured")
        if len(languages) == 1 and None not in languages:
            row["language"] = languages.pop()
        rows.append(row)
    return rows, loose


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m manifests.talkvid", __doc__)
    parser.add_argument("file", type=Path, metavar="FILE.json", help="TalkVid's list of clips")
    parser.add_argument("--out", type=Path, default=Path("talkvid.jsonl"), help="manifest to write, .jsonl")
    parser.add_argument(
        "--language", nargs="+", choices=sorted(LANGUAGES.values()), help="only clips in these languages"
    )
    args = parser.parse_args(arguments)
    if args.out.suffix != ".jsonl":
        raise MetadataError(f"--out {args.out}: name a .jsonl file")
    clips = read_clips(args.file)
    rows, loose = join_clips([clip for clip in clips if args.language is None or clip.language in args.language])
    write_text(args.out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    for line in loose:
        print(f"not joined: {line}")
    hours = sum(end_s - start_s for row in rows for start_s, end_s in row["spans"]) / 3600
    num_spans = sum(len(row["spans"]) for row in rows)
    print(f"{args.out}: {len(rows)} videos, {num_spans} of {len(clips)} clips, {hours:.2f} h")


if __name__ == "__main__":
    raise SystemExit(main())
