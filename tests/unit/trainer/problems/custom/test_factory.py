"""A factory of the user's own: its parameters are options, its facts are known before training, its data is the same each time."""

import random
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import pytest
import torch

from trainer.catalog import PROBLEMS, find_problem
from trainer.problems.custom.factory import OwnProblem, own_problem
from trainer.problems.custom.source import ProblemError, SourceError
from trainer.settings import Range

HEAD = """\
from __future__ import annotations
import os, random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional, Sequence
import numpy as np, torch
from torch import nn
from trainer.api import Problem, ProblemFacts, Split, classification, regression
from trainer.settings import Range
CALLS = []

class Net(nn.Module):
    def __init__(self, layers=("a",)):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)
        self.growl_layers = layers
    def forward(self, x):
        return [self.b(self.a(x)), self.b(self.a(x))[:, :1]]

def small(networks=None, n=8):
    inputs = torch.linspace(-1, 1, 3 * n).reshape(n, 3)
    split = Split(inputs, torch.stack([torch.arange(n) % 2, torch.arange(n) / n], 1))
    tasks = (classification("kind", 2), regression("size", 1.5))
    return Problem("small", tasks, networks or {"net": Net, "other": Net}, split, split, split)
"""


@pytest.fixture(autouse=True)
def _module() -> Iterator[None]:
    yield
    sys.modules.pop("problem", None)


@pytest.fixture
def of(tmp_path: Path) -> Callable[..., OwnProblem]:
    """The own problem with this text after HEAD."""

    def make(text: str, name: str = "problem:f") -> OwnProblem:
        (tmp_path / "problem.py").write_text(HEAD + text)
        return own_problem(name, [str(tmp_path)])

    return make


# -- parameters ---------------------------------------------------------------------------------------------------------


def test_parameters_are_options_with_their_defaults(of: Callable[..., OwnProblem]) -> None:
    entry = of("def f(a, b: int = 3, *, c: str = 'x', d: list[int] = [1, 2]): return small()")
    options = entry.options(a=1)
    assert asdict(options) == {"a": 1, "b": 3, "c": "x", "d": [1, 2]}
    options.d.append(9)
    assert entry.options(a=1).d == [1, 2]
    with pytest.raises(TypeError):
        entry.options()
    assert entry.about.startswith("the factory is `f(a, b: int = 3, c: str = 'x', d: list[int] = [1, 2])`, /")
    assert entry.about.endswith(f"/problem.py:{HEAD.count(chr(10)) + 1}")


@pytest.mark.parametrize(
    ("annotation", "default", "expected"),
    [
        ("int", "1", int),
        ("bool", "True", bool),
        ("float", "1", Annotated[float, Range()]),
        ("Annotated[int, Range(ge=1)]", "1", Annotated[int, Range(ge=1)]),
        ("Literal['a', 'b']", "'a'", Literal["a", "b"]),
        ("int | None", "None", int | None),
        ("Optional[str]", "'x'", str | None),
        ("int", "None", int | None),
        ("list[int]", "[]", list[int]),
        ("Sequence[str]", "()", list[str]),
        ("tuple[int, ...]", "()", tuple[int, ...]),
        ("tuple[str, int]", "('a', 1)", tuple[str, int]),
        ("dict[str, bool]", "{}", dict[str, bool]),
        ("list", "[]", list[Any]),
        ("Path", "'x'", str),
        ("Path | None", "None", str | None),
        ("Path", "Path('x')", str),
        # What no grid file can be checked against is passed on as it is.
        ("nn.Module", "None", Any),
        ("Unknown", "1", Any),
        ("int | str", "1", Any),
        ("dict[int, str]", "{}", Any),
        ("str", "1", Any),
        ("int", "1.5", Any),
        ("bool", "1", Any),
        ("int", "True", Any),
    ],
)
def test_annotations_are_checked_as_far_as_a_grid_file_can_spell_them(
    of: Callable[..., OwnProblem], annotation: str, default: str, expected: Any
) -> None:
    (option,) = fields(of(f"def f(x: {annotation} = {default}): return small()").options)
    assert option.type == expected
    assert get_args(option.type) == get_args(expected)


