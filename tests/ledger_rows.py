"""A made-up run for the tests of statistics, report and card: every drop reason, every unit, hostile titles.

Measurements are drawn at random around what real footage shows, and the verdicts come from the real policy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipeline.dataset.decide import FINAL_LEDGER
from pipeline.dataset.stats import compute_stats
from pipeline.job.plan import STAGE_NAMES
from pipeline.rules.policy import PolicyConfig, decide
from stages.core.reasons import DropReason
from stages.core.records import Row, row_id
from stages.core.rows import table_from_rows
from tests.rows import measured, thumb_jpeg

HOSTILE_TITLES = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</script><script>document.title='owned'</script>",
    "{{ 7*7 }} ${7*7} \u202egnp.exe",
)
TITLES = (
    "三分钟看懂人工智能：大模型到底是怎么学会说话的？",
    "【访谈】一位乡村教师的二十年",
    "今天聊聊普通话的儿化音",
    "新闻联播片段",
    "How to bake sourdough at home",
    "北京胡同里的早餐 | 豆汁儿焦圈儿",
)
VERSIONS = json.dumps({"code": "0123abc", "config": "9f8e7d", "weights": {"yunet": "49f0", "arcface_mbf": "9cc6"}})

# What a stage found as a fact, by the stage that finds it.
FAULTS: dict[DropReason, tuple[str, str]] = {
    DropReason.UNAVAILABLE: ("crawl", "HTTP 404 after 3 tries"),
    DropReason.RATE_LIMITED: ("crawl", "HTTP 412 after 3 tries"),
    DropReason.FORBIDDEN: ("crawl", "HTTP Error 403: Forbidden"),
    DropReason.LOGIN_REQUIRED: ("crawl", "only for members"),
    DropReason.GEO_BLOCKED: ("crawl", "not available from your location"),
    DropReason.DELETED: ("crawl", "HTTP Error 404: Not Found"),
    DropReason.OPTED_OUT: ("crawl", "X-Robots-Tag: noai"),
    DropReason.FORBIDDEN_ADDRESS: ("crawl", "localhost is 127.0.0.1"),
    DropReason.LISTING: ("crawl", "expanded to 12 sources"),
    DropReason.CHANGED: ("crawl", "sha256 5f4dcc3b5aa7, expected 9f86d081884c"),
    DropReason.TOO_LONG: ("crawl", "4.2 h, limit 3 h"),
    DropReason.TOO_LARGE: ("probe", "frames of 16000x16000 px"),
    DropReason.LICENCE: ("crawl", "licence: none named"),  # a policy's, which the default one is not
    DropReason.CONSENT: ("crawl", "consent: unknown"),
    DropReason.FORGOTTEN: ("crawl", "forgotten on request on 2026-03-01"),
    DropReason.NO_SPAN: ("probe", "the first span starts at 300 s, the file ends at 61.20"),
    DropReason.NOT_VIDEO: ("probe", "no container that FFmpeg knows"),
    DropReason.CORRUPT: ("probe", "Invalid data found when processing input"),
    DropReason.TRUNCATED: ("probe", "declares 62.0 s, holds 17.4 s"),
    DropReason.NO_VIDEO: ("probe", "audio only"),
    DropReason.NO_AUDIO: ("probe", "no audio stream"),
    DropReason.CRASHED: ("track", "3 workers died in track of this record"),
    DropReason.TIME_LIMIT: ("hear", "not done after 1800 s"),
    DropReason.ERROR: ("mouth", "ValueError: zero-size array"),
}
# A measurement that the default policy drops, by the stage that measures it.
BAD_MEASUREMENTS: dict[DropReason, dict[str, Row]] = {
    DropReason.LOW_RESOLUTION: {"probe": {"width_px": 320, "height_px": 180}},
    DropReason.LOW_FPS: {"probe": {"fps_num": 10}},
    DropReason.SPEECH: {"hear": {"source_speech_s": 0.6, "source_speech_ratio": 0.01}},
    DropReason.LANGUAGE: {"hear": {"source_language": "en", "source_language_prob": 0.97}},
    DropReason.NOISE: {"hear": {"source_dnsmos_bak": 1.5}},
    DropReason.NO_FACE: {"scan": {"shot_face_ratio": 0.1}},
    DropReason.MULTI_FACE: {"scan": {"shot_multi_face_ratio": 0.8, "shot_alone_s": 1.0}},
    DropReason.FACE_TOO_SMALL: {"scan": {"shot_face_px": 41.0}},
    DropReason.COARSE: {"track": {"flat_ratio": 0.3}},
    DropReason.TOO_SHORT: {"scan": {"shot_end_s": 1.2}},
    DropReason.FACE_LOST: {"track": {"track_ratio": 0.6}},
    DropReason.POSE: {"track": {"yaw_deg": 52.0}},
    DropReason.JITTER: {"track": {"jitter": 0.2}},
    DropReason.IDENTITY_CHANGE: {"identity": {"identity_min_sim": 0.12}},
    DropReason.MOUTH_HIDDEN: {"mouth": {"mouth_visible_ratio": 0.4}},
    DropReason.MOUTH_STATIC: {"mouth": {"mouth_motion": 0.001}},
    DropReason.MULTI_SPEAKER: {"speech": {"second_speaker_ratio": 0.4}},
    DropReason.OUT_OF_SYNC: {"sync": {"av_offset_ms": 400.0, "av_shift_ms": 0.0, "sync_conf": 8.0}},
    DropReason.FIT_ERROR: {"geometry": {"fit_error_px": 6.3}},
}


def make_rows(num_good_sources: int = 36, num_bad_sources: int = 1, seed: int = 0) -> list[Row]:
    """Rows as `finalize` decides them: good sources of two shots and up to eight clips, and bad ones of every kind."""
    rng = np.random.default_rng(seed)
    wanted: list[DropReason | None] = [None] * num_good_sources
    wanted += [reason for reason in DropReason for _ in range(num_bad_sources)]
    rows: list[Row] = []
    for i, reason in enumerate(wanted):
        found = list(_rows_of_source(i, reason, rng))
        if reason == DropReason.DUPLICATE_SOURCE:
            for row in found:
                row.update(verdict="drop", drop_stage="finalize", drop_reason=str(reason))
                row["drop_detail"] = "same file as src-000"
        rows += found
    kept = [row for row in rows if row["verdict"] == "keep"]
    for i, row in enumerate(kept):
        identity = int(row["source_id"][4:]) // 2
        row["identity_id"] = f"id-{identity:04d}"
        row["split"] = {0: "val", 1: "test"}.get(identity % 9, "train")
        if i % 29 >= 27:
            is_copy = i % 29 == 28
            del row["split"]
            row.update(verdict="drop", drop_stage="finalize")
            row["drop_reason"] = "duplicate_clip" if is_copy else "other_voice"
            row["drop_detail"] = f"97% the same sound as {kept[0]['row_id']}" if is_copy else "voice_sim 0.1 < 0.4"
    return rows


def _rows_of_source(i: int, reason: DropReason | None, rng: np.random.Generator) -> Iterator[Row]:
    fault_stage, fault_detail = FAULTS.get(reason, (None, None)) if reason else (None, None)
    bad = BAD_MEASUREMENTS.get(reason, {}) if reason else {}
    bad_stage = next(iter(bad), fault_stage)
    bad_idx = STAGE_NAMES.index(bad_stage) if bad_stage else len(STAGE_NAMES)
    source = {
        "source_id": f"src-{i:03d}",
        "uri": f"https://example.org/video/{i}",
        "platform": ("bilibili", "douyin", "local")[i % 3],
        "licence": ("CC-BY-4.0", "site terms")[i % 2],
        "consent": "unknown" if i % 4 else "written",
        "title": HOSTILE_TITLES[i] if i < len(HOSTILE_TITLES) else TITLES[i % len(TITLES)],
        "uploader": f"账号{i}",
        "retrieved_at": datetime(2026, 3, 1, tzinfo=UTC),
        "versions": VERSIONS,
    }
    row = {**source}
    for stage in ("crawl", "probe", "hear"):
        if stage != fault_stage:
            row |= measured(stage, rng) | bad.get(stage, {})
        if stage == bad_stage:
            yield _finish(row, stage, reason if fault_stage else None, fault_detail)
            return
    for shot in range(2):
        shot_row = {**row, **measured("scan", rng), "shot_idx": shot, "num_shots": 2}
        shot_row |= {"shot_start_s": 0.0 if shot == 0 else row["duration_s"] * 0.6, "shot_end_s": row["duration_s"]}
        if shot == 0:
            shot_row["shot_end_s"] = row["duration_s"] * 0.6
        shot_row |= bad.get("scan", {}) if shot == 0 else {}
        if bad_stage == "scan" and shot == 0:
            yield _finish(shot_row, "scan", None, None)
            continue
        length_s = min(10.0, shot_row["shot_end_s"] - shot_row["shot_start_s"])
        num_clips = max(1, min(5, int((shot_row["shot_end_s"] - shot_row["shot_start_s"]) // 10)))
        for clip in range(num_clips):
            clip_row = {**shot_row, "clip_idx": clip, "num_clips": num_clips}
            clip_row["start_s"] = shot_row["shot_start_s"] + clip * 10.0
            clip_row["end_s"] = clip_row["start_s"] + length_s - float(rng.uniform(0, min(5, length_s - 3.2)))
            spoilt = clip == 0
            last = "features"
            for stage in STAGE_NAMES[4:]:
                clip_row |= measured(stage, rng) | (bad.get(stage, {}) if spoilt else {})
                if spoilt and STAGE_NAMES.index(stage) == bad_idx:
                    last = stage
                    break
            if reason is None and i % 12 == 11 and clip == num_clips - 1:
                last = "speech"  # a run that was interrupted
            faulted = spoilt and last == fault_stage
            yield _finish(clip_row, last, reason if faulted else None, fault_detail)


def _finish(row: Row, last_stage: str, fault: DropReason | None, detail: str | None) -> Row:
    row = {**row, "last_stage": last_stage}
    if fault is not None:
        row |= {"fault_reason": str(fault), "fault_detail": detail}
    row |= {name: value for name, value in decide(row, PolicyConfig(), STAGE_NAMES).items() if value is not None}
    row["row_id"] = row_id(row)
    return row


def make_ledger(rows: list[Row]) -> pa.Table:
    return table_from_rows(rows, FINAL_LEDGER)


def write_out(out: Path, rows: list[Row]) -> Path:
    """A finalized DIR without parts and shards."""
    out.mkdir(parents=True)
    seen = [{**row, "thumb_jpeg": thumb_jpeg(i)} if "shot_idx" in row else row for i, row in enumerate(rows)]
    ledger = make_ledger(seen)
    pq.write_table(ledger, out / "ledger.parquet")
    (out / "stats.json").write_text(json.dumps(compute_stats(ledger, STAGE_NAMES), allow_nan=False), encoding="utf-8")
    (out / "config.yaml").write_text(yaml.safe_dump({"policy": {"min_face_px": 90.0, "languages": ["zh"]}}))
    return out
