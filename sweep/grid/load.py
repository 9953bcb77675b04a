"""The grid file, a YAML file that defines what a sweep trains; if it lists several problems, it defines one sweep for each.

`load_configs` reads a file, and `parse_configs` accepts the same content as Python values. Both return frozen, resolved `SweepConfig`s
or raise a `ConfigError` that names every mistake at once. `load_config` and `parse_config` are for a single problem. This module
imports neither torch nor ray; if a grid file names a custom problem, the module of that problem is imported.
"""

import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from sweep.grid.json_schema import MAX_PROBLEMS, complete_schema
from sweep.grid.models import GridConfig, ProblemConfig, Resources, StudyConfig, SweepConfig
from sweep.grid.normalise import normalise, with_model, without
from sweep.grid.problems import Part, ReadProblem, file_name, length_mistakes, parts_of, read_problem, unique_mistakes
from sweep.grid.resolve import resolve
from sweep.grid.source.mistakes import ConfigError, Mistake
from sweep.grid.source.mistakes import Path as KeyPath
from sweep.grid.source.nodes import Node, from_python, merge, resolve_scalar
from sweep.grid.source.text import STDIN, GridText, TextFile, read_file
from sweep.grid.source.yaml import read_yaml
from sweep.grid.study import Study
from sweep.grid.validation import locate, validate
from trainer.problems.custom.factory import building_once

__all__ = [
    "ConfigError",
    "GridFile",
    "GridText",
    "Mistake",
    "ProblemConfig",
    "Resources",
    "Study",
    "StudyConfig",
    "SweepConfig",
    "dump_config",
    "json_schema",
    "load_config",
    "load_configs",
    "parse_config",
    "parse_configs",
    "read_grid",
]


@dataclass(frozen=True)
class GridFile:
    """A grid file and the file merged over it. Each is read only once, so that the stored text is the one that was used."""

    file: TextFile
    override: TextFile | None = None

    @property
    def text(self) -> GridText:
        """The texts of the files, as the plan of a run stores them."""
        return GridText(self.file.text, None if self.override is None else self.override.text)

    def configs(self, out: str | Path | None = None) -> tuple[SweepConfig, ...]:
        """Return the sweeps of the file; `out` and errors are as for `load_configs`."""
        return self._configs(out, MAX_PROBLEMS)

    def config(self, out: str | Path | None = None) -> SweepConfig:
        """Return the only sweep of the file; `out` and errors are as for `load_config`."""
        return self._configs(out, 1)[0]

    def _configs(self, out: str | Path | None, n_max: int) -> tuple[SweepConfig, ...]:
        nodes, mistakes = [], []
        for file in (self.file, self.override):
            if file is not None:
                node, found = read_yaml(file)
                nodes.append((node, file.folder))
                mistakes += found
        return _build(nodes, mistakes, default_name=file_name(self.file.stem) or "sweep", out=out, n_max=n_max)


def read_grid(path: str | Path, *, override: str | Path | None = None) -> GridFile:
    """Read the text of a grid file without checking it; the arguments are as for `load_configs`.

    Raises:
        ConfigError: a file is missing, unreadable, too large or not UTF-8, or both are standard input.
    """
    if override is not None and Path(path) == Path(override) == STDIN:
        hint = "write one of the two into a file"
        raise ConfigError([Mistake((), "standard input can be read only once", hint=hint, file="--override")])
    return GridFile(read_file(Path(path)), None if override is None else read_file(Path(override)))


def load_config(path: str | Path, *, out: str | Path | None = None, override: str | Path | None = None) -> SweepConfig:
    """Read a grid file with one problem; the arguments are as for `load_configs`.

    Raises:
        ConfigError: as for `load_configs`, or the file lists several problems.
    """
    return read_grid(path, override=override).config(out)


def load_configs(path: str | Path, *, out: str | Path | None = None, override: str | Path | None = None) -> tuple[SweepConfig, ...]:
    """Read a grid file, which defines one sweep, or one for each problem that it lists.

    The sweeps of a list differ only in the problem. Each is named `<name>-<short>`, and its results are written to
    `<output>/<short>`, where `<short>` is the part of the problem's name after its last `/` (with `-2`, `-3` if that is not unique).

    Args:
        path: the YAML file, or `-` for standard input, in which paths are relative to the working directory.
        out: the output folder, which replaces the file's `output`; for a list of problems, the parent of the output folders.
        override: a second YAML file that is merged over the first, key by key; `preferences` and lists are replaced as a whole.

    Raises:
        ConfigError: the file has mistakes; the message names each with file, line, column, path, rule, value and a hint.
    """
    return read_grid(path, override=override).configs(out)


def parse_config(
    mapping: Mapping[str, Any], *, name: str = "sweep", out: str | Path | None = None, override: Mapping[str, Any] | None = None
) -> SweepConfig:
    """Create one sweep from Python values; the arguments are as for `parse_configs`.

    Raises:
        ConfigError: the values have mistakes, all of which the message names, or `mapping` lists several problems.
    """
    return _build(_python_nodes(mapping, override), [], default_name=name, out=out, n_max=1)[0]


