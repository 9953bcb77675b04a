"""A grid file that names a problem of the user's own: what is read, what its trials' ids depend on, when a folder is refused."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from own_module import FACTS, write_module

from sweep.errors import SweepError
from sweep.execution.sweep_run import SweepRun
from sweep.grid.load import ConfigError, GridText, SweepConfig, dump_config, json_schema, load_config, load_configs, parse_config
from sweep.monitor.outcome import Timing
from sweep.planning.manifest import manifest_of
from sweep.planning.packs import plan_packs
from sweep.planning.trials import trials_of
from sweep.store.store import Store, StoreError

pytestmark = pytest.mark.filterwarnings("ignore:own_.*GrOWL cannot prune:UserWarning")

NAME = "own_tiny:tiny"
GRID = "problem: {name: 'own_tiny:tiny', n_train: 24}\npreferences: {simplex: {divisions: 4, k0: [0, 0.1]}}\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The working directory is not the grid file's folder."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    yield
    for name in ("own_tiny", "own_sizes", "own_package", "own_package.tasks"):
        sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A grid file with its module beside it."""
    (write_module(tmp_path / "here") / "grid.yaml").write_text(GRID)
    return tmp_path / "here"


def config_of(folder: Path, **changes: Any) -> SweepConfig:
    grid = {"problem": {"name": NAME, "n_train": 24}, "preferences": {"simplex": {"divisions": 4, "k0": [0, 0.1]}}} | changes
    (folder / "changed.yaml").write_text(json.dumps(grid))
    return load_config(folder / "changed.yaml")


def ids(config: SweepConfig) -> list[str]:
    return [trial.trial_id for trial in trials_of(config)]


# -- reading ------------------------------------------------------------------------------------------------------------


def test_the_module_lies_beside_the_grid_file(folder: Path, tmp_path: Path) -> None:
    config = load_config(folder / "grid.yaml")
    assert config.problem.name == NAME
    assert config.problem.import_from == (str(folder), str(tmp_path / "cwd"))
    assert (config.problem.options.width, config.problem.options.n_train) == (8, 24)
    assert config.problem.facts.objectives == ("sparsity", "sign", "value")
    assert config.model == "net"
    assert len(trials_of(config)) == 6
    assert "own_tiny" in sys.modules
    assert str(folder) not in sys.path


def test_or_in_the_working_directory_or_where_the_grid_file_says(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(f"problem: '{NAME}'\npreferences: {{simplex: {{divisions: 3}}}}\n")
    with pytest.raises(ConfigError, match=f"no module `own_tiny` in {tmp_path} or {tmp_path}/cwd, and none is installed"):
        load_config(tmp_path / "grid.yaml")
    write_module(tmp_path / "cwd")
    base = load_config(tmp_path / "grid.yaml")
    for given in ("there", "[nowhere, there]", "~/there"):
        write_module(tmp_path / "there")
        text = f"problem: {{name: '{NAME}', import_from: {given}}}\npreferences: {{simplex: {{divisions: 3}}}}\n"
        (tmp_path / "grid.yaml").write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(tmp_path))
            config = load_config(tmp_path / "grid.yaml")
        assert config.problem.import_from is not None
        assert config.problem.import_from[-1] == str(tmp_path / "there")
        assert ids(config) == ids(base), "where the source lies does not matter"


def test_a_module_in_a_package(tmp_path: Path) -> None:
    package = write_module(tmp_path / "here" / "own_package", module="tasks", helper="sizes")
    text = (package / "tasks.py").read_text()
    (package / "tasks.py").write_text(text.replace("from sizes", "from .sizes"))
    (package / "__init__.py").write_text("")
    (tmp_path / "here" / "grid.yaml").write_text(GRID.replace("own_tiny:tiny", "own_package.tasks:tiny"))
    manifest = manifest_of(load_config(tmp_path / "here" / "grid.yaml"), "now")
    assert sorted(manifest["problem"]["sources"]) == ["own_package", "own_package.sizes", "own_package.tasks"]