def test_what_a_grid_file_cannot_give_is_left_to_the_factory(of: Callable[..., OwnProblem]) -> None:
    entry = of("def f(a=1, /, b=2, *more, net=Net, wide=float('inf'), **rest): return small(n=b)")
    assert [option.name for option in fields(entry.options)] == ["b"]
    assert len(entry.build(entry.options(b=5)).train) == 5
    for text in ("def f(a, /): ...", "def f(name): ...", "def f(import_from): ..."):
        with pytest.raises(ProblemError, match="cannot be given in a grid file"):
            of(text)


def test_a_class_can_be_the_factory(of: Callable[..., OwnProblem]) -> None:
    entry = of("class f(Problem):\n    def __init__(self, n: int = 4):\n        super().__init__(**vars(small(n=n)))")
    assert asdict(entry.options()) == {"n": 4}
    assert len(entry.build(entry.options(n=6)).train) == 6


def test_paths_are_relative_to_the_grid_files_folder(of: Callable[..., OwnProblem], tmp_path: Path) -> None:
    entry = of(
        "def f(a: Path, b: Path | None = None, c: Path = Path('~/c'), d: str = 'd'):\n    CALLS.append((a, b, c, d))\n    return small()"
    )
    options = entry.options(a="data/a.csv")
    assert asdict(options) == {"a": "data/a.csv", "b": None, "c": "~/c", "d": "d"}
    entry.build(options)
    calls = sys.modules["problem"].CALLS
    assert calls == [(tmp_path / "data/a.csv", None, Path("~/c").expanduser(), "d")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("problem:", "a path `my_package.my_module:factory` expected"),
        (":f", "a path"),
        ("problem:f()", "a path"),
        ("wine/problem.py:f", "a path"),
        ("problem:f:g", "a path"),
        ("problem:nothing", "problem.py has no function `nothing`"),
        ("problem:CALLS", "has no function `CALLS`"),
    ],
)
def test_a_name_that_leads_to_no_factory(of: Callable[..., OwnProblem], name: str, message: str) -> None:
    with pytest.raises(ProblemError, match=message) as caught:
        of("f = small", name)
    assert caught.value.hint


def test_the_catalog_finds_both_kinds(of: Callable[..., OwnProblem], tmp_path: Path) -> None:
    entry = of("def f(): return small()")
    assert find_problem("problem:f", [str(tmp_path)]) is entry
    assert find_problem("multidigits") is PROBLEMS["multidigits"]
    with pytest.raises(KeyError):
        find_problem("nothing")


# -- facts --------------------------------------------------------------------------------------------------------------


def test_without_facts_the_problem_is_built_once(of: Callable[..., OwnProblem]) -> None:
    entry = of("def f(n: int = 8):\n    CALLS.append(n)\n    return small(n=n)")
    for _ in range(3):
        facts = entry.facts(entry.options())
    assert entry.models_of(entry.options()) == facts.models == ("net", "other")
    assert (facts.tasks, facts.metrics) == (("kind", "size"), {"kind": "accuracy", "size": "absolute error"})
    assert facts.guess_losses == pytest.approx((0.6931, 1.5), abs=1e-4)
    assert (facts.loss_units, facts.n_train, facts.has_sparsity) == (("nats", ""), 8, True)
    assert sys.modules["problem"].CALLS == [8]
    assert entry.facts(entry.options(n=9)).n_train == 9
    assert sys.modules["problem"].CALLS == [8, 9]


def test_nothing_to_prune_is_no_sparsity_objective(of: Callable[..., OwnProblem]) -> None:
    entry = of("def f(): return small({'net': lambda: Net(())})")
    with pytest.warns(UserWarning, match="problem:f: network net: no layer is pruned, so k0 has no effect"):
        facts = entry.facts(entry.options())
    assert facts.objectives == ("kind", "size")


