"""A problem of the user's own: every mistake is one message with its place, its examples run as printed, results import nothing."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commands import call

import sweep
from sweep.grid.load import ConfigError, load_config
from sweep.planning.manifest import manifest_of
from sweep.planning.trials import trials_of
from sweep.store.store import Store

REPOSITORY = Path(sweep.__file__).parents[1]
EXAMPLES = sorted(path.parent for path in (REPOSITORY / "examples").glob("*/grid.yaml"))
MODULE = """\
from pathlib import Path
from typing import Annotated, Literal
import torch
from torch import nn
from trainer.api import Problem, Split, classification
from trainer.settings import Range

class Net(nn.Module):
    def __init__(self, layers=("b",)):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.growl_layers = layers
    def forward(self, x):
        return [self.c(self.b(self.a(x)))]

def make(
    depth: int = 2, *, rate: Annotated[float, Range(gt=0)] = 0.5, kind: Literal["a", "b"] = "a", deep: bool = False,
    sizes: list[int] = (), label: str = "x", where: Path | None = None, free=None, limit: int | None = None,
):
    split = Split(torch.ones(4, 2), torch.zeros(4, 1))
    return Problem("own", (classification("one", 2),), {"small": Net, "large": Net}, split, split, split)

def needs(size: int):
    return make()

def fails():
    raise ValueError("no table\\nhere")

def odd():
    return make().tasks

def short():
    from dataclasses import replace
    return replace(make(), test=Split(torch.ones(3, 2), torch.zeros(2, 1)))

class Normed(Net):
    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))

def normed(n: int = 65):
    from dataclasses import replace
    print("built")
    train = Split(torch.ones(n, 2), torch.zeros(n, 1))
    return replace(make(), train=train, networks={"small": Normed, "large": Net})

def layer():
    from dataclasses import replace
    return replace(make(), networks={"small": lambda: Net(("d",))})

def name(name):
    return make()

def default(size: Literal["s", "m"] = "l"):
    return make()

NOT = 3
"""
MODULE += """
def lazy():
    from dataclasses import replace
    def net():
        network = Net()
        network.c = nn.LazyLinear(2)
        return network
    return replace(make(), networks={"small": net})

def compiled():
    from dataclasses import replace
    def net():
        network = Net()
        network.c = torch.jit.script(network.c)
        return network
    return replace(make(), networks={"small": net})
"""
REST = "preferences: {simplex: {divisions: 4}}"
ONE = "preferences: {list: [[0.5, 0.5]]}"


class Case(NamedTuple):
    """A grid file (a line on preferences comes after it) and the message's parts."""

    text: str
    start: str
    """line:column: path: rule"""
    got: str | None
    hint: str


def given(options: str, factory: str = "make") -> str:
    return f"problem: {{name: 'own:{factory}', {options}}}"


