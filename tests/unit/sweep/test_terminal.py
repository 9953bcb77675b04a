"""What a terminal would obey is shown as an escape."""

import json

import pytest

from sweep.progress import PlainLines
from sweep.terminal import plain


def test_ordinary_text_stays() -> None:
    for text in ("", "a\n\tb", "96.2 ± 1.5 %", "é 𝕏 ½", "a\u00a0b"):
        assert plain(text) == text


@pytest.mark.parametrize("letter", ["\x1b", "\x07", "\r", "\x08", "\x7f", "\x9b", "\u202e", "\u200b", "\u2028", "\ud800", "\U000e0001"])
def test_control_characters_are_shown(letter: str) -> None:
    shown = plain(f"a{letter}b")
    assert shown.isprintable()
    assert shown.isascii()
    assert json.loads(f'"{shown}"') == f"a{letter}b", "JSON stays JSON"


def test_messages_of_a_run_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    PlainLines().message("pack failed: \x1b[2Jgone")
    assert capsys.readouterr().err == "pack failed: \\u001b[2Jgone\n"
