"""The problems of a grid file: a single one or a list, their options, and the sweep of each problem."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sweep.grid.json_schema import MAX_PROBLEMS, options_model, options_schema
from sweep.grid.normalise import fill_in
from sweep.grid.source.mistakes import Mistake, Path, did_you_mean
from sweep.grid.source.nodes import Node
from sweep.grid.validation import validate
from sweep.store.remote.address import is_address, joined
from trainer.catalog import PROBLEMS
from trainer.problems.custom.factory import OwnProblem, is_own, own_problem
from trainer.problems.custom.source import ProblemError

_MAX_NAME = 100
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Part:
    """The part of the grid file that describes one sweep."""

    problem: Path
    """The path of its problem: `("problem",)`, or for example `("problem", 2)` in a list; empty for an empty list."""
    top: Node
    """The file's mapping with only this problem."""

    def in_file(self, mistake: Mistake) -> Mistake:
        """Return the mistake with its path in the grid file; `problem.name` becomes `problem` if the file uses the short form."""
        if not self.problem or mistake.path[:1] != ("problem",):
            return mistake
        rest = mistake.path[1:]
        problem = self.top.child("problem")
        is_short = rest == ("name",) and problem is not None and problem.text is not None
        return replace(mistake, path=self.problem if is_short else (*self.problem, *rest))


def file_name(text: str) -> str:
    """Return the text as a name for files and folders; empty if it has no usable character."""
    return _NOT_IN_NAMES.sub("-", text).lstrip(".-")[:_MAX_NAME]


def parts_of(top: Node, *, default_name: str, out: str | None) -> list[Part]:
    """Return one part per problem. In a list, each has its own name and output: `<name>-<short>` and `<output>/<short>`."""
    problem = top.child("problem")
    if problem is None or not isinstance(problem.value, tuple):
        return [Part(("problem",), fill_in(top, default_name=default_name, out=out))]
    items = problem.items[:MAX_PROBLEMS]
    if not items:  # other mistakes can still be reported
        return [Part((), fill_in(top.with_items(problem=Node({"name": Node("")})), default_name=default_name, out=out))]
    shorts = _short_names(items)
    filled = fill_in(top, default_name=default_name[: _MAX_NAME - 1 - max(map(len, shorts))], out=out)
    parts = []
    for index, (item, short) in enumerate(zip(items, shorts, strict=True)):
        own = {key: _extended(filled.mapping[key], key, short) for key in ("name", "output")}
        parts.append(Part(("problem", index), filled.with_items(problem=item, **own)))
    return parts


def length_mistakes(top: Node, n_max: int) -> list[Mistake]:
    """Return mistakes in the number of problems of a list."""
    problem = top.child("problem")
    if problem is None or not isinstance(problem.value, tuple):
        return []
    n_problems = len(problem.items)
    if n_problems == 0:
        return [Mistake(("problem",), "at least 1 item expected")]
    if n_problems > MAX_PROBLEMS:
        return [Mistake(("problem",), f"at most {MAX_PROBLEMS} items expected", str(n_problems))]
    if n_problems > n_max:
        rule = f"one problem expected here, found {n_problems}"
        return [Mistake(("problem",), rule, hint="`load_configs` and `parse_configs` take several, and so do `sweep run` and `sweep plan`")]
    return []


def unique_mistakes(found: Sequence[tuple[Part, Sequence[Mistake]]]) -> list[Mistake]:
    """Return each mistake once. A mistake outside `problem` that only some sweeps have names the first problem that has it."""
    counted: dict[object, tuple[Part, Mistake, int]] = {}
    for part, mistakes in found:
        for key, mistake in {(mistake.position or mistake.path, mistake.rule): mistake for mistake in mistakes}.items():
            first, kept, n_times = counted.get(key, (part, mistake, 0))
            counted[key] = first, kept, n_times + 1
    unique = []
    for part, mistake, n_times in counted.values():
        is_about_problem = mistake.path[:1] == ("problem",)
        if not is_about_problem and n_times < len(found):
            mistake = replace(mistake, rule=f"{mistake.rule}, for problem[{part.problem[1]}]")
        if part.problem or not is_about_problem:
            unique.append(mistake)
    return unique