def parse_configs(
    mapping: Mapping[str, Any], *, name: str = "sweep", out: str | Path | None = None, override: Mapping[str, Any] | None = None
) -> tuple[SweepConfig, ...]:
    """Create sweeps from Python values, like `load_configs` from a file. Paths are relative to the working directory.

    Args:
        mapping: the content of a grid file; its values may be settings dataclasses.
        name: the sweep's name, if `mapping` has none.
        out: the output folder, which replaces the mapping's `output`.
        override: values that are merged over `mapping`, as in `load_configs`.

    Raises:
        ConfigError: the values have mistakes; the message names all of them, without lines.
    """
    return _build(_python_nodes(mapping, override), [], default_name=name, out=out, n_max=MAX_PROBLEMS)


def _python_nodes(mapping: Mapping[str, Any], override: Mapping[str, Any] | None) -> list[tuple[Node, str]]:
    return [(from_python(values), os.getcwd()) for values in (mapping, override) if values is not None]


def _build(
    nodes: Sequence[tuple[Node, str]], mistakes: list[Mistake], *, default_name: str, out: str | Path | None, n_max: int
) -> tuple[SweepConfig, ...]:
    """Build the sweeps of one file's nodes, or of several merged in this order, each given with the folder of its relative paths."""
    for node, _ in nodes:
        if not isinstance(node.value, dict):
            rule, hint = "a mapping (`key: value`) expected at the top level", "start with `problem: multidigits`"
            raise ConfigError([*mistakes, Mistake((), rule, node.found(), hint, node.position)])
    top = normalise(*nodes[0])
    for node, folder in nodes[1:]:
        top = merge(top, normalise(node, folder), replaced=frozenset({"preferences"}))
    parts = parts_of(top, default_name=default_name, out=None if out is None else str(out))
    read = [_read_part(part) for part in parts]
    found = [locate(mistake, top, _schema()) for mistake in length_mistakes(top, n_max)]
    found += unique_mistakes([(part, wrong) for part, (_, wrong) in zip(parts, read, strict=True)])
    if out is not None:  # it is not in the file
        found = [replace(mistake, position=None) if mistake.path == ("output",) else mistake for mistake in found]
    unreadable = {mistake.position for mistake in mistakes}
    mistakes = mistakes + [mistake for mistake in found if mistake.position is None or mistake.position not in unreadable]
    if mistakes:
        raise ConfigError(mistakes)
    return tuple(config for config, _ in read if config is not None)


def _read_part(part: Part) -> tuple[SweepConfig | None, list[Mistake]]:
    """Return one sweep, or None if it has mistakes, and these mistakes with their positions and paths in the file."""
    with building_once():
        return _read_once(part)


def _read_once(part: Part) -> tuple[SweepConfig | None, list[Mistake]]:
    schema = _schema()
    problem = read_problem(part.top)
    top = with_model(part.top, problem.models)
    grid, found = validate(GridConfig, top, schema)
    found += problem.mistakes
    config = None
    if grid is None or problem.mistakes:
        wrong = [mistake.path for mistake in found] + [("problem", "name")] * problem.is_unusable
        between = _mistakes_in_the_rest(top, wrong)
    else:
        config, between = resolve(grid.model_copy(update={"problem": _complete(grid.problem, problem)}))
    found += [mistake for mistake in between if not (problem.is_unusable and mistake.path[-1:] == ("model",))]
    return config, [part.in_file(locate(mistake, top, schema)) for mistake in found]


def _complete(written: ProblemConfig, problem: ReadProblem) -> ProblemConfig:
    """Return the problem with every option written out."""
    folders = {"import_from": written.import_from} if written.import_from else {}
    return ProblemConfig(name=written.name, **folders, **problem.options)


def _mistakes_in_the_rest(top: Node, wrong: list[KeyPath]) -> list[Mistake]:
    """Return the mistakes between sections that are each valid, so that a single error names everything."""
    rest = validate(GridConfig, without(top, wrong), {})[0]
    if rest is None:
        return []
    # A default that has replaced a wrong value is not the user's mistake.
    removed = {path[:3] if path[0] == "studies" else path[:1] for path in wrong}
    return [
        mistake
        for mistake in resolve(rest)[1]
        if len(top.walk(mistake.path[:1])) == 2 and mistake.path[:1] not in removed and mistake.path[:3] not in removed
    ]


class _Representer(SafeRepresenter):
    """A YAML representer that quotes text which would otherwise be read back as a number."""


def _represent_text(representer: SafeRepresenter, text: str) -> Any:
    style = None if isinstance(resolve_scalar(text), str) else '"'
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Representer.add_representer(str, _represent_text)


def dump_config(config: SweepConfig) -> str:
    """Return the config as the text of a grid file with every default written out. Reading that text gives an equal config."""
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
    return complete_schema(GridConfig)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the grid file, for editors and `sweep schema`."""
    return deepcopy(_schema())
