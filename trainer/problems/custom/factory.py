"""A problem of the user's own: `my_package.my_module:factory` in a grid file (docs/own-problem.md).

The factory is a function (or class) that returns a `trainer.problems.problem.Problem`; its parameters are the problem's options.
It may have two attributes, functions of the options (a mapping): `facts`, so that planning need not build the problem,
and `fingerprint`, of data that is not in its source. Imports torch only to build.
"""

import hashlib
import inspect
import json
import os
import random
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.problems.custom.options import options_of, shown_parameter
from trainer.problems.custom.source import (
    BatchError,
    ProblemError,
    Source,
    SourceError,
    changed_modules,
    described,
    find_source,
    importing,
    load,
)
from trainer.problems.custom.task_names import check_task_names
from trainer.problems.facts import ProblemFacts
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from trainer.problems.problem import Problem

NAME = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
_MAX_SIGNATURE = 200
_known: dict[tuple[str, tuple[str, ...], str], "OwnProblem"] = {}
_built: ContextVar["dict[str, Problem] | None"] = ContextVar("built problems", default=None)


@contextmanager
def building_once() -> Iterator[None]:
    """Within the context, planning builds each problem once; the data is released at the end."""
    token = _built.set({})
    try:
        yield
    finally:
        _built.reset(token)


def is_own(name: str) -> bool:
    """Return whether a problem's name in a grid file is the path of a factory."""
    return ":" in name


def own_problem(name: str, folders: Sequence[str]) -> "OwnProblem":
    """Import a factory, once in a process unless its source changes.

    Args:
        name: `my_package.my_module:factory`.
        folders: absolute folders that are searched for the module, before Python's own path.

    Raises:
        ProblemError: the name, the module or the factory cannot be used.
    """
    if not re.fullmatch(NAME, name, re.ASCII):
        hint = "for example `problem:wine` for the function `wine` in problem.py beside the grid file"
        raise ProblemError("a path `my_package.my_module:factory` expected", hint)
    module, _, attribute = name.partition(":")
    source = find_source(module, folders)
    key = (name, source.folders, source.digest)
    if key not in _known:
        factory = getattr(load(source), attribute, None)
        if not callable(factory):
            hint = "a function (or class) that returns a trainer.api.Problem is needed"
            raise ProblemError(f"{source.files[module]} has no function `{attribute}`", hint)
        _known[key] = OwnProblem(name, source, factory)
    return _known[key]


