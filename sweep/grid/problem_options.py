"""The options of a grid file's problem: checked by the catalog's dataclass, or by the signature of a factory of the user's own."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sweep.grid.errors import Mistake, did_you_mean
from sweep.grid.json_schema import options_model, options_schema
from sweep.grid.nodes import Node
from sweep.grid.validation import validate
from trainer.catalog import PROBLEMS
from trainer.own_problem import OwnProblem, is_own, own_problem
from trainer.own_source import ProblemError

_SEE = "docs/own-problem.md says what is needed"


@dataclass(frozen=True)
class ReadProblem:
    """What is known of a grid file's problem."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """All of them, with defaults; none where a mistake was found."""
    models: tuple[str, ...] = ()
    """Names of its networks, the default first; none where they are not known."""
    mistakes: tuple[Mistake, ...] = ()
    is_unusable: bool = False
    """An own problem whose facts are not known, so that nothing can be said of what depends on them."""


def read_problem(top: Node) -> ReadProblem:
    """The problem of one sweep's mapping; an own one is imported, and built where its factory has no `facts`."""
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
        return ReadProblem(is_unusable=True)  # the model of the grid file says so
    try:
        entry = own_problem(name, folders)
        parsed, found = validate(options_model(entry), Node({"options": Node(given)}), options_schema(entry))
        if parsed is None:
            return ReadProblem(mistakes=tuple(_of_signature(mistake, entry) for mistake in found), is_unusable=True)
        options = parsed.options  # type: ignore[attr-defined]
        TypeAdapter(entry.options).validate_python(asdict(options))  # so that it can be read again from plain values
        return ReadProblem(asdict(options), entry.models_of(options))
    except ValidationError as error:
        wrong = ", ".join(str(detail["loc"][0]) for detail in error.errors())
        rule = f"the factory's default of {wrong} does not fit its annotation"
        return ReadProblem(mistakes=(Mistake(("problem", "name"), rule, hint=entry.about),), is_unusable=True)
    except ProblemError as error:
        return ReadProblem(mistakes=(Mistake(("problem", "name"), str(error), hint=error.hint or _SEE),), is_unusable=True)


def _of_signature(mistake: Mistake, entry: OwnProblem) -> Mistake:
    """The same in terms of the factory."""
    hint = entry.about
    if mistake.rule == "unknown key":
        near = did_you_mean(str(mistake.path[-1]), list(entry.options.__dataclass_fields__))
        hint = f"did you mean `{near}`? {hint}" if near else hint
    elif mistake.hint:
        hint = f"{mistake.hint}; {hint}"
    return replace(mistake, path=("problem", *mistake.path[1:]), hint=hint)