GIVEN = """
def f(n: int = 8):
    CALLS.append("built")
    return small()
def facts(options):
    CALLS.append(options)
    metrics = {"kind": "accuracy", "size": "absolute error"}
    return ProblemFacts(("kind", "size"), metrics, (0.7, 1.5), ("nats", ""), options["n"], models=("net", "other"))
f.facts = facts
"""


def test_with_facts_nothing_is_built(of: Callable[..., OwnProblem]) -> None:
    entry = of(GIVEN)
    assert entry.facts(entry.options(n=5)).n_train == 5
    assert entry.models_of(entry.options(n=5)) == ("net", "other")
    assert sys.modules["problem"].CALLS == [{"n": 5}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('(("kind", "size"),', '(("kind", "kind"),'), "a different name for each task expected"),
        (('(("kind", "size"),', '(("kind", "sparsity"),'), "another name than `sparsity` expected"),
        (('(("kind", "size"),', '(("kind", "a.b"),'), "letters, digits"),
        (('(("kind", "size"),', "((),"), "at least one task expected"),
        (('"size": "absolute error"}', '"sise": "absolute error"}'), "a metric, a guess loss and a unit for each of kind, size"),
        (("(0.7, 1.5)", "(0.7,)"), "a metric, a guess loss and a unit"),
        (('("nats", "")', '("nats",)'), "a metric, a guess loss and a unit"),
        ((', models=("net", "other")', ""), "problem:f.facts names no networks"),
        (('options["n"]', "0"), "n_train >= 1 expected, found 0"),
        (('options["n"]', 'options["m"]'), "problem:f.facts raised KeyError: 'm' \\(problem.py:"),
        (("f.facts = facts", "f.facts = 3"), "problem:f.facts is int, a function of the options expected"),
        (("f.facts = facts", "f.facts = lambda o: None"), "problem:f.facts returned NoneType, a trainer.api.ProblemFacts expected"),
    ],
)
def test_facts_that_are_wrong(of: Callable[..., OwnProblem], change: tuple[str, str], message: str) -> None:
    assert change[0] in GIVEN
    entry = of(GIVEN.replace(*change))
    with pytest.raises(ProblemError, match=message):
        entry.facts(entry.options())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"accuracy", "size"', '"recall", "size"'), "facts say metrics .*recall.*, its problem has .*accuracy"),
        (('models=("net", "other")', 'models=("net",)'), "facts say models \\['net'\\], its problem has \\['net', 'other'\\]"),
    ],
)
def test_a_problem_that_is_not_what_its_facts_say(of: Callable[..., OwnProblem], change: tuple[str, str], message: str) -> None:
    entry = of(GIVEN.replace(*change))
    with pytest.raises(ProblemError, match=message):
        entry.prepare(entry.options(), "net")
    good = of(GIVEN)
    assert good.prepare(good.options(), "net")[1] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(): 1 / 0", "problem:f raised ZeroDivisionError: division by zero \\(problem.py:"),
        ("def f(): return 3", "the factory problem:f returned int, a trainer.api.Problem expected"),
        ("def f(): raise SystemExit(3)", "problem:f raised SystemExit: 3"),
        ("def f(): open('/nowhere/x')", "problem:f raised FileNotFoundError: .*/nowhere/x"),
        ("def f(): return small({'net': lambda: Net(('c',))})", "growl_layers names c, which is not one of its modules"),
        ("def f():\n    import nowhere_at_all", "ModuleNotFoundError"),
    ],
)
def test_a_factory_that_fails_is_one_message(of: Callable[..., OwnProblem], text: str, message: str) -> None:
    entry = of(text)
    with pytest.raises(ProblemError, match=message) as caught:
        entry.facts(entry.options())
    assert "\n" not in str(caught.value)