class OwnProblem:
    """A factory, its options and its source at the time of the import."""

    def __init__(self, name: str, source: Source, factory: Callable[..., Any]) -> None:
        self.name = name
        self.source = source
        self._factory = factory
        self._facts: dict[str, ProblemFacts] = {}
        self._data: dict[str, str] = {}
        self._tried: dict[tuple[str, str, int, float, bool], BatchError | None] = {}
        self.options, self._paths = options_of(name, factory)
        """A dataclass with one field for each option."""

    @property
    def about(self) -> str:
        """The signature of the factory and its place, for hints."""
        given = inspect.signature(self._factory).parameters
        parameters = [shown_parameter(given[item.name]) for item in fields(self.options)]
        shown = f"{self.name.partition(':')[2]}({', '.join(parameters)})"
        shown = shown if len(shown) <= _MAX_SIGNATURE else f"{shown[:_MAX_SIGNATURE]}..."
        code = getattr(inspect.unwrap(self._factory), "__code__", None)
        return f"the factory is `{shown}`, {self.source.files[self.source.module]}" + (f":{code.co_firstlineno}" if code else "")

    def models_of(self, options: Any) -> tuple[str, ...]:
        """Return the names of its networks, the default first."""
        return self.facts(options).models

    def facts(self, options: Any) -> ProblemFacts:
        """Return the facts of the factory's `facts`; without that the problem is built and checked, once in a process.

        Raises:
            ProblemError: the factory fails, or the problem that it returns cannot be trained.
        """
        key = self._identity(options)
        if key not in self._facts:
            given = getattr(self._factory, "facts", None)
            self._facts[key] = self._built_facts(options) if given is None else self._given_facts(given, options)
        return self._facts[key]

    def check_batches(self, options: Any, model: str, training: TrainingSettings, *, trains: bool = True) -> None:
        """Try a network on the batch sizes of a training; each combination once in a process.

        Nothing is tried if the factory has `facts`: planning does not build the problem then, and the workers try the batches.

        Raises:
            BatchError: the network cannot process one of the batches.
            ProblemError: the factory fails.
        """
        if getattr(self._factory, "facts", None) is not None:
            return
        key = (self._identity(options), model, training.batch_size, training.data_share, trains)
        if key not in self._tried:
            self._tried[key] = self._called("", self._error_in_batches, options, *key[1:])
        error = self._tried[key]
        if error is not None:
            raise error

    def fingerprint(self, options: Any) -> str:
        """Return the SHA-256 of the factory's path, its options, its source, and its `fingerprint` of the data.

        Raises:
            SourceError: the source has changed since the import.
            ProblemError: the factory's `fingerprint` fails.
        """
        self.refuse_other_source(self.source.digest)
        return self._identity(options)

    def refuse_other_source(self, digest: str) -> None:
        """Compare the current files with the planned source.

        Raises:
            SourceError: the files or the imported modules differ from the planned source.
        """
        now = find_source(self.source.module, self.source.folders)
        if digest != now.digest or digest != self.source.digest:
            changed = changed_modules(self.source.digests, now.digests)
            which = f" ({', '.join(changed)})" if changed else ""
            remedy = "undo the change and run again, or choose another `output`"
            raise SourceError(f"the source of {self.name}{which} is not what was planned; {remedy}")

    def build(self, options: Any) -> "Problem":
        """Call the factory with fixed seeds of all global random numbers, so that each worker gets the same data.

        Raises:
            ProblemError: the factory does not return a problem.
            Exception: any error of the factory.
        """
        from trainer.problems.problem import Problem

        with importing(self.source), _fixed_seeds():
            built = self._factory(**self._arguments(options))
        if not isinstance(built, Problem):
            raise ProblemError(f"the factory {self.name} returned {type(built).__name__}, a trainer.api.Problem expected")
        return built

    def prepare(
        self, options: Any, model: str, training: TrainingSettings | None = None, *, trains: bool = True
    ) -> "tuple[Problem, list[str]]":
        """Return the problem for training, and notes for the readers of its rows. The folders stay at the end of Python's path.

        Args:
            options: the options of the problem.
            model: the network that is or was trained.
            training: the settings that it is going to be trained with; None where it is only inspected.
            trains: whether the method takes optimizer steps on minibatches.

        Raises:
            ProblemError: the problem cannot be trained, or contradicts its `facts`; the message names the reason.
            Exception: any error of the factory.
        """
        from trainer.problems.custom.check import check_batches, check_problem, prunable_only

        sys.path += [folder for folder in self.source.folders if folder not in sys.path]  # for imports during training
        problem = self.build(options)
        was_planned_unbuilt = getattr(self._factory, "facts", None) is not None
        if was_planned_unbuilt:
            _compare(self.facts(options), problem)
        with importing(self.source):
            notes = check_problem(problem, model)
            if was_planned_unbuilt and training is not None:  # otherwise planning has already tried the batches
                check_batches(problem, model, training.batch_size, training.data_share, trains=trains)
            return prunable_only(problem), notes

    def _identity(self, options: Any) -> str:
        facts = [self.name, asdict(options), self.source.digests, self._data_fingerprint(options)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _arguments(self, options: Any) -> dict[str, Any]:
        """Return the keyword arguments; paths are relative to the first folder, that of the grid file."""
        given = {item.name: getattr(options, item.name) for item in fields(options)}
        folder = self.source.folders[0] if self.source.folders else os.getcwd()
        paths = {name: Path(folder, os.path.expanduser(given[name])) for name in self._paths if given[name] is not None}
        return given | paths

    def _data_fingerprint(self, options: Any) -> str | None:
        given = getattr(self._factory, "fingerprint", None)
        if given is None:
            return None
        key = json.dumps(asdict(options), sort_keys=True)
        if key not in self._data:
            fingerprint = self._called("fingerprint", given, self._arguments(options))
            if not isinstance(fingerprint, str):
                raise ProblemError(f"{self.name}.fingerprint returned {type(fingerprint).__name__}, text expected")
            self._data[key] = fingerprint
        return self._data[key]

    def _given_facts(self, given: Any, options: Any) -> ProblemFacts:
        facts = self._called("facts", given, self._arguments(options))
        if not isinstance(facts, ProblemFacts):
            raise ProblemError(f"{self.name}.facts returned {type(facts).__name__}, a trainer.api.ProblemFacts expected")
        check_task_names(facts.tasks)
        if not facts.models:
            raise ProblemError(f"{self.name}.facts names no networks: `models=(...)` expected")
        if set(facts.metrics) != set(facts.tasks) or not len(facts.guess_losses) == len(facts.tasks) == len(facts.loss_units):
            raise ProblemError(f"{self.name}.facts: a metric, a guess loss and a unit for each of {', '.join(facts.tasks)} expected")
        if facts.n_train < 1:
            raise ProblemError(f"{self.name}.facts: n_train >= 1 expected, found {facts.n_train}")
        return facts

    def _built_facts(self, options: Any) -> ProblemFacts:
        from trainer.problems.custom.check import facts_of

        result: tuple[ProblemFacts, list[str]] = self._called("", lambda: facts_of(self._planned(options)))
        facts, notes = result
        for note in notes:
            warnings.warn(f"{self.name}: {note}", stacklevel=2)
        return facts

    def _planned(self, options: Any) -> "Problem":
        """Return the problem at planning, built once within `building_once`."""
        kept, key = _built.get(), self._identity(options)
        if kept is None:
            return self.build(options)
        if key not in kept:
            kept[key] = self.build(options)
        return kept[key]

    def _error_in_batches(self, options: Any, model: str, batch_size: int, data_share: float, trains: bool) -> BatchError | None:
        from trainer.problems.custom.check import check_batches

        try:
            check_batches(self._planned(options), model, batch_size, data_share, trains=trains)
        except BatchError as error:
            return error
        return None

    def _called(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the user's code at planning, and convert its errors to a ProblemError."""
        name = f"{self.name}.{what}" if what else self.name
        if not callable(function):
            raise ProblemError(f"{name} is {type(function).__name__}, a function of the options expected")
        try:
            with importing(self.source):
                return function(*arguments)
        except ProblemError:
            raise
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise ProblemError(f"{name} raised {described(error, self.source)}", self.about) from error


def _compare(facts: ProblemFacts, problem: "Problem") -> None:
    for what, said, found in (
        ("tasks", list(facts.tasks), [task.name for task in problem.tasks]),
        ("metrics", dict(facts.metrics), {task.name: task.metric_name for task in problem.tasks}),
        ("models", sorted(facts.models), sorted(problem.networks)),
    ):
        if said != found:
            raise ProblemError(f"the factory's facts say {what} {said}, its problem has {found}")


@contextmanager
def _fixed_seeds() -> Iterator[None]:
    """Seed the global random numbers of Python, numpy and torch within the context, and restore their states afterwards."""
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
