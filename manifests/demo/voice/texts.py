"""What the speakers say: short everyday sentences, each about two to four seconds long.

Every text was tried with Whisper base and four of the voices: eSpeak's Mandarin is taken for Thai in one text of five.
"""

from __future__ import annotations

WEATHER = (
    "今天天气很好，我们一起去公园散步。",
    "湖边有很多小朋友在玩耍，大家都非常开心。",
    "下午可能会下雨，出门的时候请带上雨伞。",
    "明天会更暖和，适合在外面吃午饭。",
    "晚上有一点风，记得多穿一件衣服。",
)
FILM = (
    "昨天晚上我看了一部电影。",
    "故事讲的是一位老师和他的学生。",
    "他们一起走过了很多地方，也学会了互相帮助。",
    "我觉得这部电影非常感人，推荐你也去看看。",
    "看完以后，我给妈妈打了一个电话。",
)
LIBRARY = (
    "我最喜欢的地方是学校的图书馆。",
    "那里很安静，有各种各样的书。",
    "每个星期六的下午，我都会去那里看书。",
    "看书的时候，我觉得时间过得特别快。",
)
CAT = (
    "我家有一只小猫，它今年三岁了。",
    "它喜欢睡在窗户旁边晒太阳。",
    "每天晚上，它都会在门口等我回家。",
    "我们全家人都非常喜欢它。",
)
TRAVEL = (
    "上个月我去了一趟北京，参观了故宫和长城。",
    "那里的历史非常悠久，每天都有很多游客。",
    "我还吃了有名的烤鸭，味道真不错。",
    "下一次，我想坐火车去西安看看。",
    "旅行让我认识了不少新的朋友。",
)
STUDY = (
    "学习一门语言，最重要的是每天坚持。",
    "你可以早上听广播，晚上读一段课文。",
    "遇到不懂的地方，应该马上问老师。",
    "慢慢地，你就会发现自己进步了很多。",
    "不要害怕说错，说得越多就越流利。",
)
WORK = (
    "我们公司在城市的南边，离地铁站很近。",
    "每天早上九点开始上班，中午休息一个小时。",
    "同事们都很热情，工作起来非常愉快。",
    "这个星期我们要完成一份新的报告。",
    "周末的时候，大家常常一起打篮球。",
)
ENGLISH = (
    "I would like to tell you a short story about my family.",
    "We live in a small house near the river.",
    "My brother works at the hospital, and my sister goes to school.",
)