@pytest.mark.full
def test_dump_and_reload_is_equal_also_elsewhere(folder: Path, tmp_path: Path) -> None:
    config = load_config(folder / "grid.yaml")
    (tmp_path / "again.yaml").write_text(dump_config(config))
    again = load_config(tmp_path / "again.yaml")
    assert again == config
    assert again.resolved_studies == config.resolved_studies
    assert ids(again) == ids(config)
    assert parse_config(json.loads(json.dumps(config.to_json()))) == config
    assert json.loads(config.model_dump_json())["problem"]["import_from"] == [str(folder), str(tmp_path / "cwd")]
    jsonschema.validate(config.to_json(), json_schema())
    jsonschema.validate({"problem": NAME, "model": "anything"}, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"problem": "own_tiny:"}, json_schema())


def test_from_python_the_working_directory_counts(tmp_path: Path) -> None:
    write_module(tmp_path / "cwd")
    config = parse_config({"problem": NAME, "preferences": {"simplex": {"divisions": 3}}})
    assert config.problem.import_from == (str(tmp_path / "cwd"),)


def test_an_override_changes_options_and_models_are_the_problems(folder: Path) -> None:
    (folder / "more.yaml").write_text("problem: {width: 5}\nmodel: odd\nstudies: [{name: a}, {name: b, model: net}]\n")
    with pytest.warns(UserWarning, match="LayerNorm, which GrOWL cannot prune"):
        config = load_config(folder / "grid.yaml", override=folder / "more.yaml")
    assert (config.problem.options.width, config.problem.options.n_train) == (5, 24)
    assert [study.model for study in config.resolved_studies] == ["odd", "net"]


def test_several_problems_are_called_after_their_factories(folder: Path) -> None:
    (folder / "grid.yaml").write_text(
        f"problem: ['{NAME}', {{name: '{NAME}', width: 5}}, multidigits]\npreferences: {{simplex: {{divisions: 4}}}}\noutput: out\n"
    )
    configs = load_configs(folder / "grid.yaml")
    assert [(config.name, config.output) for config in configs] == [
        *(("grid-tiny", "out/tiny"), ("grid-tiny-2", "out/tiny-2"), ("grid-multidigits", "out/multidigits"))
    ]
    assert [config.model for config in configs] == ["net", "net", "mdmtn"]


def test_modules_of_one_name_in_two_folders(tmp_path: Path) -> None:
    write_module(tmp_path / "a")
    write_module(tmp_path / "b", extra="\nbase = tiny\ndef tiny(n_train: int = 40):\n    return base(n_train=n_train)\n")
    text = "problem:\n" + "".join(f"  - {{name: '{NAME}', import_from: {name}}}\n" for name in "abab")
    (tmp_path / "grid.yaml").write_text(text + "preferences: {simplex: {divisions: 4}}\n")
    configs = load_configs(tmp_path / "grid.yaml")
    assert [config.problem.facts.n_train for config in configs] == [32, 40, 32, 40]
    assert ids(configs[0]) == ids(configs[2])
    assert set(ids(configs[0])).isdisjoint(ids(configs[1]))


