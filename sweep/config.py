"""The grid file: one YAML file that says what a sweep trains.

`load_config` reads it, `parse_config` takes the same from a notebook; both answer with a frozen `SweepConfig` or raise a
`ConfigError` that names every mistake at once. Imports neither torch nor ray.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from sweep.grid.errors import ConfigError, Mistake
from sweep.grid.errors import Path as KeyPath
from sweep.grid.json_schema import complete_schema, options_model
from sweep.grid.models import ProblemConfig, Resources, StudyConfig, SweepConfig
from sweep.grid.nodes import Node, from_python, merge, resolve_scalar
from sweep.grid.sections import fill_in, normalise, without
from sweep.grid.studies import Study, resolve_studies
from sweep.grid.validation import locate, validate
from sweep.grid.yaml_source import read_yaml
from trainer.catalog import PROBLEMS

__all__ = [
    "ConfigError",
    "Mistake",
    "ProblemConfig",
    "Resources",
    "Study",
    "StudyConfig",
    "SweepConfig",
    "dump_config",
    "json_schema",
    "load_config",
    "parse_config",
]


def load_config(path: str | Path, *, out: str | Path | None = None, override: str | Path | None = None) -> SweepConfig:
    """Read a grid file.

    Args:
        path: the YAML file.
        out: output folder, instead of the file's.
        override: a second YAML file whose keys replace those of the first, one by one; `preferences` and lists as a whole.

    Raises:
        ConfigError: with every mistake, each with file, line, column, path, rule, value and a hint.
    """
    first, mistakes = read_yaml(Path(path))
    nodes = [first]
    if override is not None:
        second, more = read_yaml(Path(override))
        nodes.append(second)
        mistakes += more
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).stem).lstrip(".-")[:100]
    return _build(nodes, mistakes, default_name=stem or "sweep", out=out)


def parse_config(
    mapping: Mapping[str, Any], *, name: str = "sweep", out: str | Path | None = None, override: Mapping[str, Any] | None = None
) -> SweepConfig:
    """The same from Python values, as in a notebook; paths are relative to the working directory, messages name no lines.

    Args:
        mapping: what a grid file holds; settings dataclasses are welcome as values.
        name: the sweep's name where `mapping` gives none.
        out: output folder, instead of the mapping's.
        override: keys that replace those of `mapping`, as in `load_config`.

    Raises:
        ConfigError: with every mistake.
    """
    nodes = [from_python(mapping)] + ([from_python(override)] if override is not None else [])
    return _build(nodes, [], default_name=name, out=out)


def _build(nodes: list[Node], mistakes: list[Mistake], *, default_name: str, out: str | Path | None) -> SweepConfig:
    for node in nodes:
        if not isinstance(node.value, dict):
            rule, hint = "a mapping (`key: value`) expected at the top level", "start with `problem: multidigits`"
            raise ConfigError([*mistakes, Mistake((), rule, node.found(), hint, node.position)])
    top = normalise(nodes[0])
    for node in nodes[1:]:
        top = merge(top, normalise(node), replaced=frozenset({"preferences"}))
    top = fill_in(top, default_name=default_name, out=None if out is None else str(out))
    schema = _schema()
    config, found = validate(SweepConfig, top, schema)
    found += _rules_between_sections(config, top, [mistake.path for mistake in found])
    options, option_mistakes = _problem_options(top)
    found += option_mistakes
    unreadable = {mistake.position for mistake in mistakes}
    located = [locate(_short_form(mistake, top), top, schema) for mistake in found]
    mistakes = mistakes + [mistake for mistake in located if mistake.position is None or mistake.position not in unreadable]
    if mistakes or config is None:
        raise ConfigError(mistakes)
    return config.model_copy(update={"problem": ProblemConfig(name=config.problem.name, **options)})


def _rules_between_sections(config: SweepConfig | None, top: Node, wrong: list[KeyPath]) -> list[Mistake]:
    """What is wrong between sections that are valid by themselves, so that one reading names everything."""
    if config is not None:
        try:
            _ = config.resolved_studies  # kept by the config: a file of preferences is read once
        except ConfigError as error:
            return list(error.mistakes)
        return []
    rest = without(top, wrong)
    config = validate(SweepConfig, rest, {})[0]
    if config is None:
        return []
    # A default that stands in for a wrong value is nobody's mistake.
    removed = {path[:3] if path[0] == "studies" else path[:1] for path in wrong}
    return [
        mistake
        for mistake in resolve_studies(config)[1]
        if len(top.walk(mistake.path[:1])) == 2 and mistake.path[:1] not in removed and mistake.path[:3] not in removed
    ]


def _problem_options(top: Node) -> tuple[dict[str, Any], list[Mistake]]:
    """All options of the problem, and what is wrong with those that the grid file gives."""
    given = dict(top.mapping["problem"].mapping) if "problem" in top.mapping else {}
    name = given.pop("name", Node(None)).value
    entry = PROBLEMS.get(name) if isinstance(name, str) else None
    if entry is None:
        return {}, []
    model = options_model(entry)
    parsed, mistakes = validate(model, Node({"options": Node(given)}), model.model_json_schema())
    options = asdict(parsed.options) if parsed is not None else {}  # type: ignore[attr-defined]
    return options, [replace(mistake, path=("problem", *mistake.path[1:])) for mistake in mistakes]


def _short_form(mistake: Mistake, top: Node) -> Mistake:
    """`problem.name` is called `problem` where the file says `problem: name`."""
    problem = top.child("problem")
    is_short = mistake.path == ("problem", "name") and problem is not None and problem.text is not None
    return replace(mistake, path=("problem",)) if is_short else mistake


class _Representer(SafeRepresenter):
    """Quotes text that would read back as a number."""


def _represent_text(representer: SafeRepresenter, text: str) -> Any:
    style = None if isinstance(resolve_scalar(text), str) else '"'
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Representer.add_representer(str, _represent_text)


def dump_config(config: SweepConfig) -> str:
    """The config as the text of a grid file, every default written out; reading it again gives an equal config."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.default_flow_style = None
    yaml.width = 140
    stream = StringIO()
    yaml.dump(config.to_json(), stream)
    return stream.getvalue()


@cache
def _schema() -> dict[str, Any]:
    return complete_schema(SweepConfig)


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the grid file, for editors and `sweep schema`."""
    return deepcopy(_schema())
