"""Reads a text file that a person wrote, and says what is wrong with it when that fails."""

from pathlib import Path

from sweep.grid.errors import ConfigError, Mistake, Position, did_you_mean, shown

MAX_BYTES = 1_000_000


def read_text(path: Path, *, max_bytes: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file.

    Raises:
        ConfigError: missing (with the nearest name in its folder), a folder, unreadable, too large, not UTF-8.
    """
    file = str(path)
    try:
        if path.is_dir():
            inside = _siblings(path, ".yaml")
            raise ConfigError([Mistake((), "a file expected, this is a folder", hint=_listing(inside) or "name the file in it", file=file)])
        if not path.exists():
            raise ConfigError([Mistake((), "no such file", hint=_nearest_file(path), file=file)])
        with path.open("rb") as stream:
            raw = stream.read(max_bytes + 1)  # a device or a pipe has no size, and may have no end
        if len(raw) > max_bytes:
            hint = "long lists of preferences belong in a CSV file: `preferences: {file: k.csv}`"
            n_bytes = max(path.stat().st_size, len(raw))
            raise ConfigError([Mistake((), f"at most {max_bytes} bytes expected", f"{n_bytes} bytes", hint, file=file)])
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            [Mistake((), f"cannot be read: {reason}", hint="check the path and its permissions", file=shown(file).strip('"'))]
        ) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        position = position_of(file, before, len(before))
        hint = "save the file as UTF-8 without other encodings"
        raise ConfigError([Mistake((), "UTF-8 text expected", f"byte 0x{raw[error.start]:02x}", hint, position)]) from None


def _siblings(folder: Path, suffix: str) -> list[str]:
    """Names of the files in `folder` that end like this one, sorted."""
    suffixes = (".yaml", ".yml") if suffix in ("", ".yaml", ".yml") else (suffix,)
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.suffix in suffixes)
    except OSError:
        return []


def _listing(names: list[str]) -> str | None:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"files in it: {', '.join(names[:5])}{more}" if names else None


def _nearest_file(path: Path) -> str:
    names = _siblings(path.parent, path.suffix)
    near = did_you_mean(path.name, names)
    start = f"did you mean `{path.parent / near}`?" if near else _listing(names)
    if path.suffix not in ("", ".yaml", ".yml"):
        return start or f"the folder is {path.parent}"
    return f"{start}; `sweep init` writes a starter grid file" if start else "`sweep init` writes a starter grid file"


def position_of(file: str, text: str, index: int) -> Position:
    """The place of `text[index]`."""
    before = text[:index]
    return Position(file, before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)