SIGNATURE = "the factory is `make(depth: int = 2, rate: float = 0.5, kind: Literal['a', 'b'] = 'a', deep: bool = False"
CASES = {
    # networks
    "a lazily built layer": Case(
        "problem: 'own:lazy'",
        "1:10: problem: network small: module c is a LazyLinear whose weight has no shape before its first call, a layer with its sizes",
        None,
        "write the layer with its number of inputs",
    ),
    "a compiled layer": Case(
        "problem: 'own:compiled'",
        "1:10: problem: network small: module c is compiled by torch.jit (RecursiveScriptModule), a plain torch.nn.Module expected",
        None,
        "without torch.jit.script",
    ),
    # options
    "unknown option": Case(given("dpth: 3"), "1:29: problem.dpth: unknown key", "3", "did you mean `depth`? the factory is `make("),
    "quite another option": Case(given("zzz: 3"), "1:29: problem.zzz: unknown key", "3", SIGNATURE),
    "missing option": Case("problem: 'own:needs'", "1:10: problem.size: required key missing", None, "`needs(size: int)`, "),
    "missing option of a mapping": Case(
        "problem:\n  name: own:needs", "2:3: problem.size: required key missing", None, "the factory is `needs(size: int)`, "
    ),
    "text for a whole number": Case(given("depth: x"), "1:36: problem.depth: a whole number expected", "x", SIGNATURE),
    "quoted number": Case(
        given("depth: '3'"), "1:36: problem.depth: a whole number expected", '"3"', "write 3 without quotes; the factory is"
    ),
    "fraction": Case(given("depth: 2.5"), "1:36: problem.depth: a whole number expected", "2.5", SIGNATURE),
    "true for a number": Case(given("depth: true"), "1:36: problem.depth: a whole number expected", "true", SIGNATURE),
    "null": Case(given("depth: null"), "1:36: problem.depth: a whole number expected", "null", SIGNATURE),
    "out of range": Case(given("rate: 0"), "1:35: problem.rate: a number > 0 expected", "0", SIGNATURE),
    "not finite": Case(given("rate: .inf"), "1:35: problem.rate: a finite number expected", ".inf", SIGNATURE),
    "a wrong choice": Case(given("kind: A"), "1:35: problem.kind: one of a, b expected", "A", "did you mean `a`?; the factory is"),
    "number for true or false": Case(given("deep: 1"), "1:35: problem.deep: true or false expected", "1", SIGNATURE),
    "number for text": Case(given("label: 3"), "1:36: problem.label: text expected", "3", SIGNATURE),
    "number for a path": Case(given("where: 3"), "1:36: problem.where: text expected", "3", SIGNATURE),
    "scalar for a list": Case(given("sizes: 3"), "1:36: problem.sizes: a list expected", "3", SIGNATURE),
    "text in a list": Case(given("sizes: [1, x]"), "1:40: problem.sizes[1]: a whole number expected", "x", SIGNATURE),
    "text for a number or null": Case(given("limit: x"), "1:36: problem.limit: a whole number expected", "x", SIGNATURE),
    # names
    "no such module": Case("problem: 'onw:make'", "1:10: problem: no module `onw` in ", "onw:make", "did you mean `own`?"),
    "no such factory": Case("problem: own:mak", "1:10: problem: ", "own:mak", "a function (or class) that returns a trainer.api.Problem"),
    "not callable": Case("problem: own:NOT", "1:10: problem: ", "own:NOT", "a function (or class)"),
    "no path": Case(
        "problem: 'own:'", "1:10: problem: a path `my_package.my_module:factory` expected", "own:", "for example `problem:wine`"
    ),
    "a file": Case("problem: own.py:make", "1:10: problem: no module `own.py`", "own.py:make", "write the module without `.py`"),
    "a package of ours": Case(
        "problem: 'trainer.api:train'", "1:10: problem: `trainer` is a package of this program", "trainer.api", "rename"
    ),
    "a reserved parameter": Case(
        "problem: own:name", "1:10: problem: own:name: a parameter `name` cannot be given", "own:name", "another name"
    ),
    "a default of a wrong type": Case(
        "problem: own:default", "1:10: problem: the factory's default of size does not fit its annotation", "own:default", "`default(size"
    ),
    "folders that are none": Case(
        "problem: {name: 'own:make', import_from: 3}", "1:42: problem.import_from: a list expected", "3", "Folders that"
    ),
    "a folder that is none": Case(
        "problem: {name: 'own:make', import_from: [a, 3]}", "1:46: problem.import_from[1]: text expected", "3", "Folders that"
    ),
    "a folder that is not there": Case(
        "problem: {name: 'own:make', import_from: nowhere}", "1:17: problem.name: no module `own` in ", "own:make", "working directory"
    ),
    "folders of a problem of the catalog": Case(
        f"problem: {{name: multidigits, import_from: [x]}}\n{REST}", "1:30: problem.import_from: unknown key", '["x"]', "the keys here are "
    ),
    "own, but not so": Case("problem: own", "1:10: problem: not available in this version", "own", "`my_module:factory` for a problem"),
    # what the factory does
    "a factory that fails": Case(
        "problem: own:fails", "1:10: problem: own:fails raised ValueError: no table here (own.py:", "own:fails", "fails()"
    ),
    "no problem": Case(
        "problem: own:odd", "1:10: problem: the factory own:odd returned tuple, a trainer.api.Problem expected", "own:odd", "docs/"
    ),
    "data that is wrong": Case(
        "problem: own:short",
        "1:10: problem: the test data: as many targets as inputs expected, found 3 inputs and 2 targets",
        "own:short",
        "docs/own-problem.md",
    ),
    "a layer that is not there": Case(
        "problem: own:layer",
        "1:10: problem: network small: growl_layers names d, which is not one of its modules",
        "own:layer",
        "docs/own-problem.md",
    ),
    # what depends on the problem
    "another model": Case(
        "problem: own:make\nmodel: smal", "2:8: model: a model of the problem own:make expected (it has small, large)", "smal", "`small`?"
    ),
    "a model of the catalog": Case("problem: own:make\nmodel: mdmtn", "2:8: model: a model of the problem own:make", "mdmtn", "choose one"),
    "a study's model": Case(
        "problem: own:make\nstudies: [{name: a, model: hps}]", "2:28: studies[0].model: a model of the problem own:make", "hps", "choose"
    ),
    "preferences": Case(
        f"problem: own:make\n{ONE.replace('0.5, 0.5', '0.5, 0.25, 0.25')}",
        "2:22: preferences.list[0]: one number per objective expected (2 = sparsity, one)",
        "[0.5, 0.25, 0.25]",
        "3",
    ),
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(MODULE)
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in ("own", "problem", "evil"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_mistake_is_one_message(case: Case) -> None:
    Path("grid.yaml").write_text(case.text + ("\n" if "preferences" in case.text else f"\n{ONE}\n"))
    with pytest.raises(ConfigError) as caught:
        load_config("grid.yaml")
    assert len(caught.value.mistakes) == 1, str(caught.value)
    first, hint = str(caught.value).split("\n")
    assert first.startswith(f"Error: grid.yaml:{case.start}")
    assert case.got is None or case.got in first.split(" (got ")[-1]
    assert hint.startswith("  hint: ")
    assert case.hint in hint


def test_the_hint_says_where_the_factory_is(tmp_path: Path) -> None:
    line = MODULE[: MODULE.index("def make(")].count("\n") + 1
    Path("grid.yaml").write_text(f"{given('dpth: 3')}\n{ONE}\n")
    with pytest.raises(ConfigError, match=f"{tmp_path}/own.py:{line}"):
        load_config("grid.yaml")


def test_all_mistakes_come_at_once() -> None:
    Path("grid.yaml").write_text(f"{given('depth: x, zzz: 1')}\nseeds: [1, 1]\nmodel: nothing\ntraining: {{batch_size: 0}}\n{ONE}\n")
    with pytest.raises(ConfigError) as caught:
        load_config("grid.yaml")
    assert [mistake.path for mistake in caught.value.mistakes] == [
        *(("problem", "depth"), ("problem", "zzz"), ("seeds", 1), ("training", "batch_size"))
    ]


def test_an_empty_value_is_no_choice_of_any_kind() -> None:
    Path("grid.yaml").write_text(f"{given('free: {a: [1, x]}, limit: null, sizes: [1, 2], where: data/x.csv')}\n{ONE}\n")
    options = load_config("grid.yaml").problem.options
    assert (options.free, options.limit, options.sizes, options.where) == ({"a": [1, "x"]}, None, [1, 2], "data/x.csv")


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("factory", ["fails", "short", "layer", "needs"])
def test_a_wrong_problem_is_exit_code_2_and_leaves_nothing(command: str, factory: str) -> None:
    Path("grid.yaml").write_text(f"problem: own:{factory}\n{ONE}\noutput: out\n")
    result = call(command, "grid.yaml")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: grid.yaml:1:10: problem")
    assert len(result.stderr.splitlines()) == 2, "a message and a hint"
    assert "Traceback" not in result.stderr
    assert not Path("out").exists()


BATCHES = {
    "a setting": ("training:\n  batch_size: 64", "3:15: training.batch_size", "65", "64", "63"),
    "of two studies": (
        "training: {batch_size: 64}\nstudies: [{name: a, training: {batch_size: 63}}, {name: b}]",
        "2:24: studies[1].training.batch_size",
        "65",
        "64",
        "63",
    ),
    "a study": ("studies: [{name: a, training: {batch_size: 8}}]", "2:44: studies[0].training.batch_size", "65", "8", "7"),
    "a candidate": (
        "studies: [{name: a, candidates: [{batch_size: 31}, {batch_size: 63}], training: {data_share: 0.5}}]",
        "2:47: studies[0].candidates[0].batch_size",
        "32 of 65",
        "31",
        "30",
    ),
    "what a search would settle": (
        "studies: [{name: a, candidates: [{batch_size: 64}, {batch_size: 63}], training: {data_share: 0.5}}, {name: b, after: a}]",
        "2:101: studies[1].training.batch_size",
        "65",
        "64",
        "63",
    ),
}


@pytest.mark.parametrize("case", BATCHES.values(), ids=BATCHES)
def test_a_batch_that_the_network_cannot_take_is_one_message(case: tuple[str, str, str, str, str]) -> None:
    settings, where, n_samples, batch_size, other = case
    Path("grid.yaml").write_text(f"problem: own:normed\n{settings}\n{ONE}\noutput: out\n")
    result = call("plan", "grid.yaml")
    assert (result.exit_code, result.stdout) == (2, "built\n"), "one build for the facts and the batches"
    message, hint = result.stderr.splitlines()
    rule = f"the last batch of an epoch has 1 sample ({n_samples} training samples in batches of {batch_size}), which network small"
    assert message.startswith(
        f"Error: grid.yaml:{where}: {rule} cannot process in training: it raised ValueError: Expected more than 1 value"
    )
    assert message.endswith(f"(got {batch_size})")
    assert hint == f"  hint: set training.batch_size to {other}, for example, or change the number of training samples"
    assert not Path("out").exists()


@pytest.mark.parametrize("rest", ["model: large", "training: {batch_size: 32}\nmethod: moead", "training: {batch_size: 63}"])
def test_only_what_will_occur_is_tried(rest: str) -> None:
    """Another network, a method that takes no steps on batches, and another size."""
    Path("grid.yaml").write_text(f"problem: own:normed\n{rest}\n{ONE.replace('0.5, 0.5', '0, 1')}\noutput: out\n")
    result = call("plan", "grid.yaml")
    assert "last batch" not in result.stderr


def test_a_changed_source_is_exit_code_2_and_named() -> None:
    Path("grid.yaml").write_text(f"problem: own:make\n{ONE}\noutput: out\n")
    config = load_config("grid.yaml")
    Store(Path("out")).create(manifest_of(config, "2026-01-31T12:00:00+00:00"))
    Path("own.py").write_text(MODULE + "# better\n")
    result = call("run", "grid.yaml", "--quiet")
    assert result.exit_code == 2
    assert "out: the source of own:make changed since this folder was begun (own)" in result.stderr
    assert "hint: choose another `output`" in result.stderr
    assert Store(Path("out")).complete() == {}


# -- safety -------------------------------------------------------------------------------------------------------------

EVIL = "from pathlib import Path\nPath('imported').write_text('')\ndef make(): ...\n"


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A results folder whose manifest names a factory; its module, beside everything, says when it is imported."""
    Path("grid.yaml").write_text(f"problem: own:make\n{ONE}\noutput: out\n")
    config = load_config("grid.yaml")
    store = Store(Path("out"))
    manifest = manifest_of(config, "2026-01-31T12:00:00+00:00")
    manifest["problem"] |= {"name": "evil:make", "import_from": [str(tmp_path)]}
    store.create(manifest)
    trials = trials_of(config)
    planned = [{"trial_id": t.trial_id, "study": t.study, "k": list(t.preference), "seed": t.seed} for t in trials]
    plan = {"attempt": 1, "started": "2026-01-31T12:00:00+00:00", "trials": planned, "n_complete_before": 0, "versions": {}}
    config_of_plan = json.loads(config.model_dump_json())
    config_of_plan["problem"] |= {"name": "evil:make", "import_from": [str(tmp_path)]}
    store.write_plan(1, plan | {"config": config_of_plan, "grid_file": "problem: evil:make\n"})
    losses = {f"loss.{split}.one": 0.25 for split in ("train", "validation", "test")}
    row: dict[str, Any] = {
        "trial_id": trials[0].trial_id,
        "attempt": 1,
        "retry": 0,
        "state": "ok",
        "problem": "evil:make",
        "model": "small",
        "method": "wcal_growl",
        "study": "main",
        "seed": 0,
        "k": [0.5, 0.5],
        "k_0": 0.5,
        "k_1": 0.5,
        "objective.sparsity": 1.0,
        "sparsity_rate": 0.5,
        "compression_rate": 2.0,
        "parameter_sharing": 1.0,
        "accuracy.test.one": 1.0,
        "accuracy.test.mean": 1.0,
    }
    store.publish(row | losses, [{"epoch": 1, "phase": "dense"}], weights=b"weights")
    Path("evil.py").write_text(EVIL)
    sys.modules.pop("own")
    Path("own.py").write_text("raise SystemExit('imported')\n")
    return Path("out")


@pytest.mark.full
@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "out"),
        ("status", "out", "--format", "json"),
        ("report", "out"),
        ("front", "out"),
        ("front", "out", "--format", "csv"),
        ("verify", "out"),
        ("plan", "other.yaml"),
        ("run", "other.yaml", "--quiet"),
    ],
    ids=" ".join,
)
def test_a_results_folder_is_read_without_importing_what_it_names(stored: Path, arguments: tuple[str, ...]) -> None:
    Path("other.yaml").write_text("problem: {name: multidigits, n_train: 64}\npreferences: {simplex: {divisions: 3}}\noutput: out\n")
    done = subprocess.run([sys.executable, "-m", "sweep", *arguments], capture_output=True, text=True, check=False)
    refused = arguments[0] == "run"
    assert done.returncode == (2 if refused else 0), done.stderr
    assert "Traceback" not in done.stderr
    assert "evil:make" in done.stderr or not refused, "another sweep's folder"
    assert not Path("imported").exists()


def test_the_module_above_would_say_that_it_is_imported() -> None:
    Path("evil.py").write_text(EVIL)
    Path("grid.yaml").write_text("problem: evil:make\n")
    assert call("plan", "grid.yaml").exit_code == 2
    assert Path("imported").exists()


# -- examples and documents ---------------------------------------------------------------------------------------------


def test_there_are_two_examples() -> None:
    assert [path.name for path in EXAMPLES] == ["resnet", "wine"]


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads_and_plans(folder: Path) -> None:
    result = call("plan", folder / "grid.yaml")
    assert result.exit_code == 0, result.output
    config = load_config(folder / "grid.yaml")
    assert f"sweep {folder.name}: {len(trials_of(config))} trials -> results/{folder.name}" in result.stdout
    for override in set(folder.glob("*.yaml")) - {folder / "grid.yaml"}:
        assert call("plan", folder / "grid.yaml", "--override", override).exit_code == 0


def test_the_document_shows_the_example_as_it_runs() -> None:
    document = (REPOSITORY / "docs" / "own-problem.md").read_text()
    for name in ("problem.py", "grid.yaml"):
        assert (REPOSITORY / "examples" / "wine" / name).read_text() in document
    readme = (REPOSITORY / "README.md").read_text()
    assert "sweep run examples/wine/grid.yaml" in readme
    assert "docs/own-problem.md" in readme


def test_the_documents_message_is_the_real_one() -> None:
    document = (REPOSITORY / "docs" / "own-problem.md").read_text()
    Path("problem.py").write_text((REPOSITORY / "examples" / "wine" / "problem.py").read_text())
    Path("grid.yaml").write_text("problem: {name: 'problem:wine', width: wide}\n")
    with pytest.raises(ConfigError) as caught:
        load_config("grid.yaml")
    said = str(caught.value).replace(str(Path.cwd()), "/home/me/wine")
    assert said in document
