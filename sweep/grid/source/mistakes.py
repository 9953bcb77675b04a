"""Mistakes in a grid file. All of them are reported at once, with file, line, column, path, rule, value and a hint."""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.errors import UserError

Path = tuple[str | int, ...]

_MAX_SHOWN = 50
_MAX_VALUE = 80


@dataclass(frozen=True, order=True)
class Position:
    """A place in a text file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Mistake:
    """A rule that a grid file breaks."""

    path: Path
    """The path in the grid file: keys and list indices (from 0); empty for the file as a whole."""
    rule: str
    """A description of what is expected or what is wrong."""
    found: str | None = None
    """The value as it was written; None if there is none to show."""
    hint: str | None = None
    """Advice on how to fix the mistake."""
    position: Position | None = None
    """The position of the value, or of the key if it is unknown; None for values from Python."""
    file: str | None = None
    """The file, for a mistake without a known line."""

    def __str__(self) -> str:
        where = printable(str(self.position)) if self.position else printable(self.file or "")
        line = "Error: " + ": ".join(part for part in (where, dotted(self.path), self.rule) if part)
        if self.found is not None:
            line += f" (got {self.found})"
        return line if self.hint is None else f"{line}\n  hint: {self.hint}"


class ConfigError(UserError, ValueError):
    """A grid file cannot be used. `str(error)` is the complete message, with one `Error:` line and a hint for each mistake."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes: tuple[Mistake, ...] = tuple(_unique(mistakes))
        """All mistakes, in the order of the file; never empty."""
        shown = [str(mistake) for mistake in self.mistakes[:_MAX_SHOWN]]
        if len(self.mistakes) > _MAX_SHOWN:
            shown.append(f"... and {len(self.mistakes) - _MAX_SHOWN} more")
        super().__init__("\n".join(shown))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.mistakes,)


def _unique(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """Sort mistakes by position, and report a value that several studies inherit only once."""
    kept: dict[object, Mistake] = {}
    for mistake in mistakes:
        kept.setdefault((mistake.position or mistake.path, mistake.rule), mistake)
    return sorted(kept.values(), key=lambda mistake: (mistake.position is not None, mistake.position or Position("", 0, 0)))


def dotted(path: Path) -> str:
    """Return a path as text, for example `preferences.list[3]` for `("preferences", "list", 3)`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part if part.replace("-", "_").isidentifier() else shown(part)
            text += f".{plain}" if text else plain
    return text


def shown(value: Any) -> str:
    """Return a value as it is written in a grid file, on one line and shortened."""
    if isinstance(value, float) and value != value:
        text = ".nan"
    elif isinstance(value, float) and value in (float("inf"), -float("inf")):
        text = ".inf" if value > 0 else "-.inf"
    else:
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            text = type(value).__name__
    text = printable(text)
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE // 2]}...{text[-_MAX_VALUE // 2 :]}"


def printable(text: str) -> str:
    """Return the text with control characters escaped, so that a terminal shows them."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def did_you_mean(word: str, known: Sequence[str]) -> str | None:
    """Return the known word most similar to `word`; None if no word is similar."""
    near = difflib.get_close_matches(word.lower(), [name.lower() for name in known], n=1, cutoff=0.7)
    return next((name for name in known if near and name.lower() == near[0]), None)
