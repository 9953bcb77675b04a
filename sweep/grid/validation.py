"""Validates nodes with a pydantic model, and reports mistakes in terms of the grid file."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sweep.grid.json_schema import Schema, describe, lookup, unknown_key_hint
from sweep.grid.source.mistakes import Mistake, Path, did_you_mean, shown
from sweep.grid.source.nodes import Node, resolve_scalar

Model = TypeVar("Model", bound=BaseModel)

_NO_INTEGER = ("int_type", "int_from_float")
_MAX_EXACT = 2**53
"""The largest float that is certain to equal the whole number as it was written."""
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
_SIGNS = {"greater_than_equal": ("ge", ">="), "greater_than": ("gt", ">"), "less_than_equal": ("le", "<="), "less_than": ("lt", "<")}
_RULES = {
    "int_type": "a whole number expected",
    "int_from_float": "a whole number expected",
    "float_type": "a number expected",
    "bool_type": "true or false expected",
    "string_type": "text expected",
    "finite_number": "a finite number expected",
    "tuple_type": "a list expected",
    "list_type": "a list expected",
    "model_type": "a mapping (`key: value`) expected",
    "model_attributes_type": "a mapping (`key: value`) expected",
    "dataclass_type": "a mapping (`key: value`) expected",
    "dict_type": "a mapping (`key: value`) expected",
    "missing": "required key missing",
}


def validate(model: type[Model], node: Node, schema: Schema) -> tuple[Model | None, list[Mistake]]:
    """Return the model of a node, or every mistake that pydantic finds, without positions (see `locate`).

    Validation goes through JSON, where pydantic's strict mode converts exactly what is needed: lists become tuples and integers
    become floats, but text never becomes a number and true never becomes 1. Where an integer is expected, `3e3` and `3000.0` count
    as 3000.
    """
    try:
        data = json.dumps(node.plain(), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return None, list(_not_utf8(node, ()))
    try:
        return model.model_validate_json(data), []
    except ValidationError as error:
        whole = _with_whole_numbers(node, error)
        return (None, _mistakes(error, node, schema)) if whole is node else validate(model, whole, schema)


def _not_utf8(node: Node, path: Path) -> Iterator[Mistake]:
    """Return mistakes for texts with bytes that are not UTF-8, which names of files and folders may contain."""
    below: list[tuple[str | int, Node]] = [*node.mapping.items(), *enumerate(node.items)]
    for text in (node.value, path[-1] if path else None):
        if isinstance(text, str) and any("\ud800" <= letter <= "\udfff" for letter in text):
            yield Mistake(path, "text that is valid UTF-8 expected", shown(text), "rename the file or folder, or choose another one")
    for part, item in below:
        yield from _not_utf8(item, (*path, part))


def _with_whole_numbers(node: Node, error: ValidationError) -> Node:
    """Return the node with numbers such as `3e3` as integers where integers are expected; the same node if there are none."""
    for detail in error.errors(include_url=False):
        number = detail["input"]
        if detail["type"] in _NO_INTEGER and isinstance(number, float) and number.is_integer() and abs(number) <= _MAX_EXACT:
            node = _with_value(node, _path(detail["loc"]), int(number))
    return node


def _with_value(node: Node, path: Path, value: int) -> Node:
    """Return the node with another value at the path of a float."""
    if not path:
        return replace(node, value=value) if isinstance(node.value, float) else node
    below = node.child(path[0])
    if below is None:
        return node
    changed = _with_value(below, path[1:], value)
    if changed is below:
        return node
    if isinstance(node.value, tuple):
        return replace(node, value=tuple(changed if index == path[0] else item for index, item in enumerate(node.value)))
    return replace(node, value=node.mapping | {str(path[0]): changed})


def locate(mistake: Mistake, node: Node, schema: Schema) -> Mistake:
    """Return the mistake with the position, value and hint of its path, if it has none yet."""
    nodes = node.walk(mistake.path)
    exists = len(nodes) == len(mistake.path) + 1
    position = mistake.position
    if position is None:
        is_unknown = exists and mistake.rule == "unknown key"
        position = nodes[-1].key if is_unknown and nodes[-1].key else next((n.position for n in reversed(nodes) if n.position), None)
    found = mistake.found if mistake.found is not None or not exists else nodes[-1].found()
    hint = mistake.hint or describe(schema, mistake.path)
    if hint is None:
        # An item of a list has no description of its own, but its list has one.
        key = mistake.path
        while key and isinstance(key[-1], int):
            key = key[:-1]
        hint = describe(schema, key) or "`sweep schema` describes every key"
    return Mistake(mistake.path, mistake.rule, found, hint, position, mistake.file)


def _mistakes(error: ValidationError, node: Node, schema: Schema) -> list[Mistake]:
    details = [(detail, _path(detail["loc"])) for detail in error.errors(include_url=False)]
    unknown = {path: unknown_key_hint(schema, path) for detail, path in details if detail["type"] in _UNKNOWN_KEY}
    # A misspelt required key counts as one mistake, not two.
    misspelt = {(*path[:-1], did_you_mean(str(path[-1]), [_last(p) for d, p in details if d["type"] == "missing"])) for path in unknown}
    mistakes = []
    for detail, path in details:
        kind = detail["type"]
        if kind in _UNKNOWN_KEY:
            mistakes.append(Mistake(path, "unknown key", hint=unknown[path]))
        elif kind == "missing" and path in misspelt:
            continue
        elif kind == "too_short" and len(node.walk(path)[-1].items) >= detail["ctx"]["min_length"]:
            continue  # only its items are wrong, and each of them is reported
        else:
            mistakes.append(Mistake(path, _rule(detail, schema, path), hint=_hint(detail, node, schema, path)))
    return mistakes


def _path(loc: tuple[str | int, ...]) -> Path:
    """Return a pydantic location without the tags of unions."""
    return tuple(part for part in loc if not (isinstance(part, str) and re.fullmatch(r"<\w+>", part)))


def _last(path: Path) -> str:
    return str(path[-1]) if path else ""


def _rule(detail: Mapping[str, Any], schema: Schema, path: Path) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _SIGNS:
        name, sign = _SIGNS[kind]
        bound = context[name]
        noun = "a whole number" if any(found.get("type") == "integer" for found in lookup(schema, path)) else "a number"
        return f"{noun} {sign} {int(bound) if float(bound).is_integer() else bound} expected"
    if kind == "literal_error":
        choices = ", ".join(_choices(context))
        return f"{choices} expected" if "," not in choices else f"one of {choices} expected"
    if kind in ("too_short", "too_long"):
        n_items, word = (context["min_length"], "least") if kind == "too_short" else (context["max_length"], "most")
        return f"at {word} {n_items} item{'s' if n_items != 1 else ''} expected"
    if kind == "string_too_short":
        return "text that is not empty expected"
    if kind == "value_error":
        return str(context["error"])
    return _RULES.get(kind) or str(detail["msg"])


def _choices(context: Mapping[str, Any]) -> list[str]:
    return re.findall(r"'([^']*)'", context["expected"])


def _hint(detail: Mapping[str, Any], node: Node, schema: Schema, path: Path) -> str | None:
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        near = did_you_mean(detail["input"], _choices(detail["ctx"]))
        return f"did you mean `{near}`?" if near else None
    if detail["type"] in ("int_type", "float_type") and isinstance(detail["input"], str):
        number = resolve_scalar(detail["input"].strip())
        if isinstance(number, int | float) and not isinstance(number, bool):
            return f"write {shown(number)} without quotes"
    if detail["type"] in _NO_INTEGER and isinstance(detail["input"], float) and detail["input"].is_integer():
        return "write so large a number without a point or an exponent"
    return None