# -- identity -----------------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_path_options_source_and_data(of: Callable[..., OwnProblem]) -> None:
    text = "def f(n: int = 8): return small()\ng = f\n"

    def fingerprint(text: str, name: str = "problem:f", **options: Any) -> str:
        entry = of(text, name)
        return entry.fingerprint(entry.options(**options))

    base = fingerprint(text)
    assert fingerprint(text, n=8) == base
    others = {
        fingerprint(text, n=9),
        fingerprint(text, "problem:g"),
        fingerprint(text + "# a comment\n"),
        fingerprint(text + "f.fingerprint = lambda options: 'data 1'\n"),
        fingerprint(text + "f.fingerprint = lambda options: 'data 2'\n"),
    }
    assert len(others) == 5
    assert base not in others
    assert fingerprint(text) == base


@pytest.mark.parametrize(
    ("given", "message"),
    [("lambda options: 3", "returned int, text expected"), ("lambda options: 1 / 0", "raised Zero"), ("'x'", "is str")],
)
def test_a_fingerprint_that_is_wrong(of: Callable[..., OwnProblem], given: str, message: str) -> None:
    entry = of(f"def f(): return small()\nf.fingerprint = {given}")
    with pytest.raises(ProblemError, match=f"problem:f.fingerprint {message}"):
        entry.fingerprint(entry.options())


def test_a_source_that_changed_after_the_import_is_refused(of: Callable[..., OwnProblem], tmp_path: Path) -> None:
    entry = of("def f(): return small()")
    entry.refuse_other_source(entry.source.digest)
    (tmp_path / "problem.py").write_text(HEAD + "def f(): return small()  # better")
    for call in (lambda: entry.fingerprint(entry.options()), lambda: entry.refuse_other_source(entry.source.digest)):
        with pytest.raises(SourceError, match="the source of problem:f \\(problem\\) is not what was planned"):
            call()
    with pytest.raises(SourceError):
        own_problem("problem:f", [str(tmp_path)]).refuse_other_source(entry.source.digest)


def test_every_worker_gets_the_same_data(of: Callable[..., OwnProblem]) -> None:
    """Also where the factory draws from the global generators, which go on as if nothing had happened."""
    entry = of("def f():\n    CALLS.append([random.random(), np.random.rand(), float(torch.rand(1))])\n    return small()")
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    first = random.random(), np.random.rand(), float(torch.rand(1))
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    for _ in range(3):
        entry.build(entry.options())
    assert (random.random(), np.random.rand(), float(torch.rand(1))) == first
    calls = sys.modules["problem"].CALLS
    assert calls[0] == calls[1] == calls[2]


def test_a_worker_can_import_late(of: Callable[..., OwnProblem], tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("X = 1\n")
    before = list(sys.path)
    entry = of("def f():\n    def late(x, targets):\n        import late\n        return x.mean()\n    return small()")
    entry.prepare(entry.options(), "net")
    assert sys.path == [*before, str(tmp_path)]
    sys.path[:] = before


def test_a_layer_that_growl_does_not_know_is_left_out_and_named(of: Callable[..., OwnProblem]) -> None:
    text = """
class Odd(Net):
    def __init__(self):
        super().__init__(("a", "c", "d", "a"))
        self.c, self.d = nn.Conv1d(1, 1, 1), nn.Conv2d(2, 2, 1, groups=2)
def f(): return small({"odd": Odd})
"""
    entry = of(text)
    with pytest.warns(UserWarning, match="GrOWL cannot prune") as warned:
        assert entry.facts(entry.options()).has_sparsity
    assert [str(warning.message).split(" is ")[0] for warning in warned] == [f"problem:f: network odd: layer {name}" for name in "cd"]
    problem, notes = entry.prepare(entry.options(), "odd")
    assert notes == [
        "network odd: layer c is a Conv1d, which GrOWL cannot prune; it is left out",
        "network odd: layer d is a Conv2d with groups = 2, which GrOWL cannot prune; it is left out",
    ]
    assert problem.networks["odd"]().growl_layers == ("a",)  # type: ignore[comparison-overlap]


def test_a_good_problem_warns_of_nothing(of: Callable[..., OwnProblem]) -> None:
    entry = of("def f(): return small()")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entry.facts(entry.options())
