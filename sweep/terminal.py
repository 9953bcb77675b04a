"""Text on a terminal, which obeys some characters instead of showing them: names and errors come from files and programs of others."""

import json
import unicodedata
from typing import Any

import click

_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (such as right-to-left), half a surrogate, line and paragraph separators


def plain(text: str) -> str:
    """The text with an escape in place of whatever a terminal would obey; line breaks and tabs stay."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(_shown(letter) for letter in text)


def one_line(text: str) -> str:
    """`plain` text in one line: white space becomes single spaces."""
    return plain(" ".join(text.split()))


def echo(value: Any = "", err: bool = False) -> None:
    """`click.echo` of `plain` text."""
    click.echo(plain(str(value)), err=err)


def _shown(letter: str) -> str:
    if letter in "\n\t" or unicodedata.category(letter) not in _OBEYED:
        return letter
    return json.dumps(letter)[1:-1]  # so that JSON stays JSON
