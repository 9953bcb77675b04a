"""Values that remember their position in the file: the form of a grid file between YAML and its pydantic models."""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from numbers import Integral, Real
from typing import Any

from pydantic import BaseModel

from sweep.grid.source.mistakes import ConfigError, Mistake, Path, Position, shown

MAX_DEPTH = 24
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

Scalar = str | int | float | bool | None
_INT = re.compile(r"[-+]?[0-9]+")
_BASED_INT = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{f"{sign}{name}": float(f"{sign}inf") for sign in ("", "+", "-") for name in (".inf", ".Inf", ".INF")},
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass(frozen=True)
class Node:
    """A value and its position. Nodes are shared by aliases and never changed."""

    value: "Scalar | tuple[Node, ...] | dict[str, Node]"
    position: Position | None = None
    key: Position | None = None
    """The position of the value's key, for a value in a mapping."""
    text: str | None = None
    """A plain scalar as it was written (`1e999` is infinite, but was not written as `.inf`)."""
    n_nodes: int = 1
    depth: int = 1

    @property
    def mapping(self) -> "dict[str, Node]":
        """The values by key; empty if this is not a mapping."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> "tuple[Node, ...]":
        """The values of a list; empty if this is not a list."""
        return self.value if isinstance(self.value, tuple) else ()

    def plain(self) -> Any:
        """Return the value without positions, as dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, tuple):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, part: str | int) -> "Node | None":
        """Return the value under a key or an index, or None."""
        if isinstance(part, str):
            return self.mapping.get(part)
        return self.items[part] if 0 <= part < len(self.items) else None

    def walk(self, path: Path) -> "list[Node]":
        """Return this node and those below it along `path`, as far as they exist."""
        nodes = [self]
        for part in path:
            below = nodes[-1].child(part)
            if below is None:
                break
            nodes.append(below)
        return nodes

    def found(self) -> str:
        """Return the value as text for a message."""
        return shown(self.plain()) if self.text is None else shown(self.text).strip('"')

    def with_items(self, **nodes: "Node") -> "Node":
        """Return a copy of this mapping with some values replaced or added."""
        return replace(self, value=self.mapping | nodes)


def from_python(value: Any, path: Path = ()) -> Node:
    """Make a node without positions from dicts, lists, numbers and settings objects.

    Raises:
        ConfigError: a value cannot be written in a grid file, or contains itself.
    """
    if len(path) > MAX_DEPTH:
        raise ConfigError([Mistake(path[:1], f"at most {MAX_DEPTH} levels of nesting expected", hint="a value must not contain itself")])
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    elif is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise ConfigError([Mistake(path, "a key is text", shown(name), "quote it")])
        return Node({name: from_python(below, (*path, name)) for name, below in value.items()})
    if isinstance(value, list | tuple):
        return Node(tuple(from_python(below, (*path, index)) for index, below in enumerate(value)))
    if value is None or isinstance(value, bool):
        return Node(value)
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if isinstance(text, str) and not CONTROL.search(text):
            return Node(text)
        raise ConfigError([Mistake(path, "text without control characters expected", shown(text), "only line breaks and tabs are allowed")])
    if isinstance(value, Integral):
        if -(2**63) <= int(value) < 2**63:
            return Node(int(value))
        raise ConfigError([Mistake(path, "a number that fits into 64 bits expected", "a larger one", "write a smaller number")])
    if isinstance(value, Real):
        return Node(float(value))
    hint = "use text, numbers, true or false, lists and mappings (`.tolist()` for an array)"
    raise ConfigError([Mistake(path, "a value that can be written in a grid file expected", type(value).__name__, hint)])


def merge(base: Node, over: Node, *, replaced: frozenset[str] = frozenset()) -> Node:
    """Merge `over` into `base`: mappings key by key, and anything else (and the keys in `replaced`) as a whole."""
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    merged = dict(base.value)
    for name, node in over.value.items():
        below = merged.get(name)
        merged[name] = node if below is None or name in replaced else replace(merge(below, node, replaced=replaced), key=node.key)
    return replace(over, value=merged)


def resolve_scalar(text: str) -> Scalar:
    """Return the value of an unquoted scalar by YAML 1.2's core schema: `1e-3` is a number, `yes` and `2026-01-31` are text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        # int() refuses more than 4,300 digits; the caller's limit is much lower.
        return int(text) if len(text) < 100 else 10**100
    if _BASED_INT.fullmatch(text):
        return int(text, 0) if len(text) < 100 else 10**100
    return float(text) if _FLOAT.fullmatch(text) else text
