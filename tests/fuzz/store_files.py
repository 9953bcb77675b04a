"""Mutated results folders: files are changed as trees, tables or bytes, renamed, linked, or replaced by something that is not a file."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweep.store.schema import NESTED
from sweep.store.tables import encode_table
from tests.fuzz.hostile import NUMBERS, TEXTS, any_value, changed_bytes, changed_tree

_MAX_BYTES = 2**24
_PLACES = ("rows", "epochs", "blobs", "live", "checkpoints", "plans", "logs", "latency", "placements", ".")
_NAMES = (
    "x.1-0.parquet",
    "x.1-0.safetensors",
    "x.999999999-999999999.parquet",
    "..1-0.parquet",
    "a b.1-0.parquet",
    "\x1b[2J.1-0.parquet",
    "<script>.1-0.parquet",
    "9999999999999999999999.json",
    "7.json",
    "007.json",
    "٣.json",
    "backend-..json",
    "backend-mdmtn.json",
    "f" * 64,
    "x.json",
    ".x.parquet.0123abcd.tmp",
    ".report.html.tmp",
    "report.html",
    "manifest.json",
    "trials.parquet",
    "epochs.parquet",
    "lock.json",
    "control.json",
    "\udcff.json",
    "é.1-0.parquet",
    "=1+1.1-0.parquet",
)


def mutate(folder: Path, outside: Path, rng: random.Random) -> list[str]:
    """Change a results folder in one to three ways, and return a description of the changes."""
    return [_once(folder, outside, rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]


def _once(folder: Path, outside: Path, rng: random.Random) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_size < _MAX_BYTES)
    if not files:
        return "nothing is left"
    kind = rng.random()
    # Every kind of file as often as any other, however many rows there are.
    path = rng.choice([rng.choice(group) for group in _groups(folder, files)])
    if kind < 0.12:
        return _strange_file(folder, outside, rng)
    if kind < 0.18:
        return _renamed(path, folder, rng)
    if kind < 0.40:
        path.write_bytes(changed_bytes(path.read_bytes(), rng))
        return f"bytes of {path.name}"
    change = {".json": _json, ".parquet": _parquet, ".safetensors": _safetensors}.get(path.suffix)
    if change is None or not change(path, rng):
        path.write_bytes(changed_bytes(path.read_bytes(), rng))
    return f"content of {path.name}"


def _groups(folder: Path, files: list[Path]) -> list[list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(path.parent.name if path.parent != folder else path.name, []).append(path)
    return list(groups.values())


def _json(path: Path, rng: random.Random) -> bool:
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    try:
        text = json.dumps(changed_tree(tree, rng, rng.choice((1, 1, 2, 4))), ensure_ascii=rng.random() < 0.5)
    except RecursionError:
        text = '{"a":' * 5_000
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return True


def _parquet(path: Path, rng: random.Random) -> bool:
    """Replace a Parquet file by a changed table with a correct checksum."""
    try:
        table = pq.read_table(path)
        table = _TABLES[rng.randrange(len(_TABLES))](table, rng)
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, KeyError, IndexError):
        return False
    path.write_bytes(encode_table(table))
    return True


def _with_cells(table: pa.Table, rng: random.Random) -> pa.Table:
    """Return the table with bad values of the right type in a few cells."""
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.randrange(table.num_columns)
        field = table.schema.field(at)
        values = table.column(at).to_pylist()
        kind = NESTED.get(field.name) if pa.types.is_string(field.type) and rng.random() < 0.7 else None

        def cell(field: pa.Field = field, kind: pa.DataType | None = kind) -> Any:
            return _cell(field.type, rng) if kind is None else _json_text(_cell(kind, rng), kind)

        cells = [cell() for _ in values] if rng.random() < 0.3 else [*values[:-1], cell()]
        table = table.set_column(at, field, pa.chunked_array([pa.array(cells, field.type)]))
    return table


def _json_text(value: Any, kind: pa.DataType) -> str | None:
    """Return a list or mapping as a file stores it; NaN and infinities as Python writes them, which is not valid JSON."""
    return None if value is None else json.dumps(dict(value) if pa.types.is_map(kind) else value)


def _cell(kind: pa.DataType, rng: random.Random) -> Any:
    if pa.types.is_string(kind):
        return rng.choice((None, *(text for text in TEXTS if text != "\ud800")))
    if pa.types.is_integer(kind):
        return rng.choice([value for value in NUMBERS if isinstance(value, int) and -(2**63) <= value < 2**63])
    if pa.types.is_floating(kind):
        return rng.choice(
            [None, *(float(value) for value in NUMBERS if value is not None and not (isinstance(value, int) and value > 2**64))]
        )
    if pa.types.is_boolean(kind):
        return rng.choice((None, True, False))
    if pa.types.is_list(kind):
        return rng.choice((None, [], [_cell(kind.value_type, rng) for _ in range(rng.choice((1, 3, 60)))]))
    if pa.types.is_map(kind):
        return rng.choice((None, [], [(text, _cell(kind.item_type, rng)) for text in ("", "</script>", "\x1b[2J")]))
    return None


def _with_column(table: pa.Table, rng: random.Random) -> pa.Table:
    """Return the table with a column removed, renamed, added, repeated, or of another type."""
    at = rng.randrange(table.num_columns)
    name = table.column_names[at]
    match rng.randrange(5):
        case 0:
            return table.remove_column(at)
        case 1:
            return table.rename_columns([rng.choice(TEXTS[:-1]) if i == at else old for i, old in enumerate(table.column_names)])
        case 2:
            kind = rng.choice((pa.string(), pa.float64(), pa.int64(), pa.null(), pa.list_(pa.string()), pa.binary()))
            return table.set_column(at, name, pa.nulls(table.num_rows, kind))
        case 3:
            return table.append_column(
                rng.choice((name, "extra")), pa.array([str(any_value(rng, 9))[:100].encode("ascii", "replace").decode()] * table.num_rows)
            )
        case _:
            return table.set_column(at, name, pa.array([str(cell) for cell in table.column(at).to_pylist()]))


def _with_rows(table: pa.Table, rng: random.Random) -> pa.Table:
    """Return the table without rows, with doubled rows, or with many rows."""
    times = rng.choice((0, 2, 2, 3_000))
    return pa.concat_tables([table] * times) if times else table.slice(0, 0)


def _with_metadata(table: pa.Table, rng: random.Random) -> pa.Table:
    metadata = {"schema_version": rng.choice(("1", "2", "4", "", "x", "999999999999999999999", "\x1b[2J")), "product": "pareto-sweep"}
    return table.replace_schema_metadata(rng.choice((None, metadata)))


_TABLES: tuple[Callable[[pa.Table, random.Random], pa.Table], ...] = (
    _with_cells,
    _with_cells,
    _with_cells,
    _with_column,
    _with_rows,
    _with_metadata,
)


def _safetensors(path: Path, rng: random.Random) -> bool:
    """Change the header of a safetensors file, with or without the right length."""
    data = path.read_bytes()
    n_header = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + n_header])
        for name in ("trial_ids", "epoch", "scalars"):
            if rng.random() < 0.3:
                header["__metadata__"][name] = json.dumps(any_value(rng), ensure_ascii=False)
        text = json.dumps(changed_tree(header, rng, rng.choice((0, 1, 2))), ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    length = len(text) if rng.random() < 0.8 else rng.choice((0, 2**63, 2**40, len(text) + 1))
    path.write_bytes(length.to_bytes(8, "little") + text + data[8 + n_header :])
    return True


def _renamed(path: Path, folder: Path, rng: random.Random) -> str:
    target = folder / rng.choice(_PLACES) / rng.choice((*_NAMES, path.name))
    if target.parent.is_symlink() or not target.parent.is_dir():
        return "nothing"
    if target.is_dir() or target.is_symlink():
        return "nothing"
    os.replace(path, target)
    return f"{path.name} is now {target.name!r} in {target.parent.name}"


def _strange_file(folder: Path, outside: Path, rng: random.Random) -> str:
    """Put a link, a pipe, a folder, a file without permission or an enormous file at a name that is read."""
    names = [folder / place / name for place in _PLACES for name in _NAMES] + [path for path in folder.rglob("*") if path.is_file()]
    names += [folder / "manifest.json", folder / "trials.parquet", folder / "lock.json", folder / "plans" / "2.json"] * 20
    path = rng.choice(names)
    if not path.parent.is_dir() or path.parent.is_symlink():
        return "nothing"
    what = rng.randrange(8)
    if what == 7:
        return _linked_folder(folder, outside, rng)
    if path.is_dir() and not path.is_symlink():
        return "nothing"
    path.unlink(missing_ok=True)
    match what:
        case 0:
            path.symlink_to(outside / rng.choice(("canary.txt", "canary.json", "canary.parquet", "missing")))
        case 1:
            path.symlink_to(path.name)
        case 2:
            os.mkfifo(path)
        case 3:
            path.mkdir()
        case 4:
            with path.open("wb") as file:
                file.truncate(2**40)
        case 5:
            path.symlink_to("/dev/zero")
        case 6:
            path.write_bytes(rng.choice((b"", b"{}", b"[]", b"null", b'{"a": 1}', b"PAR1")))
    return f"strange {what} at {path.relative_to(folder).as_posix()!r}"


def _linked_folder(folder: Path, outside: Path, rng: random.Random) -> str:
    place = folder / rng.choice(_PLACES[:-1])
    if place.is_dir() and not place.is_symlink():
        for path in place.iterdir():
            if path.is_dir() and not path.is_symlink():
                return "nothing"
            path.unlink()
        place.rmdir()
    elif place.exists() or place.is_symlink():
        place.unlink()
    place.symlink_to(rng.choice((outside, Path("."), place)))
    return f"{place.name} is a link"
