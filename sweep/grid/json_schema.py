"""The JSON Schema of the grid file, for editors, and descriptions of its keys, for the hints of error messages."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from sweep.grid.source.mistakes import Path, did_you_mean, shown
from trainer.catalog import METHODS, MODELS, PROBLEMS, Entry
from trainer.problems.custom.factory import NAME

Schema = Mapping[str, Any]

MAX_PROBLEMS = 1000
MODEL_NAMES = {"type": "string", "examples": list(MODELS)}  # custom problems name their own models
METHOD_NAMES = {"type": "string", "enum": list(METHODS)}


def options_model(entry: Entry) -> type[BaseModel]:
    """Return a strict pydantic model with one field `options`, the options dataclass of a problem. Unknown keys are forbidden."""
    options: Any = entry.options
    return _options_model(options)


@cache
def _options_model(options: Any) -> type[BaseModel]:
    settings = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)
    fields_: dict[str, Any] = {"options": (options, ...)}
    return create_model("ProblemOptions", __config__=settings, **fields_)


def options_schema(entry: Entry) -> dict[str, Any]:
    """Return the JSON Schema of that model, including descriptions of inherited fields, which pydantic leaves out."""
    schema = options_model(entry).model_json_schema()
    for base in entry.options.__mro__[1:]:
        inherited = _fields(_options_model(base).model_json_schema()) if is_dataclass(base) else {}
        for name, field in _fields(schema).items():
            if "description" in inherited.get(name, {}):
                field.setdefault("description", inherited[name]["description"])
    return schema


def _fields(schema: Schema) -> dict[str, Any]:
    """Return the properties of the options in the schema of their model."""
    return {name: field for found in lookup(schema, ("options",)) for name, field in found.get("properties", {}).items()}


def _problem_schema() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON Schema of a problem, and its definitions. A problem is a name, or a name with its options (any, if it is custom)."""
    choices: list[dict[str, Any]] = [{"type": "string", "enum": list(PROBLEMS)}]
    definitions: dict[str, Any] = {}
    for entry in PROBLEMS.values():
        schema = options_schema(entry)
        definitions |= schema.get("$defs", {})
        properties = {"name": {"const": entry.name, "description": f"Tasks: {', '.join(entry.options().facts().tasks)}."}}
        choices.append({"type": "object", "properties": properties | _fields(schema), "required": ["name"], "additionalProperties": False})
    own = {"type": "string", "pattern": f"^{NAME}$", "description": "A problem of your own: the path of its factory (docs/own-problem.md)."}
    folders = "Folders that its module is imported from; default: this file's folder, then the working directory."
    keys = {"name": own, "import_from": {"type": ["array", "string"], "items": {"type": "string"}, "description": folders}}
    choices += [own, {"type": "object", "properties": keys, "required": ["name"]}]
    return {"anyOf": choices}, definitions


def complete_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of the whole grid file, with the options of each problem. Only keys that a user must write are required."""
    schema = model.model_json_schema(by_alias=True)
    problem, definitions = _problem_schema()
    about = {key: value for key, value in schema["properties"]["problem"].items() if key in ("description", "examples")}
    one = {"$ref": "#/$defs/Problem"}
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_PROBLEMS}
    schema["properties"]["problem"] = {"anyOf": [one, several]} | about
    kept = {name: value for name, value in schema["$defs"].items() if name != "ProblemConfig"}
    schema["$defs"] = kept | definitions | {"Problem": problem}
    schema["required"] = ["problem"]
    # The titles that pydantic derives from Python names ("Learning Rate") do not help a user.
    tidy: dict[str, Any] = json.loads(json.dumps(schema), object_hook=_without_title)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Grid file", **tidy}


def _without_title(node: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if not (key == "title" and isinstance(value, str))}


def branches(root: Schema, schema: Schema) -> Iterator[Schema]:
    """Yield the schema itself and all schemas that it refers to or chooses from."""
    yield schema
    if "$ref" in schema:
        yield from branches(root, root["$defs"][schema["$ref"].rsplit("/", 1)[1]])
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from branches(root, choice)


def child(root: Schema, schema: Schema, part: str | int) -> Iterator[Schema]:
    """Yield the schemas of a key or an item."""
    for branch in branches(root, schema):
        if isinstance(part, str) and part in branch.get("properties", {}):
            yield branch["properties"][part]
        elif isinstance(part, int) and isinstance(branch.get("items"), Mapping):
            yield branch["items"]


def lookup(root: Schema, path: Path) -> list[Schema]:
    """Return all schemas of a path, with references resolved; empty for an unknown path."""
    level: list[Schema] = [root]
    for part in path:
        level = [below for schema in level for below in child(root, schema, part)]
    return [branch for schema in level for branch in branches(root, schema)]


def known_keys(root: Schema, path: Path) -> list[str]:
    """Return the keys of the mapping at `path`."""
    return list(dict.fromkeys(key for schema in lookup(root, path) for key in schema.get("properties", {})))


def unknown_key_hint(root: Schema, path: Path) -> str:
    """Return a hint about where the unknown key at `path` may belong."""
    key = str(path[-1])
    keys = known_keys(root, path[:-1])
    near = did_you_mean(key, keys)
    if near:
        return f"did you mean `{near}`? `sweep schema` lists every key"
    homes = [f"`{'.'.join(home)}`" if home else "the top level" for home in _homes(root, key)]
    if homes:
        return f"`{key}` belongs in {' or '.join(homes)}; `sweep schema` lists every key"
    return f"the keys here are {', '.join(keys)}; `sweep schema` lists every key" if keys else "`sweep schema` lists every key"


def _homes(root: Schema, key: str) -> list[tuple[str, ...]]:
    """Return the paths of all mappings outside lists that have this key."""
    homes: list[tuple[str, ...]] = []
    level: list[tuple[str, ...]] = [()]
    while level:
        homes += [path for path in level if key in known_keys(root, path)]
        level = [(*path, name) for path in level if len(path) < 3 for name in known_keys(root, path)]
    return homes


def describe(root: Schema, path: Path) -> str | None:
    """Return a hint from the schema: the meaning of a key, and an example or the default."""
    parts: list[str] = []
    found = lookup(root, path)
    for key in ("description", "examples", "default"):
        value = next((schema[key] for schema in found if schema.get(key) is not None), None)
        if key == "description" and value:
            parts.append(" ".join(value.split()))
        elif key == "examples" and value:
            parts.append("For example " + " or ".join(f"`{_flow(one)}`" for one in value) + ".")
        elif key == "default" and value is not None and not isinstance(value, dict):
            parts.append(f"Default: {shown(value).strip(chr(34))}.")
    return " ".join(parts) or None


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(below)}" for key, below in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value)
