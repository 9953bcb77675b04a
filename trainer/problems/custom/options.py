"""A factory's signature as a dataclass of options, as far as a grid file can express and check them."""

import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import field, make_dataclass
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from trainer.problems.custom.source import ProblemError
from trainer.settings import Range

RESERVED = ("name", "import_from")
"""Keys of a problem in a grid file that are not options of a factory."""


def options_of(name: str, factory: Callable[..., Any]) -> tuple[type[Any], frozenset[str]]:
    """Return a frozen dataclass of the options that a grid file may set, and the names of those that are paths."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError) as error:
        raise ProblemError(f"the parameters of {name} cannot be read: {error}", "write a plain function around it") from None
    options: list[Any] = []
    paths = set()
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        has_default = parameter.default is not parameter.empty
        if parameter.kind is parameter.POSITIONAL_ONLY or parameter.name in RESERVED:
            if has_default:
                continue
            raise ProblemError(f"{name}: a parameter `{parameter.name}` cannot be given in a grid file", "give it another name")
        annotation = _annotation(parameter.annotation, factory)
        default = os.fspath(parameter.default) if isinstance(parameter.default, os.PathLike) else parameter.default
        if has_default and not _is_plain(default):
            continue  # a grid file cannot express it, so the factory uses its own default
        if _without_none(annotation) in (Path, os.PathLike):
            paths.add(parameter.name)
        kind = _of_default(_spelled(annotation), default) if has_default else _spelled(annotation)
        options.append((parameter.name, kind, field(default_factory=partial(deepcopy, default)) if has_default else field()))
    return make_dataclass("Options", options, frozen=True, kw_only=True), frozenset(paths)


def shown_parameter(parameter: inspect.Parameter) -> str:
    """Return a parameter as text, such as `width: int = 32`, without the rules in the annotation."""
    annotation = parameter.annotation
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    kind = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    named = parameter.name if annotation is parameter.empty else f"{parameter.name}: {kind}"
    return named if parameter.default is parameter.empty else f"{named} = {parameter.default!r}"


def _annotation(written: Any, factory: Callable[..., Any]) -> Any:
    """Return the annotation, also if it is text; `Any` if it cannot be resolved."""
    if written is inspect.Parameter.empty:
        return Any
    if isinstance(written, str):
        function = inspect.unwrap(factory.__init__ if inspect.isclass(factory) else factory)
        try:
            return eval(written, getattr(function, "__globals__", {}))  # the user's own text in the user's own module
        except Exception:  # noqa: BLE001 - names that only a type checker knows
            return Any
    return written


def _without_none(annotation: Any) -> Any:
    choices = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    others = [choice for choice in choices if choice is not NoneType]
    return others[0] if len(others) == 1 else annotation


def _spelled(annotation: Any) -> Any:
    """Return the annotation as far as a grid file can be checked by it: numbers, text, choices, lists and mappings of them."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is float:
        return Annotated[float, Range()]  # finite
    if annotation in (int, str, bool, NoneType):
        return annotation
    if annotation in (Path, os.PathLike):
        return str
    if origin is Literal:
        return annotation
    if origin is Annotated:
        return Annotated[(_spelled(arguments[0]), *annotation.__metadata__)]
    if origin in (Union, UnionType):
        inner = _without_none(annotation)
        return Any if inner is annotation or _spelled(inner) is Any else _spelled(inner) | None
    if origin in (list, Sequence) and len(arguments) == 1:
        return list[_spelled(arguments[0])]  # type: ignore[misc]
    if origin is tuple and arguments:
        parts: Any = tuple(part if part is ... else _spelled(part) for part in arguments)
        return tuple.__class_getitem__(parts)
    if origin in (dict, Mapping) and arguments[:1] == (str,):
        return dict[str, _spelled(arguments[1])]  # type: ignore[misc]
    plain: dict[Any, Any] = {list: list[Any], tuple: tuple[Any, ...], dict: dict[str, Any]}
    return plain.get(annotation, Any) if isinstance(annotation, type) else Any


def _of_default(kind: Any, default: Any) -> Any:
    """Adapt a type to its default: `n: int = None` also accepts None; any other default of a wrong type disables the check."""
    if default is None:
        return kind if kind is Any or NoneType in get_args(kind) else kind | None
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    fitting = (int, float) if plain is float else plain
    if plain in (int, float, str, bool) and (not isinstance(default, fitting) or (isinstance(default, bool) and plain is not bool)):
        return Any
    return kind


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(below) for key, below in value.items())
    return value is None or isinstance(value, bool | int | str)
