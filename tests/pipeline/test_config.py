"""Settings from files and the command line: what is wrong is named."""

from __future__ import annotations

import pytest

from pipeline.config import Config, ConfigError, config_hash, differing_keys, load_config, measuring, to_yaml


def test_later_settings_win(tmp_path):
    (tmp_path / "a.yaml").write_text("policy: {min_face_px: 90, languages: [en]}")
    (tmp_path / "b.yaml").write_text("policy: {min_face_px: 91}")
    config = load_config([tmp_path / "a.yaml", tmp_path / "b.yaml"], ["policy.max_yaw_deg=5"])
    assert (config.policy.min_face_px, config.policy.languages, config.policy.max_yaw_deg) == (91, ("en",), 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"policy: {min_fase_px: 1}", "min_fase_px"),
        (b"policy: {min_face_px: wide}", "min_face_px"),
        (b"- a list", "a.yaml"),
        (b"\x00\xff\xfe", "a.yaml"),
        (b"policy: {min_face_px: '${nowhere}'}", "nowhere"),
        (b"policy: {min_face_px: [", "a.yaml"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, content, message):
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config([tmp_path / "a.yaml"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.nothing=1", "nothing"),
        ("policy", "key=value"),
        ("=3", "key=value"),
        ("track.max_clip_s=[", "max_clip_s"),
    ],
)
def test_an_override_that_cannot_be_used_is_named(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config([], [override])


def test_what_is_written_is_read_back(tmp_path):
    config = load_config([], ["policy.languages=[zh,en]", "run.pools.clip.gpus=0.25"])
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert load_config([tmp_path / "config.yaml"]) == config


def test_only_what_changes_measurements_is_hashed():
    config = Config()
    thresholds = load_config([], ["policy.min_face_px=1", "run.strict=true", "finalize.val_ratio=0.5"])
    longer = load_config([], ["track.max_clip_s=4"])
    assert config_hash(thresholds) == config_hash(config) != config_hash(longer)
    assert differing_keys(config, longer) == [f"track.max_clip_s: {config.track.max_clip_s} -> 4.0"]
    faster = load_config(
        [], ["speech.num_threads=4", "features.device=cpu", "crawl.retries=9", "hear.vad.block_frames=9"]
    )
    assert measuring(faster) == measuring(config)
    assert "hear.vad.enter_prob" in measuring(config) and "crawl.max_height_px" in measuring(config)