@pytest.mark.full
def test_with_facts_planning_imports_no_torch(folder: Path) -> None:
    lazy = "def tiny(n_train: int = 32):\n    raise RuntimeError('built')\n" + FACTS
    (folder / "own_tiny.py").write_text(lazy)
    code = (
        "import sys; from sweep.grid.load import load_config; from sweep.planning.trials import trials_of\n"
        f"config = load_config({str(folder / 'grid.yaml')!r}); print(len(trials_of(config)), config.problem.facts.n_train)\n"
        "assert not {'torch', 'ray'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "6 24\n"


# -- identity -----------------------------------------------------------------------------------------------------------


def test_ids_depend_on_options_and_source_and_on_nothing_else(folder: Path, tmp_path: Path) -> None:
    base = ids(config_of(folder))
    assert ids(config_of(folder, problem={"name": NAME, "n_train": 24, "width": 8})) == base
    assert ids(config_of(folder, output="elsewhere", resources={"pack": 1})) == base
    assert ids(config_of(write_module(tmp_path / "copy"))) == base
    (folder / "unrelated.py").write_text("")
    assert ids(config_of(folder)) == base
    others = [ids(config_of(folder, problem={"name": NAME, "n_train": 25})), ids(config_of(folder, model="odd"))]
    (folder / "own_sizes.py").write_text("N_FEATURES = 5\n")
    others.append(ids(config_of(folder)))
    write_module(folder, extra="# a comment\n")
    others.append(ids(config_of(folder)))
    write_module(folder, extra="tiny.fingerprint = lambda options: 'data'\n")
    others.append(ids(config_of(folder)))
    for i, one in enumerate([base, *others]):
        for other in others[i:]:
            assert set(one).isdisjoint(other)
    write_module(folder)
    assert ids(config_of(folder)) == base


def test_the_manifest_names_the_sources(folder: Path) -> None:
    problem = manifest_of(config_of(folder), "now")["problem"]
    assert problem["name"] == NAME
    assert problem["options"] == {"width": 8, "n_train": 24}
    assert set(problem["sources"]) == {"own_tiny", "own_sizes"}
    assert "sources" not in manifest_of(parse_config({"problem": "multidigits"}), "now")["problem"]


def member_of(folder: Path, output: Path, **changes: Any) -> SweepRun:
    return SweepRun(config_of(folder, output=str(output), **changes), None, GridText(""))


def opened(member: SweepRun) -> SweepRun:
    with member.store.lock():
        member.open()
    return member


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"own_sizes.py": "N_FEATURES = 5\n"}, "the source of own_tiny:tiny changed since this folder was begun (own_sizes)"),
        ({"own_tiny.py": "# more\n"}, "the source of own_tiny:tiny changed since this folder was begun (own_tiny)"),
        ({"own_tiny.py": "from own_more import x\n", "own_more.py": "x = 1\n"}, "was begun (own_more, own_tiny)"),
        ({}, "the data of own_tiny:tiny changed since this folder was begun (its `fingerprint` says so)"),
    ],
)
def test_a_folder_that_was_begun_with_another_source_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], message: str
) -> None:
    data = tmp_path / "data.csv"
    data.write_text("1")
    write_module(folder, extra=f"from pathlib import Path\ntiny.fingerprint = lambda options: Path({str(data)!r}).read_text()\n")
    first = opened(member_of(folder, tmp_path / "out"))
    opened(member_of(folder, tmp_path / "out"))
    for name, text in change.items():
        before = (folder / name).read_text() if name == "own_tiny.py" else ""
        (folder / name).write_text(before + text)
    if not change:
        data.write_text("2")
        monkeypatch.setattr("trainer.problems.custom.factory._known", {})  # as in another process
    changed = member_of(folder, tmp_path / "out")
    with pytest.raises(StoreError) as refused:
        opened(changed)
    assert message in str(refused.value)
    assert "hint: choose another `output`, or undo the change" in str(refused.value)
    assert {trial.trial_id for trial in first.trials}.isdisjoint({trial.trial_id for trial in changed.trials})
    assert Store(tmp_path / "out").manifest() == first.store.manifest()


def test_other_options_are_told_as_such(folder: Path, tmp_path: Path) -> None:
    opened(member_of(folder, tmp_path / "out"))
    with pytest.raises(StoreError, match=r"problem.options.width: 8 in the folder, 9 asked for"):
        opened(member_of(folder, tmp_path / "out", problem={"name": NAME, "n_train": 24, "width": 9}))


def test_a_source_that_changes_after_it_was_read_plans_nothing(folder: Path) -> None:
    config = config_of(folder)
    write_module(folder, extra="# better\n")
    for plan in (trials_of, lambda config: manifest_of(config, "now")):
        with pytest.raises(SweepError, match=r"the source of own_tiny:tiny \(own_tiny\) is not what was planned"):
            plan(config)
    assert ids(config_of(folder)) != []


def test_a_source_that_changes_during_a_run_ends_it_with_exit_code_2(folder: Path, tmp_path: Path) -> None:
    member = opened(member_of(folder, tmp_path / "out"))
    member.take_plan(plan_packs(member.config, member.trials, {}, [], 1))
    assert member.plan.packs
    (folder / "own_sizes.py").write_text("N_FEATURES = 5\n")
    member.take_plan(plan_packs(member.config, member.trials, {member.trials[0].trial_id: "ok"}, [], 1))
    assert not member.plan.packs
    outcome = member.finish(was_interrupted=False, timing=Timing())
    assert (outcome.exit_code, outcome.n_left) == (2, len(member.trials) - 1)
    assert outcome.message is not None
    assert "the source of own_tiny:tiny (own_sizes) is not what was planned; undo the change and run again" in outcome.message