def _extended(node: Node, key: str, short: str) -> Node:
    """Append a problem's name to a name or an output; a value that is empty or not text is left unchanged."""
    if not isinstance(node.value, str) or not node.value:
        return node
    value = f"{node.value}-{short}" if key == "name" else _below(node.value, short)
    return replace(node, value=value, text=value if node.text is not None else None)


def _below(output: str, short: str) -> str:
    return joined(output, short) if is_address(output) else os.path.join(output, short)


def _short_names(items: Iterable[Node]) -> list[str]:
    """Return the part of each problem's name after its last `/` or `:`, with `-2`, `-3` if it is not unique (ignoring case)."""
    names: list[str] = []
    taken: set[str] = set()
    for item in items:
        given = item.child("name")
        name = given.value if given is not None and isinstance(given.value, str) else ""
        short = file_name(re.split("[/:]", name)[-1])[: _MAX_NAME // 2] or "problem"
        number = 1
        while (numbered := short if number == 1 else f"{short}-{number}").lower() in taken:
            number += 1
        taken.add(numbered.lower())
        names.append(numbered)
    return names


_SEE = "docs/own-problem.md describes what is needed"


@dataclass(frozen=True)
class ReadProblem:
    """The information that is known about a grid file's problem."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """All options, including defaults; empty if a mistake was found."""
    models: tuple[str, ...] = ()
    """The names of the problem's networks, the default first; empty if they are unknown."""
    mistakes: tuple[Mistake, ...] = ()
    is_unusable: bool = False
    """Whether it is a custom problem whose facts are unknown, so that nothing which depends on them can be checked."""


def read_problem(top: Node) -> ReadProblem:
    """Read the problem of one sweep. A custom problem is imported, and built if its factory has no `facts`."""
    given = dict(top.mapping["problem"].mapping) if "problem" in top.mapping else {}
    name = given.pop("name", Node(None)).value
    if isinstance(name, str) and is_own(name):
        return _read_own(name, given)
    entry = PROBLEMS.get(name) if isinstance(name, str) else None
    if entry is None:
        return ReadProblem()
    parsed, mistakes = validate(options_model(entry), Node({"options": Node(given)}), options_schema(entry))
    options = asdict(parsed.options) if parsed is not None else {}  # type: ignore[attr-defined]
    return ReadProblem(options, entry.models, tuple(replace(mistake, path=("problem", *mistake.path[1:])) for mistake in mistakes))


def _read_own(name: str, given: dict[str, Node]) -> ReadProblem:
    folders = given.pop("import_from", Node(())).plain()
    if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
        return ReadProblem(is_unusable=True)  # validating the grid file reports this
    try:
        entry = own_problem(name, folders)
        parsed, found = validate(options_model(entry), Node({"options": Node(given)}), options_schema(entry))
        if parsed is None:
            return ReadProblem(mistakes=tuple(_of_signature(mistake, entry) for mistake in found), is_unusable=True)
        options = parsed.options  # type: ignore[attr-defined]
        TypeAdapter(entry.options).validate_python(asdict(options))  # check that the options can be read again from plain values
        return ReadProblem(asdict(options), entry.models_of(options))
    except ValidationError as error:
        wrong = ", ".join(str(detail["loc"][0]) for detail in error.errors())
        rule = f"the factory's default of {wrong} does not fit its annotation"
        return ReadProblem(mistakes=(Mistake(("problem", "name"), rule, hint=entry.about),), is_unusable=True)
    except ProblemError as error:
        return ReadProblem(mistakes=(Mistake(("problem", "name"), str(error), hint=error.hint or _SEE),), is_unusable=True)


def _of_signature(mistake: Mistake, entry: OwnProblem) -> Mistake:
    """Return the mistake with hints about the factory."""
    hint = entry.about
    if mistake.rule == "unknown key":
        near = did_you_mean(str(mistake.path[-1]), list(entry.options.__dataclass_fields__))
        hint = f"did you mean `{near}`? {hint}" if near else hint
    elif mistake.hint:
        hint = f"{mistake.hint}; {hint}"
    return replace(mistake, path=("problem", *mistake.path[1:]), hint=hint)
