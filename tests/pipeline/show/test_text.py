"""Text of strangers."""

from pipeline.show.text import printable


def test_control_characters_go_and_what_turns_the_reading_direction_with_them() -> None:
    assert printable("关于\x1b[31m \u202egnp.exe\n") == "关于[31m gnp.exe"
    assert printable("a\nb\tc", " ") == "a b c"
