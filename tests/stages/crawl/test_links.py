"""Addresses in what people write and apps share: found among words, and one for each video."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.crawl.links import (
    INVISIBLE,
    PLATFORMS,
    Unclear,
    bv_of,
    canonical,
    find_addresses,
    looks_remote,
    path_of_file_address,
    platform_of_host,
    same_video,
    trimmed,
)

BV = "https://www.bilibili.com/video/BV1aa411c7mD"
SHARED = {
    "7.43 复制打开抖音，看看【小王的作品】今天讲讲儿化音 https://v.douyin.com/iRNBho6/ 02/11 x@f.oD": "https://v.douyin.com/iRNBho6/",
    "看看https://v.douyin.com/kPJm4r/复制此链接，打开Dou音搜索": "https://v.douyin.com/kPJm4r/",
    "【讲课-哔哩哔哩】https://b23.tv/AbCdEf1": "https://b23.tv/AbCdEf1",
    "【讲课】 https://www.bilibili.com/video/BV1aa411c7mD/?share_source=copy_web&vd_source=9f": BV,
    "58 老王发布了一篇小红书笔记，快来看吧！ 😆 Ab1 😆 http://xhslink.com/a/AbC123，复制本条信息": "http://xhslink.com/a/AbC123",
    "https://v.kuaishou.com/AbC1 复制此消息，打开【快手】直接观看！": "https://v.kuaishou.com/AbC1",
    "讲口型的视频 - http://t.cn/A6abcDE \u200b": "http://t.cn/A6abcDE",
    "微博视频：https://video.weibo.com/show?fid=1034:4900000000000000（转）": "https://weibo.com/tv/show/1034:4900000000000000",
}


@pytest.mark.parametrize(("text", "address"), SHARED.items())
def test_the_address_in_a_shared_text(text: str, address: str) -> None:
    assert [canonical(found) for found in find_addresses(text)] == [address]
    assert platform_of_host(address.split("/")[2]) is not None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://a.test/1 https://b.test/2", ["https://a.test/1", "https://b.test/2"]),
        (
            "https://a.test/1,https://b.test/2;https://c.test/3",
            [f"https://{k}" for k in ("a.test/1", "b.test/2", "c.test/3")],
        ),
        ("https://a.test/1https://b.test/2", ["https://a.test/1", "https://b.test/2"]),
        ("https://a.test/?to=https://b.test/2", ["https://a.test/?to=https://b.test/2"]),
        ("https://web.archive.test/2020/https://b.test/2", ["https://web.archive.test/2020/https://b.test/2"]),
        (f"{BV},BV1bb411c7mD", [BV, BV.replace("aa", "bb")]),
        ("BV1aa411c7mD、bv1bb411c7mD", [BV, BV.replace("aa", "bb")]),
        (
            "av170001 ep12 ss3",
            [
                BV.replace("BV1aa411c7mD", "av170001"),
                *(f"https://www.bilibili.com/bangumi/play/{k}" for k in ("ep12", "ss3")),
            ],
        ),
        ("讲课 BV1aa411c7mD 好看", [BV]),
        ("讲课 ep12 好看", []),
        ("BV1aa411c7mD2 is too long", []),
        ("【BV1bb411c7mD的讲解】https://b23.tv/abc", ["https://b23.tv/abc"]),
        ("www.bilibili.com/video/BV1aa411c7mD", [BV]),
        ("//www.bilibili.com/video/BV1aa411c7mD", [BV]),
        ("https：／／www．bilibili．com／video／BV1aa411c7mD？p＝2", [f"{BV}?p=2"]),
        ("https：//v.douyin.com/abc/，看看（好）", ["https://v.douyin.com/abc/"]),
        ("https://search.bilibili.com/all?keyword=口型", ["https://search.bilibili.com/all?keyword=口型"]),
        (
            "https://www.youtube.com/results?search_query=口型+讲课",
            ["https://www.youtube.com/results?search_query=口型+讲课"],
        ),
        (f"{BV}?p=2复制", [f"{BV}?p=2"]),
        ("https://example.com/视频/口型", ["https://example.com/视频/口型"]),
        ("<https://example.com/a>, (https://example.com/b)", ["https://example.com/a", "https://example.com/b"]),
        ("example.com/a", []),
        ("", []),
    ],
)
def test_addresses_in_a_text(text: str, found: list[str]) -> None:
    assert find_addresses(text) == found


def test_an_address_whose_end_is_not_clear_is_refused() -> None:
    with pytest.raises(Unclear, match="alone on its line"):
        find_addresses("看看https://example.com/v/1复制此链接")
    with pytest.raises(Unclear, match="names no host"):
        find_addresses("https://., and no more")


@pytest.mark.parametrize(
    "spelled",
    [
        f"{BV}/",
        f"{BV}/?spm_id_from=333.999.0.0&vd_source=9f",
        f"{BV}?t=125",
        "http://m.bilibili.com/video/bv1aa411c7mD?share_source=copy_web#reply1",
        "HTTPS://WWW.BiliBili.COM/video/BV1aa411c7mD",
        "https://b23.tv/BV1aa411c7mD",
        "https://player.bilibili.com/player.html?bvid=BV1aa411c7mD&page=0",
    ],
)
def test_one_address_for_all_links_of_a_bilibili_video(spelled: str) -> None:
    assert canonical(spelled) == BV


def test_a_part_of_a_video_is_kept() -> None:
    spelled = [f"{BV}?p=2", f"{BV}/?spm=1&p=02", "https://b23.tv/BV1aa411c7mD?p=2", f"{BV}?p=2&t=3"]
    assert {canonical(address) for address in spelled} == {f"{BV}?p=2"}
    assert same_video(f"{BV}?p=1") != same_video(BV) != same_video(f"{BV}?p=2")
    assert canonical("https://a.test/x#kouxing-item=2") == "https://a.test/x#kouxing-item=2"


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("https://youtu.be/dQw4w9WgXcQ?si=x", "https://www.youtube.com/watch?v=dQw4w9WgXcQ"),
        ("https://m.youtube.com/watch?app=desktop&v=dQw4w9WgXcQ&list=PL1", "https://www.youtube.com/watch?v=dQw4w9WgXcQ"),
        ("https://www.youtube.com/shorts/dQw4w9WgXcQ", "https://www.youtube.com/watch?v=dQw4w9WgXcQ"),
        ("https://www.youtube.com/playlist?list=PL1", "https://www.youtube.com/playlist?list=PL1"),
        ("https://www.iesdouyin.com/share/video/7000000000000000001/?region=CN", "https://www.douyin.com/video/7000000000000000001"),
        ("https://www.douyin.com/user/MS4?modal_id=7000000000000000001", "https://www.douyin.com/video/7000000000000000001"),
        ("https://v.douyin.com/abc/?from=x", "https://v.douyin.com/abc/"),
        ("https://www.xiaohongshu.com/discovery/item/64ab?xsec_token=T&source=web", "https://www.xiaohongshu.com/explore/64ab?xsec_token=T"),
        ("https://weibo.com/tv/show/1034:49?from=old", "https://weibo.com/tv/show/1034:49"),
        ("https://m.weibo.cn/status/49?wm=1", "https://m.weibo.cn/status/49"),
        ("https://weibo.com/u/12?tabtype=newVideo", "https://weibo.com/u/12?tabtype=newVideo"),
        ("https://www.kuaishou.com/short-video/3xabc?authorId=1", "https://www.kuaishou.com/short-video/3xabc"),
        ("https://v.m.chenzhongtech.com/fw/photo/3xabc?cc=share", "https://www.kuaishou.com/short-video/3xabc"),
        ("https://m.tiktok.com/@a.b/video/7?_t=1", "https://www.tiktok.com/@a.b/video/7"),
        ("https://m.bilibili.com/bangumi/play/ep12?from=x", "https://www.bilibili.com/bangumi/play/ep12"),
        ("HTTPS://Example.COM/Watch?Utm=1#/A", "https://example.com/Watch?Utm=1#/A"),
        ("https://evil-bilibili.com/video/BV1aa411c7mD?t=1", "https://evil-bilibili.com/video/BV1aa411c7mD?t=1"),
        ("bilisearch10:口型", "bilisearch10:口型"),
        ("http://[", "http://["),
    ],
)  # fmt: skip
def test_pages_of_videos(address: str, page: str) -> None:
    assert canonical(address) == page


def test_a_token_does_not_make_another_video() -> None:
    first, second = (f"https://www.xiaohongshu.com/explore/64ab?xsec_token={token}" for token in "AB")
    assert same_video(first) == same_video(second) != same_video("https://www.xiaohongshu.com/explore/64ac")


def test_numbers_and_names_of_bilibili_videos_are_the_same() -> None:
    known = {2: "BV1xx411c7mD", 7: "BV1xx411c7m9", 170001: "BV17x411w7KC", 455017605: "BV1Q541167Qg"}
    assert {av: bv_of(av) for av in known} == known
    assert same_video("https://www.bilibili.com/video/av170001") == same_video("https://b23.tv/BV17x411w7KC")


def test_what_may_have_been_meant_as_an_address() -> None:
    assert all(map(looks_remote, ("example.com/a", "www.example.org", "http:/a", "https:a", "ｗｗｗ．example．com／a")))
    assert not any(
        map(looks_remote, ("a.mp4", "other/主播 01.mp4", "v1.2/clip.mp4", "./example.com/a", "/data/www.a.com/b"))
    )


def test_file_addresses() -> None:
    spelled = ["file:///a%20b.mp4", "FILE://localhost/a%20b.mp4", "file:/a b.mp4", "file://LOCALHOST/a b.mp4"]
    assert {path_of_file_address(address) for address in spelled} == {"/a b.mp4"}
    assert path_of_file_address("file:///%E5%8F%A3.mp4") == "/口.mp4"
    for address in ("file://other/a.mp4", "file://a.mp4", "file:"):
        with pytest.raises(Unclear, match="no path on this machine"):
            path_of_file_address(address)


BLANK = st.text(st.sampled_from(" \t\u3000\xa0\u200b\ufeff\u2060\u200e"), max_size=3)
ALNUM = "0123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
VIDEO = st.one_of(
    st.tuples(st.text(st.sampled_from(ALNUM), min_size=9, max_size=9), st.sampled_from(["", "?p=2", "?p=13"])).map(
        lambda name: f"https://www.bilibili.com/video/BV1{name[0]}{name[1]}"
    ),
    st.integers(10**18, 8 * 10**18).map(lambda name: f"https://www.douyin.com/video/{name}"),
    st.text(st.sampled_from(ALNUM), min_size=6, max_size=9).map(lambda name: f"https://v.douyin.com/{name}/"),
)
WORDS = st.text(st.sampled_from("看讲课口型，。！【】（）、😆"), max_size=8)


@settings(derandomize=True, deadline=None)
@given(VIDEO, BLANK, BLANK, WORDS, WORDS, st.sampled_from([str, str.upper]))
def test_any_words_and_blanks_around_an_address(video, before, after, words, more, spell) -> None:
    scheme, rest = video.split("://")
    host, path = rest.split("/", 1)
    text = f"{words}{before}{spell(scheme)}://{spell(host)}/{path}{after}{more}"
    assert [canonical(found) for found in find_addresses(text)] == [video]


@settings(derandomize=True, deadline=None)
@given(
    st.lists(VIDEO, min_size=1, max_size=4, unique=True), st.sampled_from([" ", ",", ";", "，", "、", "\t", "", "|"])
)
def test_any_number_of_addresses_on_a_line(videos, between) -> None:
    assert [canonical(found) for found in find_addresses(between.join(videos))] == videos


@settings(derandomize=True, deadline=None)
@given(
    st.text()
    | st.sampled_from(sorted(PLATFORMS)).flatmap(lambda host: st.text().map(lambda rest: f"https://{host}/{rest}"))
)
def test_any_text_has_addresses_or_none_and_they_stay_what_they_are(text: str) -> None:
    try:
        found = find_addresses(text)
    except Unclear:
        return
    for address in found:
        assert canonical(canonical(address)) == canonical(address)
        assert same_video(canonical(address)) == same_video(address)


def test_nothing_invisible_is_left_around_a_text() -> None:
    assert trimmed("\ufeff\u3000\u200b a\u200db \xa0\u200e") == "a\u200db"
    assert "\\u200b" in ascii(INVISIBLE)
