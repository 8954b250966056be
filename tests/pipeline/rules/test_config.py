"""Settings from files and the command line: what is wrong is named."""

from __future__ import annotations

import re

import pytest

from pipeline.rules.config import (
    Config,
    config_hash,
    differing_keys,
    load_config,
    measuring,
    store_config,
    stored_config,
    to_yaml,
)
from stages import features
from stages.core.ranges import rule_of, settings_of
from stages.core.settings import ConfigError, load_dict
from stages.crawl import check_crawl_config


def test_later_settings_win(tmp_path):
    (tmp_path / "a.yaml").write_text("policy: {min_face_px: 90, languages: [en]}")
    (tmp_path / "b.yaml").write_text("policy: {min_face_px: 91}")
    config = load_config([tmp_path / "a.yaml", tmp_path / "b.yaml"], ["policy.max_yaw_deg=5"])
    assert (config.policy.min_face_px, config.policy.languages, config.policy.max_yaw_deg) == (91, ("en",), 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"policy: {min_fase_px: 1}", "min_fase_px.*no such setting. Take it out"),
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


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "a-${policy.min_fps}", "${nowhere}", "\\${oc.env:HOME}"])
@pytest.mark.parametrize("place", ["geometry: {model: '%s'}", "policy: {languages: [zh, '%s']}"])
def test_references_are_not_read(tmp_path, value, place):
    (tmp_path / "a.yaml").write_text(place % value)
    with pytest.raises(ConfigError, match=r"a.yaml: (geometry.model|policy.languages.1)=.*are not read"):
        load_config([tmp_path / "a.yaml"])
    with pytest.raises(ConfigError, match=r"geometry.model=.*are not read"):
        load_config([], [f"geometry.model={value}"])
    with pytest.raises(ConfigError, match=r"geometry.model=.*are not read"):
        load_dict(Config, {"geometry": {"model": value}})


@pytest.mark.parametrize("proxy", ["http://me:s3cret@proxy.test:8080", "socks5h://me:s3@cret@[::1]:1080"])
def test_the_proxys_password_is_not_stored_and_has_to_be_given_again(tmp_path, proxy):
    config = load_config([], [f"crawl.proxy={proxy}"])
    assert config.crawl.proxy == proxy
    check_crawl_config(config.crawl)
    store_config(tmp_path, config)
    text = (tmp_path / "config.yaml").read_text()
    assert "cret" not in text and "me:***@" in text
    with pytest.raises(ConfigError, match="its password is not stored"):
        check_crawl_config(stored_config(tmp_path).crawl)
    check_crawl_config(load_config([tmp_path / "config.yaml"], [f"crawl.proxy={proxy}"]).crawl)
    check_crawl_config(load_config([tmp_path / "config.yaml"], ["crawl.proxy=null"]).crawl)


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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("track.max_clip_s=0", "track.max_clip_s=0.0 must be at least 0.04 and at most 30"),
        ("policy.min_clip_s=-3", "policy.min_clip_s=-3.0 must be at least 0, and finite"),
        ("policy.min_clip_s=60", "policy.min_clip_s=60.0 is above track.max_clip_s=8.0"),
        ("policy.min_face_px=.nan", "policy.min_face_px=nan must be"),
        ("policy.max_jitter=.inf", "policy.max_jitter=inf must be"),
        ("policy.languages=[]", "policy.languages=[] must be"),
        ("policy.languages=[zh,Chinese]", "policy.languages=['zh', 'Chinese'] must be ISO 639 codes"),
        ("geometry.model=Nope", "geometry.model=Nope must be one of cc0, or"),
        ("finalize.val_ratio=7", "finalize.val_ratio=7.0 must be at least 0 and at most 1"),
        ("finalize.val_ratio=0.96", "finalize.val_ratio and finalize.test_ratio together"),
        ("identity.provider=Nope", "identity.provider=Nope must be one of CPUExecutionProvider"),
        ("identity.num_frames=0", "identity.num_frames=0 must be at least 1"),
        ("hear.look_s=0", "hear.look_s=0.0 must be above 0"),
        ("hear.vad.enter_prob=0.1", "hear.vad.leave_prob=0.35 is above hear.vad.enter_prob=0.1"),
        ("speech.quietest_share=0", "speech.quietest_share=0.0 must be above 0 and at most 1"),
        ("speech.device=gpu", "speech.device=gpu must be one of auto, cpu, cuda"),
        ("depth.model=bfm.npz", "depth.model must be the model of geometry.model"),
        ("run.pools.clip.gpus=-1", "run.pools.clip.gpus=-1.0 must be at least 0"),
        ("run.pools.clip.max_actors=0", "run.pools.clip.max_actors=0 must be at least 1"),
    ],
)
def test_a_value_out_of_range_is_named(override, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config([], [override])


def test_words_are_chosen_from_a_list_wherever_a_device_is_named():
    choices = {key: rule_of(setting).choices for key, _, setting, _ in settings_of(Config())}
    assert all(choices[key] for key in choices if key.endswith((".device", ".provider")))
    assert set(choices["features.model"]) == set(features.READERS)


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
