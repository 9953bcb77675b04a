"""Text for a terminal or a pipe: control characters are escaped, and characters that the stream cannot encode are replaced.

Names and error messages come from other people's files and programs, and are printed after the work is done, so no character may make
printing fail.
"""

import errno
import json
import os
import sys
import unicodedata
from typing import IO, Any

import click

from sweep.errors import UserError

_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (such as right-to-left), lone surrogate, line and paragraph separator
_LOOKS_LIKE = str.maketrans(
    {
        "\u00a0": " ",
        "\u202f": " ",
        "±": "+-",
        "×": "x",
        "·": "*",
        "÷": "/",
        "µ": "u",
        "μ": "u",
        "°": " deg",
        "‐": "-",
        "‑": "-",
        "–": "-",
        "—": "-",
        "−": "-",
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
        "…": "...",
        "←": "<-",
        "→": "->",
        "≈": "~",
        "≠": "!=",
        "≤": "<=",
        "≥": ">=",
        "∞": "inf",
    }
)
_PYTHONS_OWN = ("strict", "surrogateescape")
"""The error handlers that Python itself sets for standard output."""


def plain(text: str) -> str:
    """Return the text with control characters escaped, except line breaks and tabs."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(_shown(letter) for letter in text)


def one_line(text: str) -> str:
    """Return the `plain` text on one line, with each run of white space replaced by one space."""
    return plain(" ".join(text.split()))


def fitted(text: str, stream: IO[str] | None, *, is_data: bool = False) -> str:
    """Return the `plain` text in characters that a stream can encode.

    Args:
        text: the text to be shown.
        stream: the stream to which it is written. An error handler that the user chose (`PYTHONIOENCODING=latin-1:replace`) is respected.
        is_data: whether programs read the text (CSV, JSON, a path). A character that cannot be encoded is then always escaped. Otherwise
            it is replaced by a look-alike if it has one: an em dash by a hyphen, a plus-minus sign by `+-`.

    Returns:
        Text that `stream.write` accepts without raising UnicodeEncodeError.
    """
    text = plain(text)
    encoding = getattr(stream, "encoding", None)
    if text.isascii() or not encoding:
        return text
    handler = getattr(stream, "errors", None) or "strict"
    is_pythons_own = handler in _PYTHONS_OWN or (handler == "backslashreplace" and stream in (sys.stderr, sys.__stderr__))
    if not is_pythons_own:
        # Done here and not by the stream, because click considers an ASCII stream misconfigured and writes UTF-8 to it.
        return text.encode(encoding, handler).decode(encoding)
    lacking = [letter for letter in set(text) if not _is_encodable(letter, encoding)]
    return text.translate({ord(letter): _escape(letter) if is_data else _look_alike(letter, encoding) for letter in lacking})


def echo(value: Any = "", err: bool = False, *, is_data: bool = False) -> None:
    """Print a value with `click.echo`, in characters that the stream can encode (`fitted`).

    Args:
        value: the value to print.
        err: print to standard error instead of standard output.
        is_data: as for `fitted`.

    Raises:
        UserError: standard output cannot be written to, for example because it is redirected to a full disk.
        BrokenPipeError: the reader has closed the pipe; click then ends the program quietly.
    """
    stream = sys.stderr if err else sys.stdout
    try:
        click.echo(fitted(str(value), stream, is_data=is_data), err=err)
    except OSError as error:
        if error.errno == errno.EPIPE or err:
            raise
        _discard_output()
        name, hint = "standard output", "free some space, or send the output elsewhere"
        raise UserError(f"cannot be written: {error.strerror or error}", name, hint) from error


def _discard_output() -> None:
    """Discard the output that could not be written. Python would otherwise try again at exit and fail with exit code 120."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, sys.stdout.fileno())
    finally:
        os.close(null)


def _shown(letter: str) -> str:
    if letter in "\n\t" or unicodedata.category(letter) not in _OBEYED:
        return letter
    return _escape(letter)


def _escape(letter: str) -> str:
    return json.dumps(letter)[1:-1]  # so that JSON stays JSON


def _look_alike(letter: str, encoding: str) -> str:
    similar = letter.translate(_LOOKS_LIKE)
    return similar if similar != letter and _is_encodable(similar, encoding) else _escape(letter)


def _is_encodable(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
